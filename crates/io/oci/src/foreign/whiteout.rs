//! Names that mean something in a tar of a layer (layer.md of the OCI image specification): `.wh.NAME` removes what
//! lower layers have, `.wh..wh..opq` hides all that they have in a directory.

use std::collections::{BTreeMap, BTreeSet};

use hornero_store::{Entry, EntryKind, Layer, Metadata, StoreError, Tree, TreePath};

use crate::{OciError, Result};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Notes of AUFS, from which the names come; they mean nothing.
const NOTES: &[u8] = b".wh..wh.";

/// The layer that entries of a tar stand for, over the tree below.
///
/// Names that hide say something of the layers below alone: what the same layer brings stays, whichever comes first.
pub(super) fn apply(what: &str, raw: Vec<Entry>, below: &Tree) -> Result<Layer> {
    let mut said = Said::read(what, raw)?;
    said.settle();
    let Said { mut entries, removed, mut opaque } = said;
    for path in removed {
        let next = entries.range(&path..).next();
        match next.map(|(found, entry)| (found.clone(), entry.kind.is_directory())) {
            // Removed and made anew: a directory hides what was there.
            Some((found, true)) if found == path => opaque.push(path),
            Some((found, _)) if found.is_below(&path) => opaque.push(path),
            _ => {
                let kind = EntryKind::Whiteout;
                let entry = Entry { path: path.clone(), kind, metadata: Metadata::default() };
                entries.insert(path, entry);
            }
        }
    }
    for path in opaque {
        let entry = entries.entry(path.clone()).or_insert_with(|| {
            let metadata = below.get(&path).filter(|entry| entry.kind.is_directory());
            let metadata = metadata.map(|entry| entry.metadata.clone());
            let kind = EntryKind::Directory { opaque: true };
            let metadata = metadata.unwrap_or_else(|| Metadata::root_owned(0o755, 0));
            Entry { path: path.clone(), kind, metadata }
        });
        entry.kind = EntryKind::Directory { opaque: true };
    }
    Layer::from_sorted(entries.into_values().collect())
        .map_err(|source| StoreError::Layer { name: what.to_owned(), source }.into())
}

/// What a tar says.
#[derive(Default)]
struct Said {
    entries: BTreeMap<TreePath, Entry>,
    /// Paths that are removed.
    removed: Vec<TreePath>,
    /// Directories of which nothing from below shows.
    opaque: Vec<TreePath>,
}

impl Said {
    fn read(what: &str, raw: Vec<Entry>) -> Result<Self> {
        let mut said = Self::default();
        for entry in raw {
            let parent = entry.path.parent().unwrap_or_default();
            match entry.path.name() {
                OPAQUE => said.opaque.push(parent),
                name if name.starts_with(NOTES) => {}
                name if name.starts_with(PREFIX) => {
                    let path = parent.join(&name[PREFIX.len()..]);
                    let path = path.map_err(|error| OciError::refused(what, error))?;
                    if path == parent || name.len() == PREFIX.len() {
                        let reason = format!("whiteout `{}` names nothing", entry.path);
                        return Err(OciError::refused(what, reason));
                    }
                    said.removed.push(path);
                }
                _ if entry.path.components().any(|name| name.starts_with(PREFIX)) => {
                    let reason = format!("entry `{}` lies in a whiteout", entry.path);
                    return Err(OciError::refused(what, reason));
                }
                _ => drop(said.entries.insert(entry.path.clone(), entry)),
            }
        }
        Ok(said)
    }

    /// Leaves out what says nothing beside the rest.
    fn settle(&mut self) {
        let Self { entries, removed, opaque } = self;
        // Something else than a directory has nothing in it that could be hidden, and nothing below its path stays.
        let is_replaced = |path: &TreePath| {
            let mut up = std::iter::successors(Some(path.clone()), TreePath::parent);
            up.any(|at| entries.get(&at).is_some_and(|entry| !entry.kind.is_directory()))
        };
        opaque.retain(|path| !is_replaced(path));
        removed.retain(|path| !is_replaced(path));
        // Removed, and then a directory that hides what was there: the second says both.
        let hiding: BTreeSet<TreePath> = opaque.iter().cloned().collect();
        removed.retain(|path| !hiding.contains(path));
        // What is removed has nothing left that could be removed from it.
        let gone: BTreeSet<TreePath> = removed.iter().cloned().collect();
        removed.retain(|path| {
            let mut above = std::iter::successors(path.parent(), TreePath::parent);
            !above.any(|above| gone.contains(&above))
        });
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str) -> Entry {
        let kind = match path.strip_suffix('/') {
            Some(_) => EntryKind::Directory { opaque: false },
            None => EntryKind::File { digest: Digest::of(b""), size: 0 },
        };
        let path = TreePath::new(path.trim_end_matches('/')).unwrap();
        Entry { path, kind, metadata: Metadata::default() }
    }

