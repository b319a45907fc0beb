//! What the metadata of trees has to be, as this process derived it: remembered in memory alone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hornero_model::Digest;

use crate::{Stored, records::FileState};

/// A home has dozens of images in use; beyond this all are forgotten and derived again, which costs a moment each.
const TREES_MAX: usize = 4096;

/// The metadata of the trees that were derived, by the keys of the trees.
#[derive(Debug, Default)]
pub(crate) struct DerivedTrees(Mutex<HashMap<Digest, Derived>>);

/// What the metadata of a tree is: a function of its layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Derived {
    /// The metadata image.
    pub metadata: Stored,
    /// What the index ends in.
    pub index: Digest,
    /// The metadata image's file when it was last seen to have these bytes.
    pub seen: Option<FileState>,
}

impl DerivedTrees {
    /// The map is whole between any two statements, so a panic elsewhere does not spoil it.
    fn locked(&self) -> MutexGuard<'_, HashMap<Digest, Derived>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &Digest) -> Option<Derived> {
        self.locked().get(key).copied()
    }

    pub(crate) fn put(&self, key: Digest, derived: Derived) {
        let mut known = self.locked();
        if known.len() >= TREES_MAX {
            known.clear();
        }
        known.insert(key, derived);
    }
}
