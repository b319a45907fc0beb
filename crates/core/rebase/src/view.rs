//! The merged tree of layers, looked up path by path: an image's own layers over a base that many share.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    elf::ElfFacts,
    entry::{self, Entry, Kind},
    layer::Layer,
};

/// Linux gives up after 40 symlinks (path_resolution(7)).
const SYMLINKS_MAX: usize = 40;

/// What the tree has at a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'v> {
    pub layer: &'v Layer,
    pub number: u32,
    /// Whether one of the image's own layers has it.
    pub own: bool,
}

impl<'v> Found<'v> {
    pub fn entry(self) -> &'v Entry {
        self.layer.entry(self.number)
    }

    pub fn elf(self) -> Option<&'v ElfFacts> {
        self.layer.elf(self.number)
    }

    pub fn is_file(self) -> bool {
        matches!(self.entry().kind, Kind::File { .. })
    }
}

/// What is at a path: an entry, or a directory that no layer lists.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'v> {
    Entry(Found<'v>),
    Implied,
}

/// Layers merged once.
#[derive(Debug)]
pub(crate) struct Tree {
    layers: Vec<Arc<Layer>>,
    /// By path with `/` as NUL, so that a subtree is one run: layer and entry; None for a directory no layer lists.
    nodes: BTreeMap<Vec<u8>, Option<(u32, u32)>>,
    /// The same by path, for looking up.
    by_path: BTreeMap<Box<[u8]>, Option<(u32, u32)>>,
}

/// A path as its key: components stay together under byte order.
pub(crate) fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

pub(crate) fn path_of(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

/// The keys strictly below a path.
pub(crate) fn below(path: &[u8]) -> std::ops::Range<Vec<u8>> {
    if path.is_empty() {
        // The root's own key is empty; no other path is.
        return vec![1]..vec![0xff; 8];
    }
    let (mut from, mut to) = (key(path), key(path));
    from.push(0);
    to.push(1);
    from..to
}

impl Tree {
    /// Merges layers from the bottom up.
    pub fn new(layers: Vec<Arc<Layer>>) -> Self {
        let mut nodes: BTreeMap<Vec<u8>, Option<(u32, u32)>> = BTreeMap::new();
        for (at, layer) in (0_u32..).zip(&layers) {
            for (number, entry) in (0_u32..).zip(layer.entries()) {
                let stays = matches!(entry.kind, Kind::Directory { opaque: false });
                if !stays {
                    let hidden: Vec<Vec<u8>> =
                        nodes.range(below(&entry.path)).map(|(key, _)| key.clone()).collect();
                    hidden.iter().for_each(|key| {
                        nodes.remove(key);
                    });
                }
                if entry.kind == Kind::Whiteout {
                    nodes.remove(&key(&entry.path));
                } else {
                    nodes.insert(key(&entry.path), Some((at, number)));
                }
            }
            for path in layer.implied() {
                nodes.entry(key(path)).or_insert(None);
            }
        }
        nodes.entry(Vec::new()).or_insert(None);
        let by_path =
            nodes.iter().map(|(key, node)| (path_of(key).into_boxed_slice(), *node)).collect();
        Self { layers, nodes, by_path }
    }

    pub fn get(&self, path: &[u8]) -> Option<At<'_>> {
        self.by_path.get(path).map(|node| self.at(*node))
    }

    fn at(&self, node: Option<(u32, u32)>) -> At<'_> {
        match node {
            Some((layer, number)) => {
                At::Entry(Found { layer: &self.layers[layer as usize], number, own: false })
            }
            None => At::Implied,
        }
    }

    /// Everything in path order; keys are paths with `/` as NUL.
    pub fn nodes(&self) -> impl Iterator<Item = (&[u8], At<'_>)> {
        self.nodes.iter().map(|(key, node)| (key.as_slice(), self.at(*node)))
    }
}

/// An image's own layers over a base.
pub(crate) struct View<'v> {
    base: &'v Tree,
    own: &'v [Arc<Layer>],
    dirs: RefCell<BTreeMap<Box<[u8]>, Dir>>,
}

/// How much of a directory's contents shows: own layers from `floor` on, and the base unless hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dir {
    Absent,
    Open { floor: usize, base: bool },
}

