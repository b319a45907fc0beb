//! Packages that the host's Debian release has in its backports only, without a change to the host's apt sources.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{apt::apt, run};

/// Which of `names` the host's own sources don't have.
pub fn needed<'n>(names: &[&'n str]) -> Result<Vec<&'n str>> {
    let mut needed = Vec::new();
    for name in names {
        let told = run::read(Command::new("apt-cache").args(["policy", name]))?;
        if !told.lines().any(|line| line.starts_with("  Candidate: ") && !line.ends_with("(none)"))
        {
            needed.push(*name);
        }
    }
    Ok(needed)
}

/// Installs them from the backports of the mirror that the host uses.
pub fn install(names: &[&str]) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read `/etc/os-release`")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("`/etc/os-release` has no codename")?.trim_matches('"');
    let own = Path::new("/etc/apt/sources.list.d");
    let directory = tempfile::tempdir()?;
    let mut found = None;
    let listed = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in listed.chain([Path::new("/etc/apt/sources.list").to_owned()]) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Some(name) = path.file_name() else { continue };
        if path.parent() == Some(own) {
            fs::write(directory.path().join(name), &text)?;
        }
        found = found.or_else(|| backports(&text, codename));
    }
    let Some((text, kind)) = found else {
        bail!("no apt source of this host has `{codename}`, so its backports are not known");
    };
    fs::write(directory.path().join(format!("hornero-backports.{kind}")), text)?;
    let sources = format!("Dir::Etc::SourceParts={}", directory.path().display());
    let suite = format!("{codename}-backports");
    let installed = apt(&["-o", &sources, "update"]).and_then(|()| {
        let install =
            ["-o", &sources, "install", "--no-install-recommends", "--target-release", &suite];
        apt(&[&install, names].concat())
    });
    // The host's own lists again, whatever came of it.
    let restored = apt(&["update"]);
    installed.and(restored)
}

/// The source of a suite's backports, made from the source of the suite, and the kind of file it is.
fn backports(text: &str, codename: &str) -> Option<(String, &'static str)> {
    let backports = format!("{codename}-backports");
    let one_line = text.lines().find(|line| {
        line.starts_with("deb ") && line.split_ascii_whitespace().any(|word| word == codename)
    });
    if let Some(line) = one_line {
        let words = line
            .split_ascii_whitespace()
            .map(|word| if word == codename { backports.as_str() } else { word });
        return Some((words.collect::<Vec<_>>().join(" ") + "\n", "list"));
    }
    let stanza = text.split("\n\n").find(|stanza| {
        let suites = stanza.lines().find_map(|line| line.strip_prefix("Suites:"));
        suites.is_some_and(|suites| suites.split_ascii_whitespace().any(|suite| suite == codename))
    })?;
    let lines = stanza.lines().map(|line| {
        if line.starts_with("Suites:") { format!("Suites: {backports}") } else { line.to_owned() }
    });
    Some((lines.collect::<Vec<_>>().join("\n") + "\n", "sources"))
}

#[cfg(test)]
mod tests {
    use super::backports;

    #[test]
    fn the_mirror_and_its_key_stay() {
        let stanzas = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /key\n\nTypes: deb\nURIs: http://mirror/other\nSuites: trixie\n";
        let (text, kind) = backports(stanzas, "bookworm").unwrap();
        assert_eq!(kind, "sources");
        assert_eq!(
            text,
            "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm-backports\nComponents: main\nSigned-By: /key\n"
        );
        let lines =
            "# deb http://old bookworm main\ndeb [signed-by=/key] http://mirror bookworm main\n";
        let (text, kind) = backports(lines, "bookworm").unwrap();
        assert_eq!(
            (text.as_str(), kind),
            ("deb [signed-by=/key] http://mirror bookworm-backports main\n", "list")
        );
        assert_eq!(backports(stanzas, "sid"), None);
    }
}
