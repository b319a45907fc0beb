//! Where the keys are that may sign an archive.

use std::path::PathBuf;

/// Where the keys that may sign an archive are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyring {
    /// Key files of any OpenPGP form.
    Files {
        /// The files.
        files: Vec<PathBuf>,
        /// In upper case, the fingerprints of the keys that count; empty for all.
        fingerprints: Vec<String>,
    },
    /// Armoured keys written into the source itself.
    Inline(String),
}

impl Keyring {
    /// All keys of these files.
    pub fn files(files: Vec<PathBuf>) -> Self {
        Self::Files { files, fingerprints: Vec::new() }
    }
}
