//! Checks of the committed files: their length, their first sentence, and host names that must not stand there.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::run;

/// A file with more lines has more than one subject.
const LINES_MAX: usize = 450;
/// Tests are tables of cases, which grow by the case.
const TEST_LINES_MAX: usize = 800;
/// Source files whose length is counted.
const SOURCES: &[&str] = &["rs", "sh", "py", "ts", "js", "css"];
/// Names that say nothing of what is in a file.
const EMPTY_NAMES: &[&str] =
    &["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "manager.rs"];
/// Files that may name a package host: cargo writes its registry into its lock.
const HOST_EXCEPTIONS: &[&str] = &["Cargo.lock"];

/// Checks every file that git knows.
pub fn check() -> Result<()> {
    let listed = run::read(Command::new("git").args(["ls-files", "-z"]))?;
    let hosts = package_hosts();
    let mut faults = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Deleted and not yet committed, or no text: nothing to check.
        let Ok(bytes) = fs::read(path) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        check_file(path, &text, &hosts, &mut faults);
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn check_file(path: &str, text: &str, hosts: &[String], faults: &mut Vec<String>) {
    let file = Path::new(path);
    let source =
        file.extension().is_some_and(|extension| SOURCES.iter().any(|known| extension == *known));
    let lines = text.lines().count();
    let lines_max = if is_test(path) { TEST_LINES_MAX } else { LINES_MAX };
    if source && lines > lines_max {
        faults.push(format!("{path}: {lines} lines; split it"));
    }
    if file.file_name().is_some_and(|name| EMPTY_NAMES.iter().any(|empty| name == *empty)) {
        faults.push(format!("{path}: the name says nothing of what is in it"));
    }
    if path.ends_with(".rs") && !text.starts_with("//! ") {
        faults.push(format!("{path}: opens without a `//!` sentence that says what it owns"));
    }
    if HOST_EXCEPTIONS.contains(&path) {
        return;
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(host) = hosts.iter().find(|host| line.contains(host.as_str())) {
            faults.push(format!("{path}:{number}: names `{host}`, a host that packages come from"));
        }
    }
}

/// Whether a source file holds only tests.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The hosts that this machine fetches packages from: no committed text may depend on one.
fn package_hosts() -> Vec<String> {
    let mut texts = Vec::new();
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    files.extend(
        fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path())),
    );
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        files.push(Path::new(&home).join("config.toml"));
    }
    if let Some(home) = std::env::var_os("HOME") {
        files.push(Path::new(&home).join(".cargo/config.toml"));
    }
    texts.extend(files.into_iter().filter_map(|path| fs::read_to_string(path).ok()));
    let mut hosts: Vec<String> = texts.iter().flat_map(|text| hosts_in(text)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn hosts_in(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|line| line.split("://").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        // Loopback and bare names say nothing of where packages come from.
        .filter(|host| host.contains('.') && !host.starts_with("127."))
        .collect()
}

/// Checks that `path` is there; for tasks that need a file of the repository.
pub fn require(path: &str) -> Result<()> {
    fs::metadata(path)
        .map(|_| ())
        .with_context(|| format!("`{path}` is missing from the repository"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> String {
        let mut faults = Vec::new();
        check_file(path, text, &["mirror.example.org".to_owned()], &mut faults);
        faults.join("\n")
    }

    #[test]
    fn files_that_are_fine() {
        assert_eq!(check("crates/io/x/src/lib.rs", "//! Owns x.\nuse std::fs;\n"), "");
        let cases = format!("//! Owns x.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(check("crates/io/x/tests/x.rs", &cases), "");
        assert_eq!(check("Cargo.lock", "mirror.example.org"), "");
    }

    #[test]
    fn files_that_are_not() {
        let long = format!("//! Owns x.\n{}", "\n".repeat(LINES_MAX));
        let found = [
            check("a.rs", &long),
            check("crates/io/x/src/utils.rs", "//! Owns x.\n"),
            check("b.rs", "fn main() {}\n"),
            check("crates/io/x/src/tests.rs", &format!("{long}{}", "\n".repeat(350))),
            check("README.md", "\nfrom http://mirror.example.org/debian\n"),
        ];
        expect_test::expect![[r#"
            a.rs: 451 lines; split it
            crates/io/x/src/utils.rs: the name says nothing of what is in it
            b.rs: opens without a `//!` sentence that says what it owns
            crates/io/x/src/tests.rs: 801 lines; split it
            README.md:2: names `mirror.example.org`, a host that packages come from"#]]
        .assert_eq(&found.join("\n"));
    }

    #[test]
    fn hosts_are_read_from_both_kinds_of_sources() {
        let text = "# http://old.example.org/\ndeb [a=b] https://one.example.org/debian x main\n\
                    URIs: http://two.example.org:8080/d http://127.0.0.1/x http://cache/\n";
        assert_eq!(hosts_in(text), ["one.example.org", "two.example.org"]);
    }
}
