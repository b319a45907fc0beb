//! Copying an image between two stores: only contents that are missing.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use hornero_store::Store;

use crate::{
    OciError, Pulled, Result, TransferEvent, TransferProgress,
    carried::Carried,
    pack::{travels, travels_with_layer},
    parallel,
};

/// Copies an image from another store of this machine; contents that are there do not move.
///
/// # Errors
/// [`OciError::Digest`] when the other store is damaged: nothing of what is damaged is kept.
pub fn pull_from_store(
    store: &Store,
    other: &Store,
    image: &Digest,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    let (_lease, _other) = (store.lease()?, other.lease()?);
    let manifest = other.image(image)?;
    let mut layers = Vec::new();
    let mut contents: HashMap<Digest, u64> = HashMap::new();
    let mut present = HashSet::new();
    for digest in manifest.layers.iter().filter(|digest| !store.has_layer(digest)) {
        let layer = other.layer(digest)?;
        for (content, size) in layer.contents() {
            match store.has_object(&content)? {
                true => drop(present.insert(content)),
                false => drop(contents.insert(content, size)),
            }
        }
        layers.push((*digest, layer));
    }
    let mut contents: Vec<(Digest, u64)> = contents.into_iter().collect();
    contents.sort_unstable();
    let bytes = contents.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    progress.event(TransferEvent::TransferStarted { bytes });
    let moved = AtomicU64::new(0);
    // Some thousand files at a time: one sync each, and what is copied stays.
    for batch in contents.chunks(4096) {
        let ingest = store.ingest()?;
        parallel::each(parallel::processors(), batch, |_, (digest, size)| {
            let stored = ingest.put(&digest.to_string(), other.open_object(digest)?)?;
            if stored.digest != *digest {
                let what = format!("object of the store `{}`", other.dir().display());
                return Err(OciError::Digest { what, expected: *digest });
            }
            moved.fetch_add(*size, Ordering::Relaxed);
            progress.event(TransferEvent::Transferred { bytes: *size });
            Ok(())
        })?;
        ingest.finish()?;
    }
    let ingest = store.ingest()?;
    layers.iter().try_for_each(|(_, layer)| ingest.put_layer(layer).map(drop))?;
    ingest.finish()?;
    carry(store, other, image, &manifest.layers)?;
    store.put_image(&manifest)?;
    Ok(Pulled {
        image: *image,
        manifest: None,
        bytes_moved: moved.into_inner(),
        contents_moved: contents.len() as u64,
        contents_present: present.len() as u64,
        layers_moved: layers.len(),
        foreign: false,
    })
}

/// Takes along what is known of the image and of its layers.
fn carry(store: &Store, other: &Store, image: &Digest, layers: &[Digest]) -> Result<()> {
    let mut carried = Carried::new(store, *image);
    for subject in layers.iter().chain([image]) {
        for kind in other.attachments(subject)? {
            let wanted = match subject == image {
                true => travels(&kind),
                false => travels_with_layer(&kind),
            };
            if let (true, Some(bytes)) = (wanted, other.attachment(subject, &kind)?) {
                carried.add(*subject, &kind, bytes)?;
            }
        }
    }
    carried.attach()
}
