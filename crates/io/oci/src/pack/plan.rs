//! What the tar of one blob consists of, cut into members before any content is read.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use hornero_model::Digest;
use hornero_store::{Entry, EntryKind, Layer, Metadata, TreePath};

use crate::tarball;

/// Small files share a member up to this size: beyond it, fixes of small packages move much that did not change; below
/// it, all blobs become larger (decision 0015).
pub(crate) const BUNDLE_BYTES: u64 = 3 << 10;
/// Large files are cut, so that many threads compress them and a reader holds little of them.
pub(crate) const CHUNK_BYTES: u64 = 4 << 20;

/// A piece of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Headers and padding.
    Bytes(Vec<u8>),
    /// Bytes of a content.
    Content {
        digest: Digest,
        start: u64,
        length: u64,
        /// Size of the whole content.
        size: u64,
    },
}

/// What is compressed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Member {
    pub(super) pieces: Vec<Piece>,
    pub(super) length: u64,
}

/// The tar of a blob.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) members: Vec<Member>,
    /// What each layer has of it, in order.
    pub(super) sections: Vec<Section>,
    open: Member,
    length: u64,
}

/// One layer's part of a tar: whole members, with every content of the layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Section {
    pub(super) members: Range<usize>,
    /// Where it begins in the tar.
    pub(super) start: u64,
    /// Where each content begins in the tar.
    pub(super) contents: HashMap<Digest, u64>,
}

/// The entries that layers of one blob show together, with every directory that leads to them: those that the
/// first layer brings, those that the second adds, and so on.
///
/// Readers that unpack each layer into a directory of its own take the mode of a directory from the topmost layer
/// that has it, even when it only leads to a file: so each is listed as the tree below has it.
pub(super) fn merge(layers: &[(Digest, Layer)], directories: &Directories) -> Vec<Vec<Entry>> {
    // Each entry with the first layer that it is in, or that has something below it.
    let mut entries: BTreeMap<TreePath, (usize, Entry)> = BTreeMap::new();
    let mut leading: BTreeMap<TreePath, usize> = BTreeMap::new();
    for (number, (_, layer)) in layers.iter().enumerate() {
        for entry in layer.entries() {
            let mut entry = entry.clone();
            let before = entries.get(&entry.path).map(|(_, before)| &before.kind);
            if let (EntryKind::Directory { opaque }, Some(EntryKind::Directory { opaque: true })) =
                (&mut entry.kind, before)
            {
                *opaque = true;
            }
            let mut parent = entry.path.parent();
            while let Some(path) = parent.filter(|path| !leading.contains_key(path)) {
                parent = path.parent();
                leading.insert(path, number);
            }
            let first = entries.get(&entry.path).map_or(number, |(first, _)| *first);
            entries.insert(entry.path.clone(), (first, entry));
        }
    }
    for (path, number) in leading {
        let (first, _) = entries.entry(path.clone()).or_insert_with(|| {
            let metadata = directories.metadata(&path);
            (number, Entry { path, kind: EntryKind::Directory { opaque: false }, metadata })
        });
        *first = number.min(*first);
    }
    let mut sections = vec![Vec::new(); layers.len()];
    for (number, entry) in entries.into_values() {
        sections[number].push(entry);
    }
    sections
}

/// The directories of a tree that grows by layers, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Directories(BTreeMap<TreePath, Metadata>);

impl Directories {
    pub(super) fn add(&mut self, layer: &Layer) {
        for entry in layer.entries() {
            if !matches!(entry.kind, EntryKind::Directory { opaque: false }) {
                let below: Vec<TreePath> = self
                    .0
                    .range(&entry.path..)
                    .map(|(path, _)| path.clone())
                    .take_while(|path| *path == entry.path || path.is_below(&entry.path))
                    .collect();
                below.iter().for_each(|path| drop(self.0.remove(path)));
            }
            if entry.kind.is_directory() {
                self.0.insert(entry.path.clone(), entry.metadata.clone());
            }
        }
    }

    fn metadata(&self, path: &TreePath) -> Metadata {
        self.0.get(path).cloned().unwrap_or_else(|| Metadata::root_owned(0o755, 0))
    }
}

/// Plans the tar of these entries, a list for each layer; the path of the first that a tar of layers cannot carry,
/// if there is one.
///
/// Equal files are written each for itself: a link would make one file of them, which changes under both names.
pub(super) fn plan(layers: &[Vec<Entry>]) -> Result<Plan, TreePath> {
    let mut plan = Plan::default();
    for entries in layers {
        let (first, start) = (plan.members.len(), plan.length);
        let mut contents = HashMap::new();
        for entry in entries {
            if tarball::looks_like_whiteout(entry) {
                return Err(entry.path.clone());
            }
            let EntryKind::File { digest, size } = entry.kind else {
                plan.header(tarball::headers(entry));
                if entry.kind == (EntryKind::Directory { opaque: true }) {
                    plan.header(tarball::opaque_marker(entry));
                }
                continue;
            };
            let at = plan.file(tarball::headers(entry), digest, size);
            if size > 0 {
                contents.entry(digest).or_insert(at);
            }
        }
        plan.close();
        plan.sections.push(Section { members: first..plan.members.len(), start, contents });
    }
    plan.header(vec![0; tarball::END]);
    plan.close();
    Ok(plan)
}

/// A tar that adds nothing to a root of this metadata, and differs by what `text` says.
pub(super) fn empty(root: &Metadata, text: &str) -> Plan {
    let mut plan = Plan::default();
    plan.header(tarball::commented_root(root, text));
    plan.header(vec![0; tarball::END]);
    plan.close();
    plan
}

impl Plan {
    /// Bytes of the whole tar.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The whole tar, of one without contents.
    pub(super) fn headers(&self) -> Vec<u8> {
        let pieces = self.members.iter().flat_map(|member| &member.pieces);
        let bytes = pieces.filter_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.as_slice()),
            Piece::Content { .. } => None,
        });
        bytes.flatten().copied().collect()
    }

    fn header(&mut self, bytes: Vec<u8>) {
        if self.open.length + bytes.len() as u64 > BUNDLE_BYTES {
            self.close();
        }
        self.bytes(bytes);
    }

    /// Adds a file; where its content begins.
    fn file(&mut self, headers: Vec<u8>, digest: Digest, size: u64) -> u64 {
        let padding = tarball::padding(size);
        let length = headers.len() as u64 + size + padding;
        let at;
        if length <= BUNDLE_BYTES {
            if self.open.length + length > BUNDLE_BYTES {
                self.close();
            }
            self.bytes(headers);
            at = self.length;
            self.content(digest, 0, size, size);
        } else {
            // Whoever wants the content need not take its header.
            self.header(headers);
            self.close();
            at = self.length;
            let mut start = 0;
            while start < size {
                let length = CHUNK_BYTES.min(size - start);
                self.content(digest, start, length, size);
                start += length;
                if start < size {
                    self.close();
                }
            }
        }
        self.bytes(vec![0; padding as usize]);
        if length > BUNDLE_BYTES {
            self.close();
        }
        at
    }

    fn content(&mut self, digest: Digest, start: u64, length: u64, size: u64) {
        if length > 0 {
            self.length += length;
            self.open.length += length;
            self.open.pieces.push(Piece::Content { digest, start, length, size });
        }
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        self.length += bytes.len() as u64;
        self.open.length += bytes.len() as u64;
        match self.open.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend(bytes),
            _ => self.open.pieces.push(Piece::Bytes(bytes)),
        }
    }

    fn close(&mut self) {
        if self.open.length > 0 {
            self.members.push(std::mem::take(&mut self.open));
        }
    }
}
