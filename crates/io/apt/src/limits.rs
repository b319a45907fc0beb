//! Largest sizes accepted from archives and from files of apt, each with its reason.

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
/// `hornero.lock` has about 150 bytes a package.
pub(crate) const LOCK_BYTES: u64 = 64 << 20;
/// Path length that the kernel accepts.
pub(crate) const PATH_BYTES: usize = 4096;
