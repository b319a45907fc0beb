//! Copies a file, hashing what is read, so that what was written is what was meant.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use hornero_model::Digest;
use sha2::{Digest as _, Sha256};

/// Read at once: large enough that a call costs nothing beside hashing.
const BLOCK_BYTES: usize = 1 << 20;

/// What was copied.
pub(crate) struct CopiedFile {
    pub digest: Digest,
    pub bytes: u64,
}

/// Copies `from` to `to` (which appears whole, with the same permissions for its owner, or not at all).
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<CopiedFile> {
    let source = without_link(from)?;
    let mode = source.metadata()?.mode() & 0o700;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let fresh = to.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode | 0o200);
    let made = options.custom_flags(no_link()).open(&fresh);
    let copied = made.and_then(|file| {
        let copied = hashed(source, &file)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
        fs::rename(&fresh, to)?;
        Ok(copied)
    });
    if copied.is_err() {
        // The first error counts.
        let _ = fs::remove_file(&fresh);
    }
    copied
}

/// The digest of a file's content.
pub(crate) fn digest(path: &Path) -> io::Result<CopiedFile> {
    hashed(without_link(path)?, io::sink())
}

fn without_link(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(no_link()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok(file)
}

fn no_link() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

fn hashed(mut from: impl Read, mut to: impl Write) -> io::Result<CopiedFile> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut bytes = 0;
    loop {
        let length = match from.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&block[..length]);
        to.write_all(&block[..length])?;
        bytes += length as u64;
    }
    Ok(CopiedFile { digest: Digest::from_bytes(hasher.finalize().into()), bytes })
}
