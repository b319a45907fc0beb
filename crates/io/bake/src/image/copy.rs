//! Copies files from beside `hornero.hcl` into a layer: contents and the executable bit, nothing else of the host.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use hornero_model::{Digest, ImageName};
use hornero_spec::{CopySource, SourceKind};
use hornero_store::{Entry, EntryKind, Layer, Metadata, Tree, TreePath};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest as _, Sha256};

use super::{
    secret_files::Guard,
    stat_cache::{Identity, StatCache},
};
use crate::{BakeError, limits};

/// One thing to copy.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Path below the source, empty for the source itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FoundKind,
}

/// What a thing to copy is.
#[derive(Debug, Clone)]
pub(crate) enum FoundKind {
    /// A directory.
    Directory,
    /// A symlink that stays within the source.
    Symlink(Vec<u8>),
    /// A file with its contents' digest.
    File {
        /// Where it is on the host.
        host: PathBuf,
        /// Whether its owner may execute it.
        executable: bool,
        /// SHA-256 of its contents.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

/// Everything of a copy source, sorted by path; files of secrets are none of it.
pub(crate) fn survey(
    image: &ImageName,
    dir: &Path,
    source: &CopySource,
    cache_dir: &Path,
    guard: Guard<'_>,
) -> Result<Vec<Found>, BakeError> {
    let root = dir.join(&source.from);
    let error = |path: &[u8], reason: String| BakeError::Copy {
        image: image.clone(),
        path: shown(source, path),
        reason,
    };
    // `from` may lead through symlinks, but never out of the directory.
    let real = |path: &Path| fs::canonicalize(path);
    let inside = real(&root).and_then(|root| Ok(root.starts_with(real(dir)?)));
    match inside {
        Ok(true) => {}
        Ok(false) => return Err(error(b"", "it leads out of the directory".to_owned())),
        Err(failure) => return Err(error(b"", failure.to_string())),
    }
    let root = real(&root).map_err(|failure| error(b"", failure.to_string()))?;
    let mut cache = StatCache::open(cache_dir, &root);
    let mut found = Vec::new();
    let is_directory = root.is_dir();
    if is_directory != (source.kind == SourceKind::Directory) {
        return Err(error(b"", "it changed its kind while it was read".to_owned()));
    }
    if is_directory {
        let mut survey = Survey { cache: &mut cache, found: &mut found, error: &error, guard };
        survey.directory(&root, &[], 0)?;
    } else if !guard.passes_over(&root).map_err(|reason| error(b"", reason))? {
        let kind = file(&root, &mut cache).map_err(|failure| error(b"", failure))?;
        found.push(Found { path: Vec::new(), kind });
    }
    cache.save();
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

/// A path of a source for people; the empty one is its own.
fn shown(source: &CopySource, path: &[u8]) -> String {
    let from = Path::new(&source.from);
    let path = Path::new(OsStr::from_bytes(path));
    let whole = if path.as_os_str().is_empty() { from.to_owned() } else { from.join(path) };
    whole.display().to_string()
}

struct Survey<'s> {
    cache: &'s mut StatCache,
    found: &'s mut Vec<Found>,
    error: &'s dyn Fn(&[u8], String) -> BakeError,
    guard: Guard<'s>,
}

impl Survey<'_> {
    fn directory(&mut self, host: &Path, path: &[u8], depth: usize) -> Result<(), BakeError> {
        let failed = |failure: std::io::Error| (self.error)(path, failure.to_string());
        if depth > limits::COPY_DEPTH {
            return Err((self.error)(path, format!("it is deeper than {}", limits::COPY_DEPTH)));
        }
        for entry in fs::read_dir(host).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.as_bytes());
            if self.found.len() >= limits::COPY_ENTRIES {
                let reason = format!("it holds more than {} files", limits::COPY_ENTRIES);
                return Err((self.error)(path, reason));
            }
            let kind = entry.file_type().map_err(failed)?;
            let host = entry.path();
            let reason = |reason| (self.error)(&below, reason);
            if !kind.is_dir() && self.guard.passes_over(&host).map_err(reason)? {
                continue;
            }
            let kind = if kind.is_dir() {
                self.directory(&host, &below, depth + 1)?;
                FoundKind::Directory
            } else if kind.is_symlink() {
                let target = fs::read_link(&host).map_err(failed)?;
                let target = target.as_os_str().as_bytes().to_vec();
                if !stays_within(&below, &target) {
                    let shown = String::from_utf8_lossy(&target).into_owned();
                    let reason = format!("it is a symlink to `{shown}`, out of what is copied");
                    return Err((self.error)(&below, reason));
                }
                FoundKind::Symlink(target)
            } else if kind.is_file() {
                file(&host, self.cache).map_err(|failure| (self.error)(&below, failure))?
            } else {
                let reason = "it is neither a file, a directory nor a symlink".to_owned();
                return Err((self.error)(&below, reason));
            };
            self.found.push(Found { path: below, kind });
        }
        Ok(())
    }
}

