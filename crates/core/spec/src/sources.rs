//! What lies beside `hornero.hcl`, asked through a trait so that this crate does no I/O.

/// What is at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtPath {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink with this target, not followed.
    Symlink(String),
    /// A socket, pipe or device.
    Other,
    /// Nothing.
    Missing,
    /// It could not be looked at; the text says why.
    Unreadable(String),
}

/// Looks at paths in the directory of `hornero.hcl`.
pub trait Sources {
    /// What is at `path`, as by `lstat(2)`: the last component is not followed when it is a symlink.
    ///
    /// `path` is relative with single `/` between components and neither `.` nor `..` among them; an empty path is
    /// the directory itself. The parser asks for every component in turn, and never for one below a symlink.
    fn look(&self, path: &str) -> AtPath;

    /// What the regular file at `path` holds, `most` bytes of it and one more where it is longer. The parser asks only
    /// for what [`Sources::look`] found to be a file; an error says why it can't be read.
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String>;
}
