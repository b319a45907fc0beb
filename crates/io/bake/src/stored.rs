//! Images that are in the store already, as what others are made on: found by name, pinned by the lock.

use std::collections::BTreeSet;

use hornero_apt::Lock;
use hornero_model::{Digest, ImageName};
use hornero_spec::{Base, ImageDefinition, Spec, StoredImage};
use hornero_store::Store;

use crate::{BakeError, locking::LockMode, record::BakeRecord};

/// What a name leads to in the store; None where it leads nowhere.
pub(crate) fn find(store: &Store, name: &ImageName) -> Result<Option<Digest>, BakeError> {
    store.get_ref(&format!("image/{name}")).map_err(BakeError::store)
}

/// Pins every name that an image is made on, as `mode` allows; names that no image of the file uses are dropped.
pub(crate) fn pin(
    spec: &Spec,
    images: &[&ImageDefinition],
    lock: &mut Lock,
    mode: LockMode,
    find: &dyn Fn(&ImageName) -> Result<Option<Digest>, BakeError>,
) -> Result<(), BakeError> {
    let used: BTreeSet<&ImageName> = spec.images.values().filter_map(name_of).collect();
    lock.stored.retain(|name, _| used.contains(name));
    for (image, name) in images.iter().filter_map(|image| Some((image, name_of(image)?))) {
        match (lock.stored.contains_key(name), mode) {
            (true, LockMode::Keep | LockMode::Frozen) => {}
            (false, LockMode::Frozen) => {
                let reason = format!("`{name}` of the store, which it is made on, is not there");
                return Err(BakeError::LockOutdated { image: image.name.clone(), reason });
            }
            (_, LockMode::Update) | (false, LockMode::Keep) => {
                let found = find(name)?.ok_or_else(|| BakeError::NoStoredImage {
                    image: image.name.clone(),
                    from: name.to_string(),
                })?;
                lock.stored.insert(name.clone(), found);
            }
        }
    }
    Ok(())
}

fn name_of(image: &ImageDefinition) -> Option<&ImageName> {
    match &image.base {
        Base::Stored(StoredImage::Name(name)) => Some(name),
        Base::Stored(StoredImage::Digest(_)) | Base::Debian { .. } | Base::Image(_) => None,
    }
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
