//! Public libraries that read Hornero's documents as others would: SPDX, CycloneDX, package URLs, DSSE and in-toto.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hornero_python::Python;

/// Lets a library read a document; what it found in it.
///
/// # Panics
///
/// If it complains.
#[track_caller]
pub fn check(arguments: &[&str]) -> String {
    python().run(&directory().join("check.py"), arguments)
}

/// Python with those libraries.
#[track_caller]
pub fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    PYTHON.get_or_init(|| Python::with(&directory().join("requirements.txt"), scratch))
}

/// Where the scripts are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/validators")
}
