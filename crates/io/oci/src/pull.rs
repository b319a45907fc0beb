//! Pulling an image: what it is, which contents the store lacks, and only those.

use std::path::Path;

use hornero_store::Store;

use crate::{
    Access, ImportOptions, Pulled, Reference, Result, TransferProgress, delta,
    foreign::layers,
    layout::Layout,
    opened::open,
    registry::Registry,
    source::{self, Source},
};

/// Pulls an image from a registry. Contents that the store has do not move; what arrives is kept even when the pull
/// breaks off, so that the next one goes on from there. Hold a lease of the store from before until a reference
/// leads to the image.
///
/// # Errors
/// [`crate::OciError::Digest`] when any byte is not what it should be: nothing of it is kept. [`crate::OciError::Missing`],
/// [`crate::OciError::Denied`], [`crate::OciError::PlainHttp`], and [`crate::OciError::Http`] when every attempt failed.
pub fn pull(
    store: &Store,
    reference: &Reference,
    access: &Access,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    pull_with(store, reference, access, &ImportOptions::default(), progress)
}

/// As [`pull`], within other limits.
///
/// # Errors
/// As there.
pub fn pull_with(
    store: &Store,
    reference: &Reference,
    access: &Access,
    options: &ImportOptions,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    let registry = Registry::new(reference, access, progress)?;
    pull_from(store, &registry, &reference.to_string(), options, progress)
}

/// Pulls the image of this name, or the only one, from an OCI layout directory, as [`pull`] does from a registry.
pub fn pull_layout(
    store: &Store,
    dir: &Path,
    name: Option<&str>,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    let from = dir.display().to_string();
    pull_from(store, &Layout::new(dir, name), &from, &ImportOptions::default(), progress)
}

pub(crate) fn pull_from(
    store: &Store,
    source: &dyn Source,
    from: &str,
    options: &ImportOptions,
    progress: &dyn TransferProgress,
) -> Result<Pulled> {
    let _lease = store.lease()?;
    let found = source::find(source)?;
    match open(source, &found)? {
        Some(opened) => {
            let moved = delta::pull(store, source, &opened, options, progress)?;
            Ok(Pulled {
                image: opened.image,
                manifest: Some(found.digest),
                bytes_moved: source.moved(),
                contents_moved: moved.contents_moved,
                contents_present: moved.contents_present,
                layers_moved: moved.layers_moved,
                foreign: false,
            })
        }
        None => layers::take_in(store, source, &found, from, options, progress),
    }
}
