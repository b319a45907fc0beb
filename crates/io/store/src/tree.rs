//! The merged tree of an image's layers: what an instance sees, as one sorted list.

use std::collections::VecDeque;

use hornero_model::Digest;

use crate::{Entry, EntryKind, Layer, Metadata, Result, StoreError, TreePath, layer};

/// Linux gives up after 40 symlinks (path_resolution(7)).
const SYMLINK_FOLLOW_MAX: usize = 40;

/// A complete tree: sorted, every parent present, no whiteouts, no opaque marks, a root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Applies layers from the bottom up, as overlayfs would.
    pub fn merge(layers: impl IntoIterator<Item = Layer>) -> Self {
        layers.into_iter().fold(Self { entries: complete(Vec::new()) }, Self::with)
    }

    /// The tree with one more layer on top.
    pub fn with(self, upper: Layer) -> Self {
        let upper = upper.into_entries();
        let closed = is_closed(&upper);
        let merged = apply(self.entries, upper);
        Self { entries: if closed { merged } else { complete(merged) } }
    }

    /// All entries, sorted by path, the root first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at exactly this path; symlinks are not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.index(path).map(|index| &self.entries[index])
    }

    /// The entry that opening `path` would reach, symlinks followed inside the root.
    ///
    /// `path` may be absolute or relative to the root; `..` stops at the root.
    pub fn lookup(&self, path: &str) -> Result<&Entry> {
        self.resolve(path.as_bytes(), true)
    }

    /// As [`Tree::lookup`] for any bytes; `follow` says whether a symlink as last component is followed.
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<&Entry> {
        let refuse = |reason| StoreError::NoPath { path: crate::path_rules::display(path), reason };
        let mut at = TreePath::root();
        let mut rest: VecDeque<Box<[u8]>> = split(path).collect();
        let mut followed = 0;
        while let Some(name) = rest.pop_front() {
            if *name == *b".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let next = at.join(&name).map_err(|_| refuse("a component or the path is too long"))?;
            let entry = self.get(&next).ok_or_else(|| refuse("there is no such file"))?;
            match &entry.kind {
                EntryKind::Symlink { target } if follow || !rest.is_empty() => {
                    followed += 1;
                    if followed > SYMLINK_FOLLOW_MAX {
                        return Err(refuse("it goes through more than 40 symlinks"));
                    }
                    if target.starts_with(b"/") {
                        at = TreePath::root();
                    }
                    for part in split(target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                kind if !rest.is_empty() && !kind.is_directory() => {
                    return Err(refuse("a component is no directory"));
                }
                _ => at = next,
            }
        }
        self.get(&at).ok_or_else(|| refuse("there is no such file"))
    }

    /// The entries directly inside the directory at `path`, sorted by name.
    pub fn children<'a>(&'a self, path: &'a TreePath) -> impl Iterator<Item = &'a Entry> {
        let depth = path.components().count() + 1;
        self.below(path).iter().filter(move |entry| entry.path.components().count() == depth)
    }

    /// The entries strictly below `path`, as one run.
    pub fn below(&self, path: &TreePath) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.path <= *path);
        let len = self.entries[start..].partition_point(|entry| entry.path.is_below(path));
        &self.entries[start..start + len]
    }

    /// Every file's content, in path order; equal contents repeat.
    pub fn contents(&self) -> impl Iterator<Item = (Digest, u64)> {
        layer::contents(&self.entries)
    }

    /// The tree as one layer, which gives the same tree when merged alone.
    pub fn into_layer(self) -> Layer {
        Layer::from_sorted(self.entries).expect("a merged tree keeps the rules of a layer")
    }

    fn index(&self, path: &TreePath) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok()
    }
}

fn split(path: &[u8]) -> impl Iterator<Item = Box<[u8]>> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(Into::into)
}

/// One pass over both sorted lists; whatever hides a lower subtree skips its contiguous run.
fn apply(lower: Vec<Entry>, upper: Vec<Entry>) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(lower.len() + upper.len());
    let mut lower = lower.into_iter();
    // The top of the lower subtree that is hidden at present.
    let mut hidden: Option<TreePath> = None;
    for entry in upper {
        let before = lower.as_slice().partition_point(|below| below.path < entry.path);
        take_visible(&mut merged, &mut lower, before, hidden.as_ref());
        if lower.as_slice().first().is_some_and(|below| below.path == entry.path) {
            lower.next();
        }
        let replaces = match &entry.kind {
            EntryKind::Directory { opaque } => *opaque,
            _ => true,
        };
        // An outer hidden subtree stays the one to skip: it contains this path.
        if replaces && !hidden.as_ref().is_some_and(|top| entry.path.is_below(top)) {
            hidden = Some(entry.path.clone());
        }
        match entry.kind {
            EntryKind::Whiteout => {}
            EntryKind::Directory { .. } => {
                merged.push(Entry { kind: EntryKind::Directory { opaque: false }, ..entry });
            }
            _ => merged.push(entry),
        }
    }
    let rest = lower.len();
    take_visible(&mut merged, &mut lower, rest, hidden.as_ref());
    merged
}

/// Moves the next `count` lower entries, but for those of the hidden subtree. What is left of that subtree comes
/// first: a subtree is one run of a sorted list, and whatever comes before it was taken already.
fn take_visible(
    merged: &mut Vec<Entry>,
    lower: &mut std::vec::IntoIter<Entry>,
    count: usize,
    hidden: Option<&TreePath>,
) {
    let skipped = hidden.map_or(0, |top| {
        lower.as_slice()[..count].partition_point(|below| below.path.is_below(top))
    });
    lower.by_ref().take(skipped).for_each(drop);
    merged.extend(lower.by_ref().take(count - skipped));
}

/// Whether every entry's directory is listed too; then a complete tree stays complete under it.
fn is_closed(entries: &[Entry]) -> bool {
    // The directories that lead to the last entry.
    let mut open: Vec<&TreePath> = Vec::new();
    entries.iter().all(|entry| {
        while open.last().is_some_and(|top| !entry.path.is_below(top)) {
            open.pop();
        }
        let listed = entry.path.parent().is_none_or(|parent| {
            parent.is_root() || open.last().is_some_and(|top| **top == parent)
        });
        if entry.kind.is_directory() {
            open.push(&entry.path);
        }
        listed
    })
}

/// Adds directories that no layer listed, and drops what a lower layer has below a non-directory.
fn complete(entries: Vec<Entry>) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::with_capacity(entries.len() + 1);
    // The directories that lead to the last entry, the root first.
    let mut open: Vec<TreePath> = Vec::new();
    for entry in entries {
        while open.last().is_some_and(|top| !entry.path.is_below(top)) {
            open.pop();
        }
        let mut missing = Vec::new();
        let mut parent = entry.path.parent();
        while let Some(path) = parent.filter(|path| open.last() != Some(path)) {
            // A layer that lists a file but not its directory replaces what is no directory below it.
            if out.last().is_some_and(|last| last.path == path) {
                out.pop();
            }
            parent = path.parent();
            missing.push(path);
        }
        for path in missing.into_iter().rev() {
            open.push(path.clone());
            out.push(implied_directory(path));
        }
        if entry.kind.is_directory() {
            open.push(entry.path.clone());
        }
        out.push(entry);
    }
    if out.is_empty() {
        out.push(implied_directory(TreePath::root()));
    }
    out
}

fn implied_directory(path: TreePath) -> Entry {
    Entry {
        path,
        kind: EntryKind::Directory { opaque: false },
        metadata: Metadata::root_owned(0o755, 0),
    }
}
