//! Public libraries that read Hornero's documents as others would: SPDX, CycloneDX, package URLs, DSSE and in-toto.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use hornero_model::Digest;

const REQUIREMENTS: &str = include_str!("validators/requirements.txt");

/// Lets a library read a document; what it found in it.
///
/// # Panics
///
/// If it complains.
#[track_caller]
pub fn check(arguments: &[&str]) -> String {
    static LIBRARIES: OnceLock<PathBuf> = OnceLock::new();
    let libraries = LIBRARIES.get_or_init(install);
    let script = directory().join("check.py");
    let mut command = Command::new("/usr/bin/python3");
    let output = command.arg(script).args(arguments).env("PYTHONPATH", libraries).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/validators")
}

/// The directory with the libraries that `requirements.txt` pins; fetched once a checkout.
fn install() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let installed =
        scratch.join(format!("validators-{}", Digest::of(REQUIREMENTS.as_bytes()).short()));
    if installed.is_dir() {
        return installed;
    }
    let fresh = tempfile::Builder::new().prefix("validators-").tempdir_in(scratch).unwrap();
    let target = fresh.path().join("libraries");
    let output = Command::new("/usr/bin/python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary=:all:",
            "--require-hashes",
            "--target",
        ])
        .arg(&target)
        .arg("--requirement")
        .arg(directory().join("requirements.txt"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Another run of the tests may have been first: its libraries are these.
    if let Err(error) = std::fs::rename(&target, &installed) {
        assert!(installed.is_dir(), "{error}");
    }
    installed
}
