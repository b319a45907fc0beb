//! Test programs that run in the machines, on the kernel they are to be tried on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::archive::Archive;
use crate::run;

/// What is run, by crate and test: isolation, starts on every rung, build steps, the conformance kit, kills and leaks.
const TESTS: &[(&str, &str)] = &[
    ("hornero-sandbox", "start"),
    ("hornero-sandbox", "confinement"),
    ("hornero-sandbox", "build"),
    ("hornero-engine", "conformance"),
    ("hornero-engine", "instances"),
    ("hornero-engine", "leaks"),
];
/// Debian packages that these tests call, beside what a root has.
const PACKAGES: &[&str] = &["busybox-static", "erofs-utils", "libfuse2"];
/// A program that tests of isolation compile: its source.
const PROBE: &str = "crates/io/sandbox/tests/support/probe.rs";

/// Puts the tests below `payload/tests`, with everything they need and a script that sets the machine up for them.
pub fn carry(payload: &Path, archive: &Archive) -> Result<()> {
    let tests = payload.join("tests");
    fs::create_dir_all(tests.join("packages"))?;
    eprintln!("hosts: building the tests that run in the machines");
    let mut links = Vec::new();
    for artifact in build()? {
        let Some(executable) = artifact["executable"].as_str().map(PathBuf::from) else { continue };
        let name = artifact["target"]["name"].as_str().context("an artifact has no name")?;
        let kind = artifact["target"]["kind"][0].as_str().unwrap_or_default();
        let wanted = match kind {
            "test" => TESTS.iter().any(|test| is(&artifact, name, test)),
            "bin" => {
                // Tests have the path of their own crate's programs in them.
                links.push((executable.clone(), name.to_owned()));
                true
            }
            _ => false,
        };
        if wanted {
            strip(&executable, &tests.join(name))?;
        }
    }
    for (_, test) in TESTS {
        ensure!(tests.join(test).is_file(), "cargo built no test `{test}`");
    }
    for package in PACKAGES {
        archive.download(package, &tests.join("packages"))?;
    }
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "debuginfo=0", "-o"])
        .args([tests.join("probe"), PROBE.into()]);
    run::check(&mut rustc)?;
    // The tests compile the probe: here it is compiled already, whatever it is to be called.
    let compiler =
        "#!/bin/bash\nwhile [ \"$1\" != -o ]; do shift; done\ncp /payload/tests/probe \"$2\"\n";
    write_program(&tests.join("rustc"), compiler)?;
    let mut set_up = "#!/bin/bash\nset -e\ndpkg -i /payload/tests/packages/*.deb\n".to_owned();
    for (path, name) in links {
        let parent = path.parent().context("a program without a directory")?;
        set_up += &format!("mkdir -p '{}'\n", parent.display());
        set_up += &format!("ln -sfn '/payload/tests/{name}' '{}'\n", path.display());
    }
    write_program(&tests.join("set-up"), &set_up)
}

/// The tests' names.
pub fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(_, test)| *test)
}

/// How many tests passed, from what a test program wrote.
pub fn passed(output: &str) -> Result<u64> {
    let mut total = 0;
    let results = output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    for result in results {
        let count = result.split(' ').next().unwrap_or_default();
        total += count.parse::<u64>().with_context(|| format!("no count in `{result}`"))?;
    }
    ensure!(total > 0, "no test ran:\n{output}");
    Ok(total)
}

/// Whether what cargo built is a test of this package: names of tests are their package's own.
fn is(artifact: &Value, name: &str, (package, test): &(&str, &str)) -> bool {
    let id = artifact["package_id"].as_str().unwrap_or_default();
    name == *test && id.contains(&format!("#{package}@"))
}

fn build() -> Result<Vec<Value>> {
    let mut cargo = run::cargo();
    // Of the whole workspace, with the features that every other build of tests has: nothing is compiled twice.
    cargo.args(["test", "--no-run", "--message-format=json-render-diagnostics", "--workspace"]);
    cargo.args(TESTS.iter().flat_map(|(_, test)| ["--test", test]));
    let lines = run::read(&mut cargo)?;
    let messages = lines.lines().map(serde_json::from_str::<Value>);
    messages
        .filter(|message| {
            message.as_ref().map_or(true, |message| message["reason"] == "compiler-artifact")
        })
        .map(|message| message.context("cargo wrote no JSON"))
        .collect()
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A program without its symbols: a fifth of its size, which emulated machines feel.
pub fn strip(program: &Path, to: &Path) -> Result<()> {
    run::check(Command::new("strip").arg("-o").arg(to).arg(program))
        .with_context(|| format!("`{}`", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_apart_by_their_package() {
        let artifact = |package: &str| serde_json::json!({ "package_id": format!("path+file:///crates/io/x#{package}@0.2.0") });
        let wanted = ("hornero-engine", "instances");
        assert!(is(&artifact("hornero-engine"), "instances", &wanted));
        assert!(!is(&artifact("hornero-verify"), "instances", &wanted));
        assert!(!is(&artifact("hornero-engine"), "leaks", &wanted));
    }

    #[test]
    fn only_passed_tests_count() {
        let output = "running 2 tests\n..\ntest result: ok. 12 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(output).unwrap(), 12);
        assert!(passed("test result: ok. 0 passed; 0 failed\n").is_err());
        assert!(passed("test result: FAILED. 3 passed; 1 failed\n").is_err());
    }
}
