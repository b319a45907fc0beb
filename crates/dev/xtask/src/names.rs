//! Names of types: two crates that use one for two things say so in a list, or one of them takes a name of its own.
//!
//! What counts is what the rest of a crate, or other crates, can name. `names.txt` has the names that stand in more crates
//! than one, with the crates. Those of its part `within` are seen by other crates from one crate at most, which is held
//! here; the others have a reason each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use proc_macro2::Delimiter;

use crate::{
    modules, run,
    tokens::{self, Token},
};

/// Names that stand in more crates than one.
const LISTED: &str = include_str!("names.txt");
/// What defines a type or a trait.
const KINDS: &[&str] = &["struct", "enum", "trait", "type", "union"];
/// What lies above a crate's name and tells nobody anything.
const ABOVE: &str = "crates/";

/// Who sees a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Its own crate only.
    Within,
    /// Other crates.
    Outside,
}

/// For each name, the crates that define it, and who sees it there.
type Names = BTreeMap<String, BTreeMap<String, Seen>>;

/// No name stands in two crates, but for those listed.
pub fn check() -> Result<()> {
    let mut names = Names::new();
    for directory in modules::crates()? {
        let name = directory.strip_prefix(ABOVE).unwrap_or(&directory);
        // Nobody imports a program.
        let offers = Path::new(&directory).join("src/lib.rs").is_file();
        let files = run::read(Command::new("git").args(["ls-files", "-z", "--", &directory]))?;
        for path in files.split('\0').filter(|path| is_program(path, &directory)) {
            // Deleted and not yet committed: nothing to check.
            let Ok(text) = fs::read_to_string(path) else { continue };
            let types = types(&text).with_context(|| format!("`{path}`"))?;
            for (defined, seen) in types {
                let seen = if offers { seen } else { Seen::Within };
                let by_crate = names.entry(defined).or_default();
                let widest = by_crate.entry(name.to_owned()).or_insert(seen);
                *widest = seen.max(*widest);
            }
        }
    }
    let faults = faults(&names, &listed(LISTED)?);
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn is_program(path: &str, directory: &str) -> bool {
    let below = path.strip_prefix(directory).unwrap_or_default();
    below.starts_with("/src/") && below.ends_with(".rs") && !below.ends_with("/tests.rs")
}

/// The types that a file defines for others, and for whom.
fn types(text: &str) -> Result<Vec<(String, Seen)>> {
    let tokens = tokens::read(text)?;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if *token != Token::Word("pub".to_owned()) {
            continue;
        }
        let mut rest = &tokens[at + 1..];
        let mut seen = Seen::Outside;
        if rest.first() == Some(&Token::Open(Delimiter::Parenthesis)) {
            let close = Token::Close(Delimiter::Parenthesis);
            let Some(end) = rest.iter().position(|token| *token == close) else { continue };
            (rest, seen) = (&rest[end + 1..], Seen::Within);
        }
        if let [Token::Word(kind), Token::Word(name), ..] = rest
            && KINDS.contains(&kind.as_str())
        {
            found.push((name.clone(), seen));
        }
    }
    Ok(found)
}

/// A name in the list.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'t> {
    crates: BTreeSet<&'t str>,
    /// Why it is offered to others twice; none where it is not.
    reason: Option<&'t str>,
}

/// Reads the list: `Name: crate crate` below `[within]`, `Name: crate crate = reason` below `[offered]`.
fn listed(text: &str) -> Result<BTreeMap<&str, Entry<'_>>> {
    let mut entries = BTreeMap::new();
    let mut offered = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            offered = line == "[offered]";
            continue;
        }
        let parts = line.split_once(": ").and_then(|(name, rest)| {
            let (crates, reason) = match (rest.split_once(" = "), offered) {
                (Some((crates, reason)), true) => (crates, Some(reason)),
                (None, false) => (rest, None),
                (Some(_), false) | (None, true) => return None,
            };
            Some((name, Entry { crates: crates.split(' ').collect(), reason }))
        });
        let (name, entry) = parts.ok_or_else(|| anyhow!("names.txt: `{line}` can't be read"))?;
        if entries.insert(name, entry).is_some() {
            bail!("names.txt: `{name}` stands there twice");
        }
    }
    Ok(entries)
}

