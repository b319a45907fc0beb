//! Which program a process runs.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// This very program, also after an upgrade has put another file in its place: control, edge and shims then still speak
/// the same words.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// The file that a process runs, whatever lies at its path by now: while it runs, no other file has its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    device: u64,
    inode: u64,
}

impl Program {
    /// The program of this process.
    pub fn own() -> io::Result<Self> {
        Self::at(Path::new(OWN_PROGRAM))
    }

    /// The program of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::at(Path::new(&format!("/proc/{pid}/exe")))
    }

    /// The program in a file.
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}
