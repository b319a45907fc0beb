//! Largest sizes and counts accepted of a package, each with its reason.

/// Control files (scripts, checksums) of one package; the largest md5sums list is 5 MB.
pub(crate) const CONTROL_BYTES: u64 = 64 << 20;
/// Files in one package; the largest Debian package has about 200,000.
pub(crate) const PACKAGE_ENTRIES: usize = 2_000_000;