    fn tree(paths: &[&str]) -> Tree {
        Tree::merge([Layer::from_entries(paths.iter().map(|path| entry(path)).collect()).unwrap()])
    }

    /// What a root has after a layer's tar was unpacked over it.
    fn check(below: &[&str], layer: &[&str], expected: Option<&[&str]>) {
        let below = tree(below);
        let forth: Vec<Entry> = layer.iter().map(|path| entry(path)).collect();
        let back = forth.iter().rev().cloned().collect();
        let made = |raw| apply("layer", raw, &below).ok();
        assert_eq!(made(forth.clone()), made(back), "{layer:?}");
        let found = made(forth).map(|layer| {
            let merged = below.clone().with(layer);
            let paths = merged.entries().iter().filter(|entry| !entry.kind.is_directory());
            paths.map(|entry| entry.path.to_string()).collect::<Vec<_>>()
        });
        let expected = expected.map(|paths| paths.iter().map(|path| path.to_string()).collect());
        assert_eq!(found, expected, "{layer:?}");
    }

    #[test]
    fn names_that_hide_are_what_they_mean() {
        let below = ["a/", "a/x", "a/y", "b"];
        check(&below, &["a/.wh.x"], Some(&["/a/y", "/b"]));
        check(&below, &[".wh.a"], Some(&["/b"]));
        check(&below, &["a/.wh..wh..opq", "a/z"], Some(&["/a/z", "/b"]));
        check(&below, &["a/", "a/.wh..wh..opq"], Some(&["/b"]));
        check(&below, &[".wh.a", "a/", "a/z"], Some(&["/a/z", "/b"]));
        check(&below, &[".wh.a", "a/z"], Some(&["/a/z", "/b"]));
        check(&below, &[".wh.b", "b"], Some(&["/a/x", "/a/y", "/b"]));
        check(&below, &[".wh.none"], Some(&["/a/x", "/a/y", "/b"]));
        check(&below, &[".wh..wh.plnk"], Some(&["/a/x", "/a/y", "/b"]));
        check(&below, &[".wh."], None);
        // Over and under what the same layer brings.
        check(&below, &["a/.wh.x", "a/x"], Some(&["/a/x", "/a/y", "/b"]));
        check(&below, &["a/.wh..wh..opq", "a/x"], Some(&["/a/x", "/b"]));
        check(&below, &[".wh.a", "a"], Some(&["/a", "/b"]));
        check(&below, &["a/.wh..wh..opq", "a"], Some(&["/a", "/b"]));
        check(&below, &["a/.wh.x", "a"], Some(&["/a", "/b"]));
        check(&below, &["a/z/.wh..wh..opq", "a"], Some(&["/a", "/b"]));
        check(&below, &["b/.wh..wh..opq"], Some(&["/a/x", "/a/y"]));
        check(&below, &[".wh.b", "b/.wh..wh..opq"], Some(&["/a/x", "/a/y"]));
        check(&below, &[".wh.a", "a/.wh..wh..opq"], Some(&["/b"]));
        check(&below, &[".wh.a", "a/.wh..wh..opq", "a/z"], Some(&["/a/z", "/b"]));
        check(&below, &[".wh.a", "a/.wh.x"], Some(&["/b"]));
        check(&below, &[".wh..wh..opq", "b"], Some(&["/b"]));
        check(&below, &[".wh.a/", ".wh.a/x"], None);
    }

    proptest! {
        #[test]
        fn no_names_panic(
            paths in proptest::collection::btree_set(
                "(\\.wh\\.)?(\\.wh\\.\\.opq|[ab]|\\.wh\\.)(/(\\.wh\\.)?[ab])?", 0..8,
            ),
        ) {
            let made = |path: &String| {
                Some(Entry { path: TreePath::new(path.as_str()).ok()?, ..entry("a") })
            };
            let entries = paths.iter().filter_map(made).collect();
            let _ = apply("layer", entries, &tree(&["a/", "a/a", "b"]));
        }
    }
}
