//! Metadata images and their indexes: derived from layers, made on demand, made again when damaged.
//!
//! The index beside an image says its digest and which contents the tree uses, so that a start need not
//! read and merge layers. It ends in the SHA-256 of all before.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::PathBuf,
};

use hornero_model::Digest;

use crate::{
    LAYER_BYTES_MAX, Result, Store, StoreError, Stored, Tree,
    erofs::{Content, write_image},
    files::{open_plain, read_limited},
    format::METADATA,
    manifest,
};

const MAGIC: &[u8; 16] = b"hornero-index 1\n";
const HEADER_LEN: usize = 16 + 32 + 32 + 8;
const ITEM_LEN: usize = 40;

/// What the metadata image of a tree is, and which contents the tree uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataIndex {
    /// SHA-256 of the metadata image.
    pub(crate) metadata: Digest,
    pub(crate) metadata_size: u64,
    /// Every distinct content, sorted by digest.
    pub(crate) contents: Vec<Stored>,
}

/// A metadata image or an index.
#[derive(Debug)]
pub(crate) struct MetadataFile {
    /// The key of the tree it is of.
    pub(crate) tree: Digest,
    pub(crate) path: PathBuf,
}

impl Store {
    /// The index of the tree of `layers`; makes it and the metadata image when either is missing or damaged.
    pub(crate) fn metadata_index(&self, layers: &[Digest]) -> Result<MetadataIndex> {
        let key = manifest::tree_key(layers);
        match self.read_index(&key)? {
            Some(index) if self.metadata_path(&key).exists() => Ok(index),
            _ => self.make_metadata(layers),
        }
    }

    /// Writes the metadata image and its index from the layers, whatever is there.
    pub(crate) fn make_metadata(&self, layers: &[Digest]) -> Result<MetadataIndex> {
        let key = manifest::tree_key(layers);
        let tree = self.tree_of_layers(layers)?;
        let mut image = Vec::new();
        write_image(&tree, &Content::Redirected, &mut image)?;
        let index = MetadataIndex {
            metadata: Digest::of(&image),
            metadata_size: image.len() as u64,
            contents: distinct_contents(&tree),
        };
        // Not synced: it is checked before use and made again when power loss tore it.
        self.staging().replace(&self.metadata_path(&key), &image, false)?;
        self.staging().replace(&self.index_path(&key), &index.encode(&key), false)?;
        Ok(index)
    }

    fn read_index(&self, key: &Digest) -> Result<Option<MetadataIndex>> {
        let path = self.index_path(key);
        match read_limited(&path, LAYER_BYTES_MAX) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| MetadataIndex::decode(key, &bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", path, error)),
        }
    }

    /// The digest that the metadata image of a tree had when it was made, by its index; unchecked.
    pub(crate) fn recorded_metadata(&self, tree: &Digest) -> Option<Digest> {
        let mut header = [0; HEADER_LEN];
        open_plain(&self.index_path(tree)).ok()?.read_exact(&mut header).ok()?;
        Some(digest(&header[48..80]))
    }

    /// Every metadata image and index, sorted by path.
    pub(crate) fn metadata_files(&self) -> Result<Vec<MetadataFile>> {
        let dir = self.dir().join(METADATA);
        let entries = fs::read_dir(&dir).map_err(|error| StoreError::io("list", &dir, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", &dir, error))?;
            let name = entry.file_name();
            let stem = name.to_str().and_then(|name| {
                name.strip_suffix(".erofs").or_else(|| name.strip_suffix(".index"))
            });
            let tree = stem.and_then(|stem| Digest::from_hex(stem).ok());
            found.extend(tree.map(|tree| MetadataFile { tree, path: entry.path() }));
        }
        found.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        Ok(found)
    }

    fn index_path(&self, key: &Digest) -> PathBuf {
        self.dir().join(METADATA).join(format!("{}.index", key.hex()))
    }

    /// Removes the metadata image and index of a tree; they come back when needed.
    pub fn forget_metadata(&self, layers: &[Digest]) -> Result<()> {
        let key = manifest::tree_key(layers);
        for path in [self.index_path(&key), self.metadata_path(&key)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn distinct_contents(tree: &Tree) -> Vec<Stored> {
    let mut seen = HashSet::new();
    // Overlayfs never opens the data of an empty file, but other readers of the store do.
    let mut contents: Vec<Stored> = tree
        .contents()
        .filter(|(digest, _)| seen.insert(*digest))
        .map(|(digest, size)| Stored { digest, size })
        .collect();
    contents.sort_unstable_by_key(|stored| stored.digest);
    contents
}

impl MetadataIndex {
    fn encode(&self, key: &Digest) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.contents.len() * ITEM_LEN + 32);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(self.metadata.as_bytes());
        out.extend_from_slice(&self.metadata_size.to_le_bytes());
        for stored in &self.contents {
            out.extend_from_slice(stored.digest.as_bytes());
            out.extend_from_slice(&stored.size.to_le_bytes());
        }
        let sum = Digest::of(&out);
        out.extend_from_slice(sum.as_bytes());
        out
    }

    fn decode(key: &Digest, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Digest::of(body).as_bytes() != sum {
            return None;
        }
        let (header, items) = body.split_at_checked(HEADER_LEN)?;
        if &header[..16] != MAGIC
            || &header[16..48] != key.as_bytes()
            || items.len() % ITEM_LEN != 0
        {
            return None;
        }
        let contents = items
            .chunks_exact(ITEM_LEN)
            .map(|item| Stored { digest: digest(&item[..32]), size: number(&item[32..]) })
            .collect();
        Some(Self {
            metadata: digest(&header[48..80]),
            metadata_size: number(&header[80..]),
            contents,
        })
    }
}

/// Both take slices of exactly the right length.
fn digest(bytes: &[u8]) -> Digest {
    let mut raw = [0; 32];
    raw.copy_from_slice(bytes);
    Digest::from_bytes(raw)
}

fn number(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}
