//! Which packages may be depended on: their licences, their sources, and those that are banned with the reason.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::{licence, metadata::Metadata};

/// The one source of packages that are not ours, as cargo calls it.
pub const CRATES_IO: &str =
    concat!("registry+https://github.com/rust-lang/", "crates", ".io-index");

/// Packages that must not appear in the graph, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "a second TLS stack, in C; use rustls with ring"),
    ("openssl-sys", "a second TLS stack, in C; use rustls with ring"),
    ("native-tls", "a second TLS stack, in C; use rustls with ring"),
    ("aws-lc-rs", "a second cryptographic library; rustls runs on ring here"),
    ("aws-lc-sys", "a second cryptographic library that needs cmake; rustls runs on ring here"),
    ("rust-apt", "GPL, and binds libapt"),
    ("oma-apt", "GPL, and binds libapt"),
    ("debian-packaging", "brings an S3 client by default"),
    ("tokio-tar", "unmaintained, CVE-2025-62518; read with `tar`"),
    ("async-tar", "the family of CVE-2025-62518; read with `tar`"),
    ("serde_yaml", "archived by its author"),
    ("async-std", "discontinued; tokio is the runtime"),
    ("smol", "a second runtime; tokio is the runtime"),
    ("actix-rt", "a second runtime; tokio is the runtime"),
    ("fail", "dormant; faults are injected through ports"),
    ("sqlx", "its SQLite can't share a tree with rusqlite's"),
    ("pingora", "owns the process and can't add listeners at run time"),
    ("atty", "unmaintained, RUSTSEC-2021-0145; use std::io::IsTerminal"),
    ("ansi_term", "unmaintained, RUSTSEC-2021-0139"),
    ("instant", "unmaintained, RUSTSEC-2024-0384"),
    ("paste", "unmaintained, RUSTSEC-2024-0436"),
    ("proc-macro-error", "unmaintained, RUSTSEC-2024-0370"),
    ("backoff", "unmaintained, RUSTSEC-2025-0012"),
    ("derivative", "unmaintained, RUSTSEC-2024-0388"),
    ("users", "unmaintained, RUSTSEC-2023-0040"),
    ("memmap", "unmaintained, RUSTSEC-2020-0077"),
    ("failure", "unmaintained, RUSTSEC-2020-0036"),
    ("net2", "unmaintained, RUSTSEC-2020-0016"),
];

/// Packages of which the graph may hold only one version: two would be two runtimes, stacks or type systems.
const SINGLE: &[&str] = &[
    "clap",
    "http",
    "hyper",
    "libsqlite3-sys",
    "miette",
    "ring",
    "rustix",
    "rustls",
    "schemars",
    "serde",
    "serde_json",
    "tokio",
];

/// Every package has a licence that can be met.
pub fn check_licences(metadata: &Metadata) -> Result<()> {
    let mut faults = Vec::new();
    for package in metadata.packages.values() {
        let (name, version) = (&package.name, &package.version);
        match &package.licence {
            None => faults.push(format!("`{name}` {version} names no licence")),
            Some(text) => match licence::is_allowed(text) {
                Ok(true) => {}
                Ok(false) => faults.push(format!("`{name}` {version} is under `{text}`")),
                Err(why) => faults.push(format!("`{name}` {version} has licence `{text}`: {why}")),
            },
        }
    }
    report(faults)
}

/// No package is banned, twice there, or from somewhere else.
pub fn check_bans(metadata: &Metadata) -> Result<()> {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.packages.values() {
        let name = package.name.as_str();
        versions.entry(name).or_default().push(&package.version);
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            faults.push(format!("`{name}` is banned: {why}; {}", wanted_by(metadata, name)));
        }
        match package.source.as_deref() {
            None | Some(CRATES_IO) => {}
            Some(source) => faults.push(format!("`{name}` comes from `{source}`")),
        }
    }
    for name in SINGLE {
        if let Some(found) = versions.get(name).filter(|found| found.len() > 1) {
            let wanted = wanted_by(metadata, name);
            faults.push(format!("`{name}` is there in versions {}; {wanted}", found.join(", ")));
        }
    }
    report(faults)
}

fn wanted_by(metadata: &Metadata, name: &str) -> String {
    let wants =
        |ids: &std::collections::BTreeSet<String>| ids.iter().any(|id| metadata.name(id) == name);
    let mut by: Vec<&str> = metadata
        .packages
        .values()
        .filter(|package| wants(&package.needs) || wants(&package.test_needs))
        .map(|package| package.name.as_str())
        .collect();
    by.sort_unstable();
    format!("wanted by {}", by.join(", "))
}

fn report(mut faults: Vec<String>) -> Result<()> {
    faults.sort();
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::graph;

    fn check(found: Result<()>, expected: expect_test::Expect) {
        expected.assert_eq(&found.map_or_else(|error| error.to_string(), |()| "passes".to_owned()));
    }

    #[test]
    fn licences() {
        let graph =
            graph(&[("a", "MIT", &[], &[]), ("b", "GPL-3.0-only", &[], &[]), ("c", "", &[], &[])]);
        check(
            check_licences(&graph),
            expect_test::expect![[r#"
                `b` 1.0.0 is under `GPL-3.0-only`
                `c` 1.0.0 names no licence"#]],
        );
    }

    #[test]
    fn bans() {
        let mut bad = graph(&[
            ("hornero-cli", "MIT", &["openssl", "tokio#1"], &["git-thing"]),
            ("openssl", "MIT", &[], &[]),
            ("tokio#1", "MIT", &[], &[]),
            ("tokio#2", "MIT", &[], &[]),
            ("git-thing", "MIT", &[], &[]),
        ]);
        bad.packages.get_mut("git-thing").unwrap().source =
            Some("git+https://a.example/x".to_owned());
        check(
            check_bans(&bad),
            expect_test::expect![[r#"
                `git-thing` comes from `git+https://a.example/x`
                `openssl` is banned: a second TLS stack, in C; use rustls with ring; wanted by hornero-cli
                `tokio` is there in versions 1.0.0, 1.0.0; wanted by hornero-cli"#]],
        );
        check(check_bans(&graph(&[("tokio", "MIT", &[], &[])])), expect_test::expect!["passes"]);
    }
}
