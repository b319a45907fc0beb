//! The home's directory: what is there, whose, and on which file system.

use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use hornero_doctor::{HomeFacts, PathFault};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};

use crate::mounts::{self, Mount};

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
/// A few entries tell whether a directory tells kinds.
const ENTRIES_LOOKED_AT: usize = 8;

pub(crate) fn read(home: &Path, mounts: &[Mount]) -> HomeFacts {
    // Whatever of it exists.
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    let mut facts = HomeFacts { path: home.display().to_string(), ..HomeFacts::default() };
    match std::fs::metadata(&home) {
        Ok(metadata) if metadata.is_dir() => {
            facts.exists = true;
            facts.fault = fault(&home, &metadata, false);
        }
        Ok(metadata) => facts.obstacle = Some(kind(&metadata).to_owned()),
        Err(_) if home.symlink_metadata().is_ok() => {
            facts.obstacle = Some("a link that leads nowhere".to_owned());
        }
        Err(_) => {}
    }
    // Where the home is to be made counts what is there already.
    let Some((near, real)) = nearest(&home) else { return facts };
    for ancestor in real.ancestors().skip(usize::from(facts.exists)) {
        let fault =
            std::fs::metadata(ancestor).ok().and_then(|metadata| fault(ancestor, &metadata, true));
        facts.faults_above.extend(fault);
    }
    if !real.is_dir() {
        facts
            .obstacle
            .get_or_insert_with(|| format!("below `{}`, which is no directory", near.display()));
        return facts;
    }
    read_file_system(&mut facts, &real, mounts);
    facts
}

/// The home or the deepest directory above it that exists, as written and with links followed.
fn nearest(home: &Path) -> Option<(PathBuf, PathBuf)> {
    home.ancestors().find_map(|path| Some((path.to_owned(), path.canonicalize().ok()?)))
}

const fn kind_of(file: bool, socket: bool) -> &'static str {
    match (file, socket) {
        (true, _) => "a file",
        (false, true) => "a socket",
        (false, false) => "no directory",
    }
}

fn kind(metadata: &Metadata) -> &'static str {
    kind_of(metadata.is_file(), metadata.file_type().is_socket())
}

/// What is wrong with who may change a directory. Above the home a sticky one is fine: only owners replace what is
/// theirs.
fn fault(path: &Path, metadata: &Metadata, sticky_is_fine: bool) -> Option<PathFault> {
    let mode = metadata.mode();
    // Whoever is in root's group is root's.
    let by_others =
        mode & WRITABLE_BY_OTHERS != 0 || mode & WRITABLE_BY_GROUP != 0 && metadata.gid() != 0;
    let writable = by_others && !(sticky_is_fine && mode & STICKY != 0);
    let owner = (metadata.uid() != 0).then(|| metadata.uid());
    (writable || owner.is_some()).then(|| PathFault {
        path: path.display().to_string(),
        owner,
        writable,
    })
}

fn read_file_system(facts: &mut HomeFacts, directory: &Path, mounts: &[Mount]) {
    if let Some(mount) = mounts::of_path(mounts, directory) {
        facts.mount = mount.target.display().to_string();
        facts.file_system = Some(mount.kind.clone());
        facts.read_only = mount.has("ro");
        let told = ["noexec", "nodev", "nosuid"];
        facts.mount_options = told
            .iter()
            .filter(|option| mount.has(option))
            .map(|option| (*option).to_owned())
            .collect();
    }
    if let Ok(space) = rustix::fs::statvfs(directory) {
        // Root may also use the blocks that are reserved for it.
        facts.free_bytes = Some(space.f_bfree.saturating_mul(space.f_frsize));
        // File systems without a limit on files say 0 of 0.
        facts.free_inodes = (space.f_files > 0).then_some(space.f_ffree);
        facts.read_only |= space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    }
    facts.attributes = keeps_attributes(directory);
    facts.entry_kinds = tells_kinds(directory);
}

/// Whether the file system keeps extended attributes: asking for one that is not there tells.
fn keeps_attributes(directory: &Path) -> Option<bool> {
    let mut value = [0_u8; 16];
    match rustix::fs::getxattr(directory, c"trusted.hornero.asked", &mut value[..]) {
        Ok(_) | Err(rustix::io::Errno::NODATA) => Some(true),
        Err(rustix::io::Errno::OPNOTSUPP) => Some(false),
        Err(_) => None,
    }
}

/// Whether a directory says what its entries are; unknown where there are none.
fn tells_kinds(directory: &Path) -> Option<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, directory, flags, Mode::empty()).ok()?;
    let entries = Dir::read_from(&opened).ok()?;
    let kinds = entries.take(ENTRIES_LOOKED_AT).flatten().map(|entry| entry.file_type());
    kinds.map(|kind| kind != FileType::Unknown).reduce(|all, tells| all && tells)
}
