//! Known faults of dependencies, from the database of RustSec, as far as this machine can ask for it.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::run;

/// Has `cargo-deny` look every dependency up, where it is installed and its database can be fetched.
///
/// Else nothing is checked, with a word on stderr: the database is no part of the repository and changes without a
/// commit, so that a commit can't depend on it.
pub fn check() -> Result<()> {
    check_with(&|| Command::new("cargo-deny"))
}

fn check_with(deny: &dyn Fn() -> Command) -> Result<()> {
    let works = |arguments: &[&str]| {
        let mut command = deny();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works(&["--version"]) {
        eprintln!("advisories are not checked: `cargo-deny` is not installed");
        return Ok(());
    }
    // Fetched apart from the check, so that a fault found is told from a database that can't be reached.
    if !works(&["fetch", "db"]) {
        eprintln!("advisories are not checked: their database can't be fetched");
        return Ok(());
    }
    run::check(deny().args(["check", "--disable-fetch", "advisories"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a `cargo-deny` whose calls end as `script` says.
    fn check(script: &str) -> Result<()> {
        check_with(&|| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "cargo-deny"]);
            shell
        })
    }

    #[test]
    fn only_a_known_fault_fails() {
        assert!(check_with(&|| Command::new("/nowhere/cargo-deny")).is_ok());
        assert!(check(r#"test "$1" = --version"#).is_ok(), "the database can't be reached");
        assert!(check(r#"test "$*" != "check --disable-fetch advisories""#).is_err());
        assert!(check("true").is_ok());
    }
}
