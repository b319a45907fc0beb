//! What cargo builds to be run as tests.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// A program with tests in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// As one would choose it: `hornero-edge --test limits`.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// The directory of its package, where it is run.
    pub directory: PathBuf,
    /// Whether it is an integration test, which takes longer than unit tests do.
    pub integration: bool,
}

impl Program {
    /// How many tests are in it; none where it does not list them, which its run will show.
    fn count_tests(&self) -> usize {
        let listed = Command::new(&self.executable)
            .args(["--list", "--format", "terse"])
            .current_dir(&self.directory)
            .output();
        listed.map_or(0, |output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().filter(|line| line.ends_with(": test")).count()
        })
    }
}

/// Builds the tests that `arguments` choose (of the whole workspace where they choose no package). Those that are
/// expected to take longest come first: integration tests, of them those with the most tests.
///
/// # Errors
/// Where something does not build.
pub fn programs(arguments: &[String]) -> Result<Vec<Program>> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]);
    if !chooses_packages(arguments) {
        cargo.arg("--workspace");
    }
    cargo.args(arguments).stdout(Stdio::piped());
    let line = run::line(&cargo);
    let mut building = cargo.spawn().with_context(|| format!("cannot run `{line}`"))?;
    let messages = building.stdout.take().context("cargo's output is not there")?;
    let mut programs = Vec::new();
    for message in BufReader::new(messages).lines() {
        programs.extend(program(&message?)?);
    }
    let status = building.wait()?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    programs.sort_by_cached_key(|program| {
        std::cmp::Reverse((program.integration, program.count_tests()))
    });
    Ok(programs)
}

/// Whether arguments for cargo say which packages; it is the whole workspace where they do not.
pub fn chooses_packages(arguments: &[String]) -> bool {
    arguments.iter().any(|flag| ["-p", "--package"].iter().any(|name| flag.starts_with(name)))
}

/// The program that a message of cargo's tells of, if it is one with tests.
fn program(message: &str) -> Result<Option<Program>> {
    // What a build script prints by itself may stand between the messages.
    let Ok(message) = serde_json::from_str::<Value>(message) else { return Ok(None) };
    let is_test = message["profile"]["test"] == true;
    let (true, Some(executable)) = (is_test, message["executable"].as_str()) else {
        return Ok(None);
    };
    let manifest = message["manifest_path"].as_str().context("a target has no manifest")?;
    let directory = Path::new(manifest).parent().context("a manifest lies nowhere")?;
    let target = message["target"]["name"].as_str().context("a target has no name")?;
    let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
    let package = package_name(message["package_id"].as_str().unwrap_or_default());
    let name = match kind {
        "test" | "bin" | "example" | "bench" => format!("{package} --{kind} {target}"),
        _ => format!("{package} --lib"),
    };
    Ok(Some(Program {
        name,
        executable: executable.into(),
        directory: directory.to_owned(),
        integration: kind == "test",
    }))
}

/// The name in a package id: `path+file:///src/edge#hornero-edge@0.2.0`, or `path+file:///src/xtask#0.2.0` where the
/// directory is called as the package is (Cargo's reference, "Package ID Specifications").
fn package_name(id: &str) -> &str {
    let (address, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => address.rsplit('/').next().unwrap_or(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_in_both_forms_of_an_id() {
        assert_eq!(package_name("path+file:///a/edge#hornero-edge@0.2.0"), "hornero-edge");
        assert_eq!(package_name("path+file:///a/xtask#0.2.0"), "xtask");
    }

    #[test]
    fn only_programs_with_tests_are_run() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///a/edge#hornero-edge@0.2.0",
                "manifest_path":"/a/edge/Cargo.toml","target":{{"kind":["test"],"name":"limits"}},
                "profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let expected = Program {
            name: "hornero-edge --test limits".to_owned(),
            executable: "/t/limits-1".into(),
            directory: "/a/edge".into(),
            integration: true,
        };
        assert_eq!(program(&message(true, r#""/t/limits-1""#)).unwrap(), Some(expected));
        assert_eq!(program(&message(false, r#""/t/hornero""#)).unwrap(), None);
        assert_eq!(program(&message(true, "null")).unwrap(), None);
        assert_eq!(program("a build script says this").unwrap(), None);
    }
}
