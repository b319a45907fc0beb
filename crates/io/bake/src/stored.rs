//! Images that are in the store already, as what others are made on: found by name, or as the lock pins them.

use hornero_apt::Lock;
use hornero_model::{Digest, ImageName};
use hornero_spec::StoredImage;
use hornero_store::Store;

use crate::{BakeError, record::BakeRecord};

/// What a name leads to in the store; None where it leads nowhere.
pub(crate) fn find(store: &Store, name: &ImageName) -> Result<Option<Digest>, BakeError> {
    store.get_ref(&format!("image/{name}")).map_err(BakeError::store)
}

/// The identity of an image of the store: by the lock where it has a name, or by what that leads to while it is not
/// pinned yet; None where it leads nowhere.
pub(crate) fn digest(
    store: &Store,
    stored: &StoredImage,
    lock: &Lock,
) -> Result<Option<Digest>, BakeError> {
    match stored {
        StoredImage::Digest(digest) => Ok(Some(*digest)),
        StoredImage::Name(name) => match lock.stored.get(name) {
            Some(digest) => Ok(Some(*digest)),
            None => find(store, name),
        },
    }
}

/// The newest time that files of an image may have: as recorded by its bake, else that of its newest file.
pub(crate) fn epoch(store: &Store, image: &Digest) -> Result<u64, BakeError> {
    if let Some(record) = BakeRecord::of(store, image)? {
        return Ok(record.epoch);
    }
    let key = Digest::of(format!("hornero newest file\n{image}").as_bytes());
    let known = store.cache_get(&key).map_err(BakeError::store)?;
    if let Some(bytes) = known.and_then(|bytes| bytes.try_into().ok()) {
        return Ok(u64::from_le_bytes(bytes));
    }
    let tree = store.tree(image).map_err(BakeError::store)?;
    let newest = tree.entries().iter().map(|entry| entry.metadata.mtime).max().unwrap_or(0);
    store.cache_put(&key, &newest.to_le_bytes()).map_err(BakeError::store)?;
    Ok(newest)
}