/// Whether a relative symlink at `path` leads to something below the source, without leaving it on the way.
fn stays_within(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") {
        return false;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// Opens a file without following a symlink, be it one that took the place of the file or of a directory above it
/// since they were looked at; `host` has none of its own.
fn open(host: &Path) -> Result<(File, fs::Metadata), String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(CWD, host, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(|error| std::io::Error::from(error).to_string())?;
    let file = File::from(file);
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    Ok((file, found))
}

/// Looks at one file below the source, whose path on the host has no symlinks.
fn file(host: &Path, cache: &mut StatCache) -> Result<FoundKind, String> {
    let found = fs::symlink_metadata(host).map_err(|error| error.to_string())?;
    let executable = found.mode() & 0o100 != 0;
    if let Some(digest) = cache.get(&Identity::of(&found)) {
        return Ok(FoundKind::File {
            host: host.to_owned(),
            executable,
            digest,
            size: found.len(),
        });
    }
    let (mut file, found) = open(host)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 << 10];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        size += count as u64;
        hasher.update(&buffer[..count]);
    }
    let digest = Digest::from_bytes(hasher.finalize().into());
    let after = file.metadata().map_err(|error| error.to_string())?;
    if Identity::of(&found) == Identity::of(&after) {
        cache.put(Identity::of(&found), digest);
    }
    Ok(FoundKind::File {
        host: host.to_owned(),
        executable: found.mode() & 0o100 != 0,
        digest,
        size,
    })
}

/// A short word for each path of a source, for explaining what changed.
pub(crate) fn fingerprints(source: &CopySource, found: &[Found]) -> BTreeMap<String, String> {
    found
        .iter()
        .map(|one| {
            let below = String::from_utf8_lossy(&one.path);
            let path = match (one.path.is_empty(), source.from.as_str()) {
                (true, from) => from.to_owned(),
                (false, ".") => below.into_owned(),
                (false, from) => format!("{from}/{below}"),
            };
            let word = match &one.kind {
                FoundKind::Directory => "directory".to_owned(),
                FoundKind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                FoundKind::File { executable, digest, .. } => {
                    format!("{}{}", digest.short(), if *executable { "*" } else { "" })
                }
            };
            (path, word)
        })
        .collect()
}

/// Puts a file's contents into the store.
pub(crate) type PutFile<'p> = dyn FnMut(&mut File) -> Result<(Digest, u64), BakeError> + 'p;

