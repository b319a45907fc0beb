//! The archive's `Packages` indexes: the fields that resolving and fetching need, borrowed from the text.

use hornero_model::Digest;
use hornero_rebase::debian::{control, relation::is_package_name};

use crate::limits;

/// Stanzas one index may hold; Debian's largest has 70,000.
const MAX_STANZAS: usize = 2_000_000;

/// One package of one version in an index, or the control data of an unpacked one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stanza<'a> {
    /// `Package`
    pub name: &'a str,
    /// `Version`
    pub version: &'a str,
    /// `Architecture`
    pub architecture: &'a str,
    /// `Source` without its version; the name where there is none.
    pub source: &'a str,
    /// `Depends`
    pub depends: &'a str,
    /// `Pre-Depends`
    pub pre_depends: &'a str,
    /// `Provides`
    pub provides: &'a str,
    /// `Conflicts`
    pub conflicts: &'a str,
    /// `Breaks`
    pub breaks: &'a str,
    /// Whether `Essential: yes`.
    pub essential: bool,
    /// `Priority` as a rank, 0 for `required`; what is not named there comes last.
    pub rank: Rank,
    /// `Filename`, the path below the archive's base address.
    pub path: &'a str,
    /// `Size`
    pub size: u64,
    /// `SHA256` in hex.
    pub sha256: &'a str,
}

/// How essential an archive holds a package to be; lower comes first among providers, as with apt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8);

impl Rank {
    fn of(priority: &str) -> Self {
        Self(match priority {
            "required" => 0,
            "important" => 1,
            "standard" => 2,
            "optional" => 3,
            _ => 4,
        })
    }
}

impl Default for Rank {
    fn default() -> Self {
        Self::of("")
    }
}

impl Stanza<'_> {
    /// The package file's SHA-256; None where the index has none that is valid.
    pub fn digest(&self) -> Option<Digest> {
        Digest::from_hex(self.sha256).ok()
    }
}

/// Why an index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stanza {number} of the index is not valid: {reason}")]
pub struct IndexError {
    /// Its number from 1.
    pub number: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads every stanza for the architecture (and `all`), in file order.
pub fn parse_index<'a>(text: &'a str, architecture: &str) -> Result<Vec<Stanza<'a>>, IndexError> {
    let mut stanzas = Vec::new();
    let mut current = Stanza::default();
    let mut number = 0;
    let mut finish = |current: &mut Stanza<'a>| -> Result<(), IndexError> {
        let stanza = std::mem::take(current);
        if stanza == Stanza::default() {
            return Ok(());
        }
        number += 1;
        let error = |reason: &str| IndexError { number, reason: reason.to_owned() };
        if number > MAX_STANZAS {
            return Err(error("there are too many"));
        }
        if !is_package_name(stanza.name) {
            return Err(error("it has no valid `Package`"));
        }
        if stanza.version.is_empty() {
            return Err(error("it has no `Version`"));
        }
        if stanza.architecture == architecture || stanza.architecture == "all" {
            check_pool(&stanza).map_err(|reason| error(&format!("`{}` {reason}", stanza.name)))?;
            stanzas.push(stanza);
        }
        Ok(())
    };
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.as_bytes().iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        let after = rest.get(end + 1..).unwrap_or_default();
        match line.as_bytes().first() {
            None => finish(&mut current)?,
            // Continuations belong to descriptions and tags; the fields needed here stand on one line.
            Some(b' ' | b'\t') => {}
            Some(_) => read_field(&mut current, line),
        }
        rest = after;
    }
    finish(&mut current)?;
    Ok(stanzas)
}

/// Reads the fields of one control paragraph whose relations may be folded; for packages already unpacked.
pub fn from_control<'a>(paragraph: &control::Paragraph<'a>) -> Stanza<'a> {
    let mut stanza = Stanza::default();
    for (name, value) in paragraph.fields() {
        set_field(&mut stanza, name, value);
    }
    stanza
}

fn read_field<'a>(stanza: &mut Stanza<'a>, line: &'a str) {
    if let Some((name, value)) = line.split_once(':') {
        set_field(stanza, name, value.trim());
    }
}

fn set_field<'a>(stanza: &mut Stanza<'a>, name: &str, value: &'a str) {
    match name {
        "Package" => stanza.name = value,
        "Version" => stanza.version = value,
        "Architecture" => stanza.architecture = value,
        "Source" => stanza.source = value.split([' ', '(']).next().unwrap_or_default(),
        "Depends" => stanza.depends = value,
        "Pre-Depends" => stanza.pre_depends = value,
        "Provides" => stanza.provides = value,
        "Conflicts" => stanza.conflicts = value,
        "Breaks" => stanza.breaks = value,
        "Essential" => stanza.essential = value == "yes",
        "Priority" => stanza.rank = Rank::of(value),
        "Filename" => stanza.path = value,
        "Size" => stanza.size = value.parse().unwrap_or(0),
        "SHA256" => stanza.sha256 = value,
        _ => {}
    }
}

fn check_pool(stanza: &Stanza<'_>) -> Result<(), &'static str> {
    if stanza.digest().is_none() {
        return Err("has no valid `SHA256`");
    }
    if stanza.size == 0 {
        return Err("has no valid `Size`");
    }
    if !is_pool_path(stanza.path) {
        return Err("has no valid `Filename`");
    }
    Ok(())
}

/// Whether a path stays below the archive.
pub fn is_pool_path(path: &str) -> bool {
    let path = path.strip_prefix("./").unwrap_or(path);
    !path.is_empty()
        && path.len() < limits::PATH_BYTES
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stanza(name: &str, extra: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 3\n\
             SHA256: {}\n{extra}\n",
            "0".repeat(64)
        )
    }

    #[test]
    fn reads_the_fields_that_count() {
        let text =
            stanza("a", "Depends: b (>= 1)\nDescription: x\n folded: text\nEssential: yes\n")
                + &stanza("b", "Provides: c\n").replace("amd64", "i386")
                + "\n"
                + &stanza("d", "").replace("amd64", "all");
        let stanzas = parse_index(&text, "amd64").unwrap();
        assert_eq!(stanzas.iter().map(|stanza| stanza.name).collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(stanzas[0].depends, "b (>= 1)");
        assert!(stanzas[0].essential && !stanzas[1].essential);
    }

    #[test]
    fn refuses_stanzas_that_lead_out_of_the_pool() {
        for path in
            ["../../etc/passwd", "/etc/passwd", "pool/../x", "pool/a\u{1}b.deb", "pool//x", ""]
        {
            let text = stanza("a", "").replace("pool/a.deb", path);
            assert!(parse_index(&text, "amd64").is_err(), "{path}");
        }
        assert!(parse_index(&stanza("a", "").replace("Size: 3", "Size: x"), "amd64").is_err());
        assert!(parse_index(&stanza("a b", ""), "amd64").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n]{0,200}") {
            let _ = parse_index(&text, "amd64");
        }
    }
}
