//! Largest sizes and counts accepted from outside, each with its reason.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// apt source and configuration files are a few kilobytes.
pub(crate) const SOURCES_FILE_BYTES: u64 = 1 << 20;
/// Debian's whole keyring is 60 kB.
pub(crate) const KEYRING_BYTES: u64 = 8 << 20;
/// Debian's largest `InRelease` is 250 kB.
pub(crate) const RELEASE_BYTES: u64 = 16 << 20;
/// Debian's largest `Packages` is 60 MB unpacked; other archives are smaller.
pub(crate) const INDEX_BYTES: u64 = 512 << 20;
/// The largest Debian package is under 2 GB.
pub(crate) const PACKAGE_BYTES: u64 = 4 << 30;
/// Unpacked size of one package: an archive bomb must not fill the disk unseen.
pub(crate) const UNPACKED_BYTES: u64 = 16 << 30;
/// Control files (scripts, checksums) of one package; the largest md5sums list is 5 MB.
pub(crate) const CONTROL_BYTES: u64 = 64 << 20;
/// Files in one package; the largest Debian package has about 200,000.
pub(crate) const PACKAGE_ENTRIES: usize = 2_000_000;
/// Files in one copied directory.
pub(crate) const COPY_ENTRIES: usize = 2_000_000;
/// `hornero.lock` has about 150 bytes a package.
pub(crate) const LOCK_BYTES: u64 = 64 << 20;
/// Path length that the kernel accepts.
pub(crate) const PATH_BYTES: usize = 4096;
/// Depth of a copied directory: deeper ones are loops or attacks.
pub(crate) const COPY_DEPTH: usize = 64;

/// Reads a file that must not be larger than `limit`.
pub(crate) fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(File::open(path)?, limit)
}

/// Reads a text file that must not be larger than `limit`.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_file(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not valid UTF-8"))
}

/// Reads everything from `reader`, failing when there is more than `limit`.
pub(crate) fn read_all(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than the limit of {limit} bytes"),
        ));
    }
    Ok(bytes)
}