impl<'v> View<'v> {
    pub fn new(base: &'v Tree, own: &'v [Arc<Layer>]) -> Self {
        Self { base, own, dirs: RefCell::default() }
    }

    /// What is at exactly this path; symlinks are not followed.
    pub fn get(&self, path: &[u8]) -> Option<At<'v>> {
        let Dir::Open { floor, base } = self.dir(entry::parent(path)) else { return None };
        self.probe(path, floor, base)
    }

    fn probe(&self, path: &[u8], floor: usize, base: bool) -> Option<At<'v>> {
        let mut implied = false;
        for layer in self.own[floor..].iter().rev() {
            if let Some(number) = layer.number(path) {
                return match layer.entry(number).kind {
                    Kind::Whiteout => implied.then_some(At::Implied),
                    Kind::Directory { .. } => Some(At::Entry(Found { layer, number, own: true })),
                    _ if implied => Some(At::Implied),
                    _ => Some(At::Entry(Found { layer, number, own: true })),
                };
            }
            implied |= layer.implies(path);
        }
        let lower = if base { self.base.get(path) } else { None };
        match lower {
            // A directory that an upper layer has files in stands in the place of anything else.
            Some(At::Entry(found)) if implied && !found.entry().is_directory() => Some(At::Implied),
            None => implied.then_some(At::Implied),
            found => found,
        }
    }

    /// What shows of the directory at a path; None means the root's parent, which always shows.
    fn dir(&self, path: Option<&[u8]>) -> Dir {
        let Some(path) = path else { return Dir::Open { floor: 0, base: true } };
        if let Some(known) = self.dirs.borrow().get(path) {
            return *known;
        }
        let dir = match self.dir(entry::parent(path)) {
            Dir::Absent => Dir::Absent,
            Dir::Open { floor, base } => self.open(path, floor, base),
        };
        self.dirs.borrow_mut().insert(path.into(), dir);
        dir
    }

    fn open(&self, path: &[u8], floor: usize, base: bool) -> Dir {
        let mut seen = false;
        for (at, layer) in self.own.iter().enumerate().skip(floor).rev() {
            let Some(found) = layer.get(path) else {
                seen |= layer.implies(path);
                continue;
            };
            match &found.kind {
                Kind::Directory { opaque: false } => seen = true,
                Kind::Directory { opaque: true } => return Dir::Open { floor: at, base: false },
                _ if seen => return Dir::Open { floor: at + 1, base: false },
                _ => return Dir::Absent,
            }
        }
        match if base { self.base.get(path) } else { None } {
            Some(At::Implied) => Dir::Open { floor, base },
            Some(At::Entry(found)) if found.entry().is_directory() => Dir::Open { floor, base },
            _ if seen || path.is_empty() => Dir::Open { floor, base: false },
            _ => Dir::Absent,
        }
    }

    /// Where opening `path` leads, symlinks followed inside the root: the path it ends at, and what is there.
    pub fn resolve(&self, path: &[u8]) -> Option<(Vec<u8>, At<'v>)> {
        let mut at: Vec<u8> = Vec::new();
        let split = |path: &[u8]| -> Vec<Box<[u8]>> {
            path.split(|byte| *byte == b'/')
                .filter(|name| !matches!(*name, b"" | b"."))
                .map(Into::into)
                .collect()
        };
        let mut rest: VecDeque<Box<[u8]>> = split(path).into();
        let mut followed = 0;
        let mut last = At::Implied;
        while let Some(name) = rest.pop_front() {
            if &*name == b".." {
                at = entry::parent(&at).unwrap_or_default().to_vec();
                last = self.get(&at)?;
                continue;
            }
            let next = entry::join(&at, &name);
            last = self.get(&next)?;
            if let At::Entry(found) = last
                && let Kind::Symlink { target } = &found.entry().kind
            {
                followed += 1;
                if followed > SYMLINKS_MAX {
                    return None;
                }
                if target.starts_with(b"/") {
                    at.clear();
                }
                for part in split(target).into_iter().rev() {
                    rest.push_front(part);
                }
                if rest.is_empty() {
                    last = self.get(&at).unwrap_or(At::Implied);
                }
                continue;
            }
            at = next;
        }
        Some((at, last))
    }

    /// The file that opening `path` leads to, with the path it ends at.
    pub fn file(&self, path: &[u8]) -> Option<(Vec<u8>, Found<'v>)> {
        match self.resolve(path)? {
            (path, At::Entry(found)) if found.is_file() => Some((path, found)),
            _ => None,
        }
    }

    /// The files directly in a directory, by name; symlinks to files count under their own name.
    pub fn files_in(&self, dir: &[u8]) -> BTreeMap<Vec<u8>, Found<'v>> {
        let mut paths: Vec<Vec<u8>> = Vec::new();
        let direct = |path: &[u8]| entry::parent(path) == Some(dir);
        for layer in self.own {
            paths.extend(
                layer.entries().iter().filter(|one| direct(&one.path)).map(|one| one.path.to_vec()),
            );
        }
        let lower = self.base.nodes.range(below(dir));
        paths.extend(lower.map(|(key, _)| path_of(key)).filter(|path| direct(path)));
        paths
            .into_iter()
            .filter_map(|path| Some((entry::name(&path).to_vec(), self.file(&path)?.1)))
            .collect()
    }

    pub fn own(&self) -> &'v [Arc<Layer>] {
        self.own
    }

    pub fn base(&self) -> &'v Tree {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;

    use super::*;
    use crate::facts::LayerFacts;

    fn layer(entries: &[(&str, char)]) -> Arc<Layer> {
        let mut entries: Vec<Entry> = entries
            .iter()
            .map(|(path, kind)| {
                let kind = match kind {
                    'd' => Kind::Directory { opaque: false },
                    'o' => Kind::Directory { opaque: true },
                    'w' => Kind::Whiteout,
                    'l' => Kind::Symlink { target: b"b".as_slice().into() },
                    _ => Kind::File { digest: Digest::of(path.as_bytes()) },
                };
                Entry { kind, ..Entry::implied(path.as_bytes()) }
            })
            .collect();
        entries.sort_by_key(|entry| key(&entry.path));
        Arc::new(Layer::new(Digest::of(b""), entries, LayerFacts::new()))
    }

    fn paths(base: &[Arc<Layer>], own: &[Arc<Layer>], candidates: &[&str]) -> Vec<String> {
        let tree = Tree::new(base.to_vec());
        let view = View::new(&tree, own);
        let seen = candidates.iter().filter(|path| view.get(path.as_bytes()).is_some());
        seen.map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_view_shows_what_a_merged_tree_has() {
        let base =
            layer(&[("a", 'd'), ("a/x", 'f'), ("a/y", 'f'), ("b", 'd'), ("b/x", 'f'), ("c", 'f')]);
        let all = ["a", "a/x", "a/y", "a/z", "b", "b/x", "b/y", "c", "c/x"];
        for own in [
            vec![],
            vec![layer(&[("a/x", 'w')])],
            vec![layer(&[("a", 'o'), ("a/z", 'f')])],
            vec![layer(&[("a", 'w')]), layer(&[("a/z", 'f')])],
            vec![layer(&[("b", 'f')])],
            vec![layer(&[("b", 'f')]), layer(&[("b", 'd'), ("b/y", 'f')])],
            vec![layer(&[("c", 'd'), ("c/x", 'f')])],
        ] {
            let merged = [vec![base.clone()], own.clone()].concat();
            let there = paths(&merged, &[], &all);
            assert_eq!(paths(std::slice::from_ref(&base), &own, &all), there);
        }
    }

    #[test]
    fn symlinks_are_followed_inside_the_root() {
        let base = layer(&[("b", 'd'), ("b/x", 'f'), ("a", 'l'), ("b/b", 'l')]);
        let tree = Tree::new(vec![base]);
        let view = View::new(&tree, &[]);
        assert_eq!(view.file(b"/a/x").unwrap().0, b"b/x");
        assert_eq!(view.file(b"a/../../a/x").unwrap().0, b"b/x");
        assert!(view.resolve(b"b/b/x").is_none(), "a symlink to itself leads nowhere");
        assert!(view.file(b"a").is_none());
    }
}
