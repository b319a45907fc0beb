//! What a directory holds.

use std::collections::BTreeMap;

/// Bytes of a file that is read to find out what it is: those of people are far smaller.
pub const TEXT_BYTES_MAX: u64 = 256 << 10;
/// Entries of a directory that are looked at; one with more is no project.
pub const ENTRIES_MAX: usize = 4096;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The name of the directory, which becomes that of the service.
    pub name: String,
    /// The Debian suite of the host, else the one that is proposed.
    pub suite: String,
    /// What lies in it: paths relative to it, directories one level deep.
    pub entries: BTreeMap<String, Entry>,
    /// The text of small files, by path.
    pub texts: BTreeMap<String, String>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// An executable ELF file.
    Program,
}
