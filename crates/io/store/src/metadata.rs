//! Metadata images and their indexes: what they hold, and making them from layers.
//!
//! The index beside an image says its digest and which contents the tree uses, so that a start need not
//! read and merge layers again. It ends in the SHA-256 of all before. Neither is believed for what it says of itself:
//! see [`crate::derived`].

use std::{collections::HashSet, fs, io, path::PathBuf};

use hornero_model::Digest;

use crate::{
    LAYER_BYTES_MAX, Result, Store, StoreError, Stored, Tree,
    erofs::{Content, write_image},
    files::{is_not_plain, is_unreadable, read_limited},
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
    /// What the encoded index ends in.
    pub(crate) sum: Digest,
}

/// What layers say that the metadata of their tree is.
#[derive(Debug)]
pub(crate) struct Made {
    /// The bytes of the metadata image.
    pub(crate) image: Vec<u8>,
    pub(crate) index: MetadataIndex,
    /// The bytes of the index.
    pub(crate) encoded: Vec<u8>,
}

/// A metadata image or an index.
#[derive(Debug)]
pub(crate) struct MetadataFile {
    /// The key of the tree it is of.
    pub(crate) tree: Digest,
    pub(crate) path: PathBuf,
}

impl Store {
    /// Makes metadata image and index in memory.
    pub(crate) fn make_metadata(&self, layers: &[Digest]) -> Result<Made> {
        let tree = self.tree_of_layers(layers)?;
        let image = metadata_image(&tree)?;
        let metadata = Stored { digest: Digest::of(&image), size: image.len() as u64 };
        let contents = distinct_contents(&tree);
        let (index, encoded) = MetadataIndex::new(&manifest::tree_key(layers), metadata, contents);
        Ok(Made { image, index, encoded })
    }

    /// The index beside a metadata image, as it says itself; none when it is missing or damaged.
    pub(crate) fn read_index(&self, key: &Digest) -> Result<Option<MetadataIndex>> {
        let path = self.index_path(key);
        match read_limited(&path, LAYER_BYTES_MAX) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| MetadataIndex::decode(key, &bytes))),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || is_not_plain(&error)
                    || is_unreadable(&error) =>
            {
                Ok(None)
            }
            Err(error) => Err(StoreError::io("read", path, error)),
        }
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

    pub(crate) fn index_path(&self, key: &Digest) -> PathBuf {
        self.dir().join(METADATA).join(format!("{}.index", key.hex()))
    }
}

/// The bytes of a tree's metadata image.
pub(crate) fn metadata_image(tree: &Tree) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    write_image(tree, &Content::Redirected, &mut image)?;
    Ok(image)
}

/// Every distinct content of a tree, sorted by digest.
pub(crate) fn distinct_contents(tree: &Tree) -> Vec<Stored> {
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
    /// The index and its bytes.
    fn new(key: &Digest, metadata: Stored, contents: Vec<Stored>) -> (Self, Vec<u8>) {
        let mut out = Vec::with_capacity(HEADER_LEN + contents.len() * ITEM_LEN + 32);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(key.as_bytes());
        for stored in std::iter::once(&metadata).chain(&contents) {
            out.extend_from_slice(stored.digest.as_bytes());
            out.extend_from_slice(&stored.size.to_le_bytes());
        }
        let sum = Digest::of(&out);
        out.extend_from_slice(sum.as_bytes());
        let Stored { digest: metadata, size: metadata_size } = metadata;
        (Self { metadata, metadata_size, contents, sum }, out)
    }

    fn decode(key: &Digest, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        let sum = digest(sum);
        if Digest::of(body) != sum {
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
            sum,
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
