//! What is recorded of a layer when it is made, so that a later proof opens no content.

use std::collections::BTreeMap;

use hornero_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{elf::ElfFacts, stanzas::StatusChange};

/// The version of the format; facts of another one are made again.
const VERSION: u32 = 2;
/// The largest facts that are read: a layer of a million programs stays below.
pub const FACTS_BYTES_MAX: usize = 256 << 20;
/// The attachment's kind.
pub const FACTS_KIND: &str = "facts";

/// What a layer's files need and give. Files are named by their number in the layer's list of entries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerFacts {
    version: u32,
    /// Every program and shared library.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elf: Vec<(u32, ElfFacts)>,
    /// Programs and shared libraries whose needs could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<u32>,
    /// Every executable script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<(u32, Script)>,
    /// The users of `/etc/passwd`, where the layer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<User>>,
    /// The groups of `/etc/group`, where the layer has it: name and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<(String, u32)>>,
    /// Files whose text carries the day of the bake, with the digest of the text without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undated: Vec<(u32, Digest)>,
    /// The texts of `/etc/ld.so.conf` and of the files in `/etc/ld.so.conf.d`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub library_paths: Vec<(u32, String)>,
    /// What the layer's dpkg status changes against the one below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusChange>,
}

/// A script and what runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The path after `#!`.
    #[serde(rename = "i")]
    pub interpreter: String,
    /// The program that `env` looks for in `PATH`.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
}

/// The kernel reads this much of a script's first line (BINPRM_BUF_SIZE).
pub const SCRIPT_LINE_LEN: usize = 256;
/// Accounts that are read; no image has more, and no file of them may cost more.
const ACCOUNTS_MAX: usize = 100_000;

impl LayerFacts {
    /// Facts without anything yet.
    pub fn new() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// The bytes of the attachment.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    /// Reads an attachment; None for one that is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > FACTS_BYTES_MAX {
            return None;
        }
        let facts: Self = serde_json::from_slice(bytes).ok()?;
        (facts.version == VERSION).then_some(facts)
    }
}

impl Script {
    /// Reads the first line of an executable; None where it is no script.
    pub fn read(head: &[u8]) -> Option<Self> {
        let line = head.strip_prefix(b"#!")?;
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_whitespace();
        let interpreter = words.next()?.to_owned();
        let is_env = matches!(interpreter.as_str(), "/usr/bin/env" | "/bin/env");
        // Options of `env` and settings of variables stand before the program.
        let program = words
            .filter(|word| !word.starts_with('-') && !word.contains('='))
            .map(str::to_owned)
            .next()
            .filter(|_| is_env);
        Some(Self { interpreter, program })
    }
}

/// The users of a text like `/etc/passwd`; lines that are none are skipped.
pub fn read_users(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    };
    text.lines().filter_map(user).take(ACCOUNTS_MAX).collect()
}

/// The groups of a text like `/etc/group`; lines that are none are skipped.
pub fn read_groups(text: &str) -> Vec<(String, u32)> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), gid.parse().ok()?))
    };
    text.lines().filter_map(group).take(ACCOUNTS_MAX).collect()
}

/// The text of `/etc/shadow` without the days of password changes, which a bake sets to its own day.
pub fn without_days(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        for (number, field) in line.split(':').enumerate() {
            if number > 0 {
                out.push(':');
            }
            if number != 2 {
                out.push_str(field);
            }
        }
        out.push('\n');
    }
    out
}

/// The numbers of entries with something recorded, for looking up.
pub(crate) fn by_entry<T>(list: &[(u32, T)]) -> BTreeMap<u32, usize> {
    list.iter().enumerate().map(|(at, (entry, _))| (*entry, at)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_first_lines() {
        for (line, interpreter, program) in [
            ("#!/bin/sh\n", "/bin/sh", None),
            ("#! /usr/bin/perl -w\nx", "/usr/bin/perl", None),
            ("#!/usr/bin/env python3\n", "/usr/bin/env", Some("python3")),
            ("#!/usr/bin/env -S LANG=C node --x\n", "/usr/bin/env", Some("node")),
        ] {
            let script = Script::read(line.as_bytes()).unwrap();
            assert_eq!(
                (script.interpreter.as_str(), script.program.as_deref()),
                (interpreter, program)
            );
        }
        assert_eq!(Script::read(b"#!\n"), None);
        assert_eq!(Script::read(b"echo"), None);
    }

    #[test]
    fn reads_accounts() {
        let users = read_users("root:x:0:0::/root:/bin/sh\nbroken\nwww-data:x:33:34::/:/x\n");
        assert_eq!(users.len(), 2);
        assert_eq!((users[1].uid, users[1].gid), (33, 34));
        assert_eq!(read_groups("adm:x:4:a,b\n:::\n"), [("adm".to_owned(), 4)]);
        assert_eq!(without_days("a:!:19000:0\n"), without_days("a:!:19001:0\n"));
        assert_ne!(without_days("a:!:19000:0\n"), without_days("a:*:19000:0\n"));
    }

    #[test]
    fn facts_of_another_version_count_for_nothing() {
        let facts = LayerFacts::new();
        assert_eq!(LayerFacts::decode(&facts.encode()), Some(facts));
        assert_eq!(LayerFacts::decode(br#"{"version":1}"#), None);
        assert_eq!(LayerFacts::decode(b"x"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Script::read(&bytes);
            let _ = LayerFacts::decode(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (read_users(&text), read_groups(&text), without_days(&text));
        }
    }
}
