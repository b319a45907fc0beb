//! Which attachments that came with an image a store keeps, and as what: strangers may say anything.

use std::collections::BTreeSet;

use hornero_model::Digest;
use hornero_provenance::{BESIDE_MAX, is_claimed, places};
use hornero_store::{Store, StoreError};

use crate::{Result, pack::PROVENANCE};

/// Hex digits of a key's id in the kind of an attachment.
const KEY_DIGITS: usize = 16;
/// Statements that one image brings: its builder's and those of a few that vouch for it.
const STATEMENTS_MAX: usize = 32;

/// Attachments on their way into a store.
pub(crate) struct Carried<'a> {
    store: &'a Store,
    image: Digest,
    all: Vec<(Digest, String, Vec<u8>)>,
    /// Kinds of the image's statements among them.
    statements: BTreeSet<String>,
}

impl<'a> Carried<'a> {
    /// Of an image, which need not be in the store yet.
    pub(crate) fn new(store: &'a Store, image: Digest) -> Self {
        Self { store, image, all: Vec::new(), statements: BTreeSet::new() }
    }

    /// Takes one up, if it may become one of this store's.
    pub(crate) fn add(&mut self, subject: Digest, kind: &str, bytes: Vec<u8>) -> Result<()> {
        let statement = kind.strip_prefix(PROVENANCE).filter(|_| subject == self.image);
        let kind = match statement {
            Some(rest) => self.place(rest, &bytes)?,
            // What this store knows from itself stays.
            None => self.known(&subject, kind)?.is_none().then(|| kind.to_owned()),
        };
        if let Some(kind) = kind {
            if statement.is_some() {
                self.statements.insert(kind.clone());
            }
            self.all.push((subject, kind, bytes));
        }
        Ok(())
    }

    /// Attaches them all.
    pub(crate) fn attach(self) -> Result<()> {
        let all: Vec<(Digest, &str, &[u8])> = self
            .all
            .iter()
            .map(|(subject, kind, bytes)| (*subject, kind.as_str(), bytes.as_slice()))
            .collect();
        Ok(self.store.attach_all(&all)?)
    }

    /// Where a statement goes; nowhere if it is none of this image by the key it is kept as, or is there already. The
    /// first of a key is never replaced by one that may be worse, nor does it keep one out that may be better.
    fn place(&self, rest: &str, bytes: &[u8]) -> Result<Option<String>> {
        let Some(key) = rest.get(..KEY_DIGITS) else { return Ok(None) };
        let first = format!("{PROVENANCE}{key}");
        if self.statements.len() >= STATEMENTS_MAX || !is_claimed(&first, &self.image, bytes) {
            return Ok(None);
        }
        let mut free = None;
        for kind in places(first.clone()) {
            let taken = self.all.iter().find(|(_, one, _)| *one == kind);
            let there = match taken {
                Some((_, _, bytes)) => Some(bytes.clone()),
                None => self.known(&self.image, &kind)?,
            };
            match there {
                Some(there) if there == bytes => return Ok(None),
                Some(there) if is_claimed(&first, &self.image, &there) => {}
                Some(_) | None => drop(free.get_or_insert(kind)),
            }
        }
        // Nothing is full for good: who forged most does not keep out who comes last.
        let last = 1 + Digest::of(bytes).as_bytes()[0] % BESIDE_MAX;
        Ok(Some(free.unwrap_or_else(|| format!("{first}.{last}"))))
    }

    /// What the store has; what is damaged is as good as nothing.
    fn known(&self, subject: &Digest, kind: &str) -> Result<Option<Vec<u8>>> {
        match self.store.attachment(subject, kind) {
            Err(StoreError::DamagedAttachment { .. }) => Ok(None),
            known => Ok(known?),
        }
    }
}
