//! The image's tree as a walk needs it: which entries each directory should hold.

use hornero_store::{Entry, Tree};

/// The children of every directory of a tree, by index into its entries and sorted by name.
pub(crate) struct Outline<'t> {
    tree: &'t Tree,
    children: Vec<Vec<u32>>,
}

impl<'t> Outline<'t> {
    pub fn new(tree: &'t Tree) -> Self {
        let entries = tree.entries();
        let mut children = vec![Vec::new(); entries.len()];
        // The directories that lead to the last entry, the root first.
        let mut open: Vec<u32> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            while open.last().is_some_and(|top| !entry.path.is_below(&entries[*top as usize].path))
            {
                open.pop();
            }
            if let Some(parent) = open.last() {
                // Invariant: a tree has fewer than 2^32 entries (`ENTRY_COUNT_MAX`).
                children[*parent as usize].push(index as u32);
            }
            if entry.kind.is_directory() {
                open.push(index as u32);
            }
        }
        Self { tree, children }
    }

    pub fn entry(&self, index: u32) -> &'t Entry {
        &self.tree.entries()[index as usize]
    }

    /// What the directory at `index` should hold; the root is 0.
    pub fn children(&self, index: u32) -> &[u32] {
        &self.children[index as usize]
    }

    pub fn tree(&self) -> &'t Tree {
        self.tree
    }
}