/// Makes the layer. `tree` is what lies below: directories that are there keep their owner and mode, and paths lead
/// through its symlinks. `has` says which contents, by digest and size, need not be read again.
pub(crate) fn layer(
    image: &ImageName,
    source: &CopySource,
    found: &[Found],
    owner: (u32, u32),
    tree: &Tree,
    has: &dyn Fn(Digest, u64) -> bool,
    put: &mut PutFile<'_>,
) -> Result<Layer, BakeError> {
    let error = |path: &[u8], reason: String| BakeError::Copy {
        image: image.clone(),
        path: shown(source, path),
        reason,
    };
    let mut entries: BTreeMap<TreePath, Entry> = BTreeMap::new();
    // Where each directory of the source ends up; one sorts before what is in it.
    let mut places: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
    let refused =
        |path: &[u8], failure: hornero_store::LayerError| error(path, failure.to_string());
    let top =
        TreePath::from_loose(source.to.as_bytes()).map_err(|failure| refused(b"", failure))?;
    let directory = |path: TreePath| Entry {
        path,
        kind: EntryKind::Directory { opaque: false },
        metadata: owned(owner, 0o755, FIRST_TIME),
    };
    if source.kind == SourceKind::Directory {
        let place = place_of(tree, &top);
        if tree.get(&place).is_none() {
            entries.insert(place.clone(), directory(place.clone()));
        }
        places.insert(Vec::new(), place);
    }
    for one in found {
        let (parent, name) = split(&one.path);
        let path = match one.path.is_empty() {
            true => place_of(tree, &top.parent().unwrap_or_default()).join(top.name()),
            false => places[parent].join(name),
        };
        let path = path.map_err(|failure| refused(&one.path, failure))?;
        match &one.kind {
            FoundKind::Directory => {
                let place = place_of(tree, &path);
                if tree.get(&place).is_none_or(|there| !there.kind.is_directory()) {
                    entries.insert(place.clone(), directory(place.clone()));
                }
                places.insert(one.path.clone(), place);
            }
            FoundKind::Symlink(target) => {
                let kind = EntryKind::Symlink { target: target.clone().into() };
                let metadata = owned(owner, 0o777, FIRST_TIME);
                entries.insert(path.clone(), Entry { path, kind, metadata });
            }
            FoundKind::File { host, executable, digest, size } => {
                if !has(*digest, *size) {
                    let (mut file, _) = open(host).map_err(|failure| error(&one.path, failure))?;
                    // The layer is remembered by what the file was when it was looked at.
                    if put(&mut file)? != (*digest, *size) {
                        let reason = "it changed while it was copied: run it again";
                        return Err(error(&one.path, reason.to_owned()));
                    }
                }
                let mode = source.mode.unwrap_or(if *executable { 0o755 } else { 0o644 });
                let metadata = owned(owner, mode, content_time(digest));
                let kind = EntryKind::File { digest: *digest, size: *size };
                entries.insert(path.clone(), Entry { path, kind, metadata });
            }
        }
    }
    Layer::from_sorted(entries.into_values().collect()).map_err(|failure| refused(b"", failure))
}

/// The directory of a path in the source, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => (&[], path),
        Some(at) => (&path[..at], &path[at + 1..]),
    }
}

fn owned((uid, gid): (u32, u32), mode: u32, mtime: u64) -> Metadata {
    Metadata { mode, uid, gid, mtime, ..Metadata::default() }
}

/// 2001-09-09, the beginning of the times that copied files have.
const FIRST_TIME: u64 = 1_000_000_000;
/// Three years of seconds: enough that two contents of one file rarely share a time.
const TIME_SPAN: u64 = 100_000_000;

/// The modification time of copied contents: made from the contents themselves, so that equal inputs give equal
/// bytes, and yet a web server that makes its `ETag` of time and size never takes a changed page for the old one.
fn content_time(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("a digest has 32 bytes"));
    FIRST_TIME + number % TIME_SPAN
}

/// Where a directory path leads in the tree, symlinks followed; itself where nothing is there.
fn place_of(tree: &Tree, path: &TreePath) -> TreePath {
    if path.is_root() {
        return path.clone();
    }
    if let Ok(entry) = tree.resolve(path.as_bytes(), true) {
        if entry.kind.is_directory() {
            return entry.path.clone();
        }
        return path.clone();
    }
    let parent = place_of(tree, &path.parent().unwrap_or_default());
    parent.join(path.name()).unwrap_or_else(|_| path.clone())
}
