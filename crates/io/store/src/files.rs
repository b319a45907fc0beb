//! Opening the store's own files: never through a symbolic link, and nothing but plain files.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
};

use hornero_model::Digest;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{Result, StoreError};

/// Something else lies where the store keeps a file.
#[derive(Debug, thiserror::Error)]
#[error("it is a symbolic link, a directory or a special file instead of a plain file")]
struct NotPlain;

/// Opens `path` below `dir` for reading.
///
/// Whoever can write into the store could put a link to any file of the host there: its bytes would leave with
/// an error message or an export.
pub(crate) fn open_plain_at(dir: impl AsFd, path: impl rustix::path::Arg) -> io::Result<File> {
    // Without waiting: opening a fifo would last until somebody writes.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP | Errno::NXIO) => return Err(not_plain()),
        Err(errno) => return Err(errno.into()),
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_plain()),
    }
}

/// Opens `path` for reading.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    open_plain_at(CWD, path)
}

fn not_plain() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, NotPlain)
}

/// Whether opening failed because something other than a plain file lies there.
pub(crate) fn is_not_plain(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<NotPlain>())
}

/// Whether the disk itself could not give the bytes: as good as gone, and as curable.
///
/// File systems tell of sectors that can't be read by EIO, and of structures of their own that don't check out by
/// EUCLEAN and EBADMSG.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG))
}

/// Whether a plain file lies at `path`.
pub(crate) fn is_plain_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// All bytes of a file; none when it has more than `max_bytes`.
pub(crate) fn read_limited(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = open_plain(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(max_bytes) as usize);
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

/// The entries of a directory whose names are digests, sorted.
pub(crate) fn list_digests(dir: &Path) -> Result<Vec<Digest>> {
    let entries = fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", dir, error))?;
        found.extend(entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()));
    }
    found.sort_unstable();
    Ok(found)
}
