//! Writes a first `hornero.hcl` from what a directory holds: a Dockerfile, a compose file, a site, a program.
//!
//! [`scaffold`] is the only way in: what was [`Found`] goes in, the text and every thing that could not be mapped come
//! out. The crate does no I/O.

mod compose;
mod detect;
mod docker;
mod dockerfile;
mod draft;
mod nginx;
mod node;
mod python;
mod shell;

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

/// What to write it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Whatever is there.
    Anything,
    /// A Dockerfile, by its path in the directory.
    Dockerfile(String),
    /// A compose file, by its path in the directory.
    Compose(String),
    /// A program, by its path in the directory.
    Program(String),
}

/// A first `hornero.hcl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaffold {
    /// What it was made from, in a few words.
    pub from: String,
    /// The text of `hornero.hcl`.
    pub text: String,
    /// Files that it needs and that are not there: path and contents.
    pub files: Vec<(String, String)>,
    /// What could not be mapped, or has to be looked at, one sentence each.
    pub notes: Vec<String>,
}

/// Why nothing could be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaffoldError {
    /// A file can't be understood.
    #[error("`{file}` can't be understood: line {line}: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A file says nothing that could be run.
    #[error("`{file}` {reason}")]
    Empty {
        /// The file.
        file: String,
        /// What it lacks.
        reason: String,
    },
}

/// Writes a `hornero.hcl` from what was found.
///
/// # Errors
///
/// Where the file that it shall be made from can't be understood. What can't be mapped is no error but a note.
pub fn scaffold(found: &Found, origin: &Origin) -> Result<Scaffold, ScaffoldError> {
    let draft = match origin {
        Origin::Dockerfile(path) => docker::draft(found, path)?,
        Origin::Compose(path) => compose::draft(found, path)?,
        Origin::Program(path) => detect::program(found, path),
        Origin::Anything => detect::draft(found)?,
    };
    Ok(draft.finish())
}

#[cfg(test)]
mod tests;
