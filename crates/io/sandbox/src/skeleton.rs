//! What every root must have to mount on, as the lowest layer.

use std::{ffi::OsStr, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::MountAttrFlags,
};

use crate::{
    error::StartError,
    identity::FileIds,
    spec::{Root, SandboxSpec},
    tmpfs::tmpfs,
};

/// Directories that every root must have, to mount on.
const STANDARD_DIRECTORIES: [&str; 5] = ["/dev", "/proc", "/sys", "/tmp", "/etc"];

/// What the sandbox mounts on, in case the image lacks it. In a writable directory it is made in place instead.
///
/// `files` are the paths of the files that are laid over the root, `volumes` those of volumes. Its owners are the host ids of the sandbox's: a tmpfs has its ids mapped only since Linux 6.3.
pub(crate) fn skeleton(
    spec: &SandboxSpec,
    files: &[&str],
    volumes: &[String],
    first: u32,
) -> Result<OwnedFd, StartError> {
    let made = tmpfs("1m", first, MountAttrFlags::empty());
    let skeleton =
        made.map_err(|error| StartError::failed("make the skeleton layer", "", error))?;
    let place = match &spec.root {
        Root::Directory { path, writable: true } => {
            let opened = rustix::fs::open(
                path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            Some(
                opened.map_err(|error| {
                    StartError::failed("open the directory", path.display(), error)
                })?,
            )
        }
        Root::Directory { .. } | Root::Composed(_) | Root::Build { .. } | Root::Views(_) => None,
    };
    // The ids of a writable directory are mapped.
    let first = if place.is_some() { 0 } else { first };
    let place = place.as_ref().unwrap_or(&skeleton);
    let _owner = FileIds::assume(first)
        .map_err(|error| StartError::failed("take the ids of the sandbox's root", "", error))?;
    for path in STANDARD_DIRECTORIES {
        ensure_directory(place, path)?;
    }
    let tmp = rustix::fs::openat2(
        place,
        "tmp",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    );
    let _ = tmp.and_then(|tmp| rustix::fs::fchmod(&tmp, Mode::from_raw_mode(0o1777)));
    for scratch in &spec.scratch {
        let made = ensure_directory(place, &scratch.path)?;
        if let Some(directory) = made {
            let owner = rustix::fs::Uid::from_raw(first + spec.user.uid);
            let group = rustix::fs::Gid::from_raw(first + spec.user.gid);
            rustix::fs::fchown(&directory, Some(owner), Some(group))
                .map_err(|error| StartError::failed("own scratch", &scratch.path, error))?;
        }
    }
    for path in volumes {
        ensure_directory(place, path)?;
    }
    for file in files {
        let path = Path::new(file);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = ensure_directory_open(place, &parent.to_string_lossy())?;
        ensure_file(&parent, name, file)?;
    }
    Ok(skeleton)
}

/// Makes the file `name` in `parent` where there is nothing of that name.
pub(crate) fn ensure_file(parent: &OwnedFd, name: &OsStr, wanted: &str) -> Result<(), StartError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(StartError::failed("make a place for", wanted, error)),
    }
}

/// Makes the directory `path` below `root` and what is missing above it; gives it back where it was made.
pub(crate) fn ensure_directory(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, StartError> {
    let mut made = None;
    let mut so_far = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        made = None;
        let parent = open_inside(root, &so_far, path)?;
        match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                so_far = format!("{so_far}/{part}");
                made = Some(open_inside(root, &so_far, path)?);
            }
            Err(rustix::io::Errno::EXIST) => so_far = format!("{so_far}/{part}"),
            Err(error) => return Err(StartError::failed("make a place for", path, error)),
        }
    }
    Ok(made)
}

pub(crate) fn ensure_directory_open(root: &OwnedFd, path: &str) -> Result<OwnedFd, StartError> {
    match ensure_directory(root, path)? {
        Some(directory) => Ok(directory),
        None => open_inside(root, path, path),
    }
}

/// Opens a directory with symbolic links resolved as the sandbox would: never out of `root`.
fn open_inside(root: &OwnedFd, path: &str, wanted: &str) -> Result<OwnedFd, StartError> {
    let path = if path.is_empty() { "." } else { path };
    rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| StartError::failed("make a place for", wanted, error))
}
