//! What the metadata of trees has to be, as this process derived it from checked layers, and whether it is that.
//!
//! A metadata image decides which bytes each path of an instance has, and nothing that an image's digest covers names
//! it: whoever can write into the store could redirect a path to another object, and write an index that fits. So
//! neither is believed. The first use of a tree derives both from its layers, which are checked against the image, and
//! compares; later ones compare with what is remembered here, in memory only.

use std::{io, path::Path};

use hornero_model::Digest;
use rustix::fs::CWD;

use crate::{
    Result, Store, StoreError, Stored,
    derivations::Derived,
    files::{is_not_plain, is_unreadable, open_plain, read_limited},
    manifest,
    metadata::{Made, MetadataIndex},
    objects::hash_reader,
    records::{FileState, now_ns},
    staging::Staging,
};

/// What lies where a file with known bytes belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Same,
    Other,
    Nothing,
}

impl Store {
    /// The index of the tree of `layers`, once its metadata image is as the layers say: what is missing or has other
    /// bytes is written anew. `rebuilt` counts trees of which something else was there.
    pub(crate) fn verify_metadata(
        &self,
        layers: &[Digest],
        rebuilt: &mut usize,
    ) -> Result<MetadataIndex> {
        let key = manifest::tree_key(layers);
        if let Some(derived) = self.derived().get(&key) {
            let index = self.read_index(&key)?.filter(|index| index.sum == derived.index);
            if let Some(index) = index
                && self.is_image(&key, derived)?
            {
                return Ok(index);
            }
        }
        let Made { image, index, encoded } = self.make_metadata(layers)?;
        let (image_path, index_path) = (self.metadata_path(&key), self.index_path(&key));
        let before = settled_state(&image_path)?;
        let found = [has_bytes(&image_path, &image)?, has_bytes(&index_path, &encoded)?];
        // Not synced: what power loss tears is noticed here.
        for (found, path, bytes) in
            [(found[0], &image_path, &image), (found[1], &index_path, &encoded)]
        {
            if found != Found::Same {
                put_unsynced(self.staging(), path, bytes)?;
            }
        }
        let seen = match found[0] {
            Found::Same => before.filter(|_| state(&image_path).is_ok_and(|now| now == before)),
            Found::Other | Found::Nothing => None,
        };
        let metadata = Stored { digest: index.metadata, size: index.metadata_size };
        self.derived().put(key, Derived { metadata, index: index.sum, seen });
        *rebuilt += usize::from(found.contains(&Found::Other));
        Ok(index)
    }

    /// Whether the metadata image of a tree has the bytes that were derived; hashed when it may have changed.
    fn is_image(&self, key: &Digest, derived: Derived) -> Result<bool> {
        let path = self.metadata_path(key);
        if derived.seen.is_some() && state(&path)? == derived.seen {
            return Ok(true);
        }
        let before = settled_state(&path)?;
        let hashed = open_plain(&path).and_then(|file| hash_reader(file, None));
        let (digest, size) = match hashed {
            Ok(hashed) => hashed,
            Err(error) if is_lost(&error) => return Ok(false),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let same = Stored { digest, size } == derived.metadata;
        if same && before.is_some() && state(&path)? == before {
            self.derived().put(*key, Derived { seen: before, ..derived });
        }
        Ok(same)
    }
}

fn state(path: &Path) -> Result<Option<FileState>> {
    FileState::at(CWD, path).map_err(|errno| StoreError::io("stat", path, errno))
}

/// The state of a file in which any later change is sure to show.
fn settled_state(path: &Path) -> Result<Option<FileState>> {
    let now_ns = now_ns();
    Ok(state(path)?.filter(|state| state.plain && state.is_settled(now_ns)))
}

fn has_bytes(path: &Path, bytes: &[u8]) -> Result<Found> {
    match read_limited(path, bytes.len() as u64) {
        Ok(Some(found)) if found == bytes => Ok(Found::Same),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if is_lost(&error) => Ok(Found::Other),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_not_plain(error) || is_unreadable(error)
}

fn put_unsynced(staging: &Staging, path: &Path, bytes: &[u8]) -> Result<()> {
    staging.publish_over(&staging.write(bytes)?, path)
}
