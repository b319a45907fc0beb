//! Writes a first `hornero.hcl` from what a directory holds: a Dockerfile, a compose file, a site, a program.
//!
//! [`scaffold`] is the only way in: what was [`Found`] goes in, the text and every thing that could not be mapped come
//! out. The crate does no I/O.

mod compose;
mod detect;
mod docker;
mod dockerfile;
mod draft;
mod error;
mod found;
mod nginx;
mod node;
mod python;
mod shell;
mod sources;

pub use draft::Scaffold;
pub use error::ScaffoldError;
pub use found::{ENTRIES_MAX, Entry, Found, TEXT_BYTES_MAX};

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