fn faults(names: &Names, listed: &BTreeMap<&str, Entry<'_>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, crates) in names.iter().filter(|(_, crates)| crates.len() > 1) {
        let found: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
        let where_found = found.iter().copied().collect::<Vec<_>>().join(", ");
        let offered = crates.values().filter(|seen| **seen == Seen::Outside).count();
        match listed.get(name.as_str()) {
            Some(entry) if entry.crates != found => faults.push(format!(
                "`{name}` stands in {where_found}, which is not what crates/dev/xtask/src/names.txt says"
            )),
            Some(entry) if entry.reason.is_none() && offered > 1 => faults.push(format!(
                "`{name}`: {offered} of {where_found} offer it to others; names.txt says within"
            )),
            Some(_) => {}
            None => faults.push(format!(
                "`{name}` is the name of a type in {where_found}; name one for what it is there, or list it in \
                 crates/dev/xtask/src/names.txt"
            )),
        }
    }
    let once = listed.keys().filter(|name| names.get(**name).is_none_or(|crates| crates.len() < 2));
    faults.extend(
        once.map(|name| format!("`{name}` no longer stands twice; take it out of names.txt")),
    );
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_with_who_sees_them() {
        let text = "pub struct A<T>(T);\npub(crate) enum B {}\npub(super) type C = A<u8>;\nstruct D;\n\
                    pub trait E { type F; }\npub fn struct_g() {}\nmacro_rules! m { () => { pub struct $name; } }\n\
                    #[cfg(test)]\nmod tests { pub struct H; }\n";
        let found = types(text).unwrap();
        let found: Vec<(&str, Seen)> = found.iter().map(|(name, seen)| (&**name, *seen)).collect();
        let (within, outside) = (Seen::Within, Seen::Outside);
        assert_eq!(found, [("A", outside), ("B", within), ("C", within), ("E", outside)]);
    }

    fn check(rows: &[(&str, &[(&str, Seen)])], list: &str) -> String {
        let row = |(name, crates): &(&str, &[(&str, Seen)])| {
            let crates = crates.iter().map(|(name, seen)| ((*name).to_owned(), *seen));
            ((*name).to_owned(), crates.collect())
        };
        faults(&rows.iter().map(row).collect(), &listed(list).unwrap()).join("\n")
    }

    #[test]
    fn a_name_stands_once_or_is_listed() {
        let (within, outside) = (Seen::Within, Seen::Outside);
        let names: &[(&str, &[(&str, Seen)])] = &[
            ("Once", &[("io/a", outside)]),
            ("Twice", &[("io/a", within), ("io/b", outside)]),
            ("Offered", &[("io/a", outside), ("io/b", outside)]),
        ];
        let list = "# Words.\n[within]\nTwice: io/a io/b\n\n[offered]\nOffered: io/a io/b = why\n";
        assert_eq!(check(names, list), "");
        let lists = [
            "[within]\nTwice: io/a io/b\n",
            "[within]\nTwice: io/a io/b\nOffered: io/a io/b\n",
            "[within]\nTwice: io/a\n[offered]\nOffered: io/a io/b = why\n",
            "[within]\nTwice: io/a io/b\nOnce: io/a io/c\n[offered]\nOffered: io/a io/b = why\n",
        ];
        let found = lists.map(|list| check(names, list));
        expect_test::expect![[r#"
            `Offered` is the name of a type in io/a, io/b; name one for what it is there, or list it in crates/dev/xtask/src/names.txt
            `Offered`: 2 of io/a, io/b offer it to others; names.txt says within
            `Twice` stands in io/a, io/b, which is not what crates/dev/xtask/src/names.txt says
            `Once` no longer stands twice; take it out of names.txt"#]]
        .assert_eq(&found.join("\n"));
    }

    #[test]
    fn what_is_offered_twice_has_a_reason() {
        for wrong in
            ["[offered]\nA: io/a io/b\n", "[within]\nA: io/a io/b = why\n", "[within]\nA\n"]
        {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
        assert!(listed("[within]\nA: io/a io/b\nA: io/a io/c\n").is_err());
    }
}
