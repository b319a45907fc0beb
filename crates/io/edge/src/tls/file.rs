//! Files of certificates and keys: what is in them, and whether they are others by now.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// A chain of certificates is a few kilobytes.
const FILE_BYTES: u64 = 1 << 20;

/// What tells one state of a file from another.
pub type CertificateStamp = [i64; 6];

/// That of a file; none where it is not there.
pub fn stamp(path: &Path) -> Option<CertificateStamp> {
    let found = fs::metadata(path).ok()?;
    let (device, inode) = (found.dev().cast_signed(), found.ino().cast_signed());
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some([device, inode, times[0], times[1], times[2], times[3]])
}

/// A whole file, unless it is none or too large to be a certificate.
///
/// # Errors
/// Where it can't be read, or is none.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe in its place would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut contents = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", FILE_BYTES >> 20)));
    }
    Ok(contents)
}
