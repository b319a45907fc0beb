//! Python with public libraries, pinned by their hashes, so that tests meet readers and peers that others have written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hornero_model::Digest;

const PROGRAM: &str = "/usr/bin/python3";
/// How long a script may take: some take seconds, and a machine may be slow.
const SECONDS: &str = "300";

/// The Python of the host, with the libraries that a file pins.
#[derive(Debug, Clone)]
pub struct Python {
    libraries: PathBuf,
}

impl Python {
    /// Python with what `requirements` pins (pip's hash-checking mode), fetched into `scratch` once for each version of
    /// that file.
    ///
    /// # Panics
    ///
    /// If a library can't be fetched, or is another one than pinned.
    #[track_caller]
    pub fn with(requirements: &Path, scratch: &Path) -> Self {
        let digest = Digest::of(&fs::read(requirements).unwrap());
        let libraries = scratch.join(format!("python-{}", digest.short()));
        if !libraries.is_dir() {
            fetch(requirements, scratch, &libraries);
        }
        Self { libraries }
    }

    /// A script of these libraries' users, that ends after five minutes at most.
    pub fn script(&self, script: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.arg(SECONDS).arg(PROGRAM).arg(script).env("PYTHONPATH", &self.libraries);
        // Its caches would lie beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a script to its end; what it said.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn run(&self, script: &Path, arguments: &[&str]) -> String {
        let output = self.script(script).args(arguments).output().unwrap();
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}\n{said}{complained}");
        said.trim_end().to_owned()
    }
}

#[track_caller]
fn fetch(requirements: &Path, scratch: &Path, libraries: &Path) {
    let fresh = tempfile::Builder::new().prefix("python-").tempdir_in(scratch).unwrap();
    let target = fresh.path().join("libraries");
    let output = Command::new(PROGRAM)
        .args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--require-hashes"])
        .arg("--target")
        .arg(&target)
        .arg("--requirement")
        .arg(requirements)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Another run of the tests may have been first: its libraries are these.
    if let Err(error) = fs::rename(&target, libraries) {
        assert!(libraries.is_dir(), "{error}");
    }
}
