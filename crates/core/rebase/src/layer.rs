//! One layer as a proof needs it: its entries by path, and what was recorded of them.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::Digest;

use crate::{
    elf::ElfFacts,
    entry::{self, Entry, Kind},
    facts::{self, LayerFacts, Script},
};

/// A layer with its facts.
#[derive(Debug)]
pub struct Layer {
    /// Its identity.
    pub digest: Digest,
    entries: Vec<Entry>,
    facts: LayerFacts,
    by_path: BTreeMap<Box<[u8]>, u32>,
    /// Directories above entries that the layer itself does not list.
    implied: BTreeSet<Box<[u8]>>,
    elf: BTreeMap<u32, usize>,
    undated: BTreeMap<u32, usize>,
}

impl Layer {
    /// A layer from its entries, sorted as the store has them: facts name entries by their number.
    pub fn new(digest: Digest, entries: Vec<Entry>, facts: LayerFacts) -> Self {
        let by_path: BTreeMap<Box<[u8]>, u32> =
            (0_u32..).zip(&entries).map(|(at, entry)| (entry.path.clone(), at)).collect();
        let mut implied = BTreeSet::new();
        for entry in &entries {
            let mut path = entry::parent(&entry.path);
            while let Some(dir) = path {
                if by_path.contains_key(dir) || !implied.insert(dir.into()) {
                    break;
                }
                path = entry::parent(dir);
            }
        }
        let elf = facts::by_entry(&facts.elf);
        let undated = facts::by_entry(&facts.undated);
        Self { digest, entries, facts, by_path, implied, elf, undated }
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What was recorded of it.
    pub fn facts(&self) -> &LayerFacts {
        &self.facts
    }

    pub(crate) fn implied(&self) -> impl Iterator<Item = &[u8]> {
        self.implied.iter().map(|path| &**path)
    }

    pub(crate) fn implies(&self, path: &[u8]) -> bool {
        self.implied.contains(path)
    }

    pub(crate) fn number(&self, path: &[u8]) -> Option<u32> {
        self.by_path.get(path).copied()
    }

    pub(crate) fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    /// The entry at exactly this path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.number(path).map(|number| self.entry(number))
    }

    pub(crate) fn elf(&self, number: u32) -> Option<&ElfFacts> {
        self.elf.get(&number).map(|at| &self.facts.elf[*at].1)
    }

    /// Every program and library with its number.
    pub(crate) fn elves(&self) -> impl Iterator<Item = (u32, &ElfFacts)> {
        // Facts come from outside: a number beyond the entries names nothing.
        let known = self.entries.len() as u32;
        self.facts.elf.iter().filter(move |(at, _)| *at < known).map(|(at, elf)| (*at, elf))
    }

    /// The numbers of programs and libraries whose needs could not be read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = u32> {
        let known = self.entries.len() as u32;
        self.facts.unread.iter().copied().filter(move |at| *at < known)
    }

    /// The script of an entry, if it is one.
    pub(crate) fn script(&self, number: u32) -> Option<&Script> {
        self.scripts().find(|(at, _)| *at == number).map(|(_, script)| script)
    }

    /// Every script with its number.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = (u32, &Script)> {
        let known = self.entries.len() as u32;
        self.facts.scripts.iter().filter(move |(at, _)| *at < known).map(|(at, one)| (*at, one))
    }

    /// The digest of a file's text without the day of its bake.
    pub(crate) fn undated(&self, number: u32) -> Option<Digest> {
        self.undated.get(&number).map(|at| self.facts.undated[*at].1)
    }

    /// The text of a file of library paths.
    pub(crate) fn library_paths(&self, number: u32) -> Option<&str> {
        let list = &self.facts.library_paths;
        list.iter().find(|(at, _)| *at == number).map(|(_, text)| text.as_str())
    }

    /// The content that dpkg's status has in this layer.
    pub fn status_content(&self) -> Option<Digest> {
        match self.get(crate::stanzas::STATUS_PATH.as_bytes())?.kind {
            Kind::File { digest } => Some(digest),
            _ => None,
        }
    }
}
