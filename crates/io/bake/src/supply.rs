//! Brings locked packages into the store, each unpacked once: fetch, verify, unpack in parallel.

use std::{
    io::Read,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hornero_apt::{
    AptError, LockedImage, LockedPackage,
    access::{Access, Needed},
    sources_list::ArchiveRequest,
};
use hornero_dpkg::deb::{
    PackageFacts,
    unpack::{self, UnpackError},
};
use hornero_model::Digest;
use hornero_store::{Ingest, Layer, Store};
use serde::{Deserialize, Serialize};

use crate::{
    BakeError,
    progress::{BakeEvent, BakeProgress},
};

/// Changes whenever unpacking gives other layers or facts for the same package.
const UNPACK_EPOCH: u32 = 1;

/// A package in the store.
pub(crate) struct Supplied {
    /// Its layer's digest.
    pub digest: Digest,
    /// Its layer.
    pub layer: Layer,
    /// What configuring needs to know of it.
    pub facts: PackageFacts,
}

/// Where packages come from, and how large they may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Supply<'s> {
    /// Where they may be fetched from.
    pub request: &'s ArchiveRequest,
    /// Most bytes that one may unpack to.
    pub max_bytes: u64,
}

/// What the store's cache knows of a package file.
#[derive(Serialize, Deserialize)]
struct Known {
    layer: Digest,
    facts: PackageFacts,
}

/// Every package of an image's lock entry, in its order. New ones are part of `ingest` and seen once it is finished;
/// [`remember`] is for then.
pub(crate) fn supply(
    ingest: &Ingest<'_>,
    access: &Access<'_>,
    image: &LockedImage,
    from: &Supply<'_>,
    progress: &dyn BakeProgress,
) -> Result<Vec<Supplied>, BakeError> {
    let store = ingest.store();
    let mut supplied: Vec<Option<Supplied>> = Vec::with_capacity(image.packages.len());
    for package in &image.packages {
        supplied.push(known(store, package)?);
    }
    let missing: Vec<(usize, &LockedPackage)> =
        image.packages.iter().enumerate().filter(|(index, _)| supplied[*index].is_none()).collect();
    if !missing.is_empty() {
        let needed: Vec<Needed<'_>> = missing
            .iter()
            .map(|(_, package)| Needed { package, image, request: from.request })
            .collect();
        access.fetch(&needed)?;
        progress.event(BakeEvent::UnpackStarted { packages: missing.len() });
        for (at, one) in unpack_all(ingest, access, &needed, from.max_bytes, progress)? {
            supplied[missing[at].0] = Some(one);
        }
    }
    Ok(supplied.into_iter().flatten().collect())
}

/// Lets later bakes find what a finished ingest has unpacked.
pub(crate) fn remember(
    store: &Store,
    image: &LockedImage,
    supplied: &[Supplied],
) -> Result<(), BakeError> {
    for (package, one) in image.packages.iter().zip(supplied) {
        let key = key(package);
        if store.cache_get(&key).map_err(BakeError::store)?.is_none() {
            let known = Known { layer: one.digest, facts: one.facts.clone() };
            let bytes = serde_json::to_vec(&known).expect("plain data is always JSON");
            store.cache_put(&key, &bytes).map_err(BakeError::store)?;
        }
    }
    Ok(())
}

fn key(package: &LockedPackage) -> Digest {
    Digest::of(format!("hornero package epoch {UNPACK_EPOCH}\n{}", package.sha256).as_bytes())
}

/// A package that an earlier bake has unpacked, if all of it is still there.
fn known(store: &Store, package: &LockedPackage) -> Result<Option<Supplied>, BakeError> {
    let Some(bytes) = store.cache_get(&key(package)).map_err(BakeError::store)? else {
        return Ok(None);
    };
    let Ok(known) = serde_json::from_slice::<Known>(&bytes) else { return Ok(None) };
    if !store.is_layer_whole(&known.layer).map_err(BakeError::store)? {
        return Ok(None);
    }
    let layer = store.layer(&known.layer).map_err(BakeError::store)?;
    Ok(Some(Supplied { digest: known.layer, layer, facts: known.facts }))
}

fn unpack_all(
    ingest: &Ingest<'_>,
    access: &Access<'_>,
    needed: &[Needed<'_>],
    max_bytes: u64,
    progress: &dyn BakeProgress,
) -> Result<Vec<(usize, Supplied)>, BakeError> {
    // The largest first: the last one to end then keeps no core waiting for long.
    let mut order: Vec<usize> = (0..needed.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(needed[*at].package.size));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Supplied)>> = Mutex::new(Vec::with_capacity(needed.len()));
    let failure: Mutex<Option<BakeError>> = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(needed.len()) {
            scope.spawn(|| {
                while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let package = needed[*at].package;
                    match unpack_one(ingest, access, &needed[*at], max_bytes) {
                        Ok(one) => {
                            progress.event(BakeEvent::Unpacked { package: package.name.clone() });
                            done.lock().unwrap_or_else(PoisonError::into_inner).push((*at, one));
                        }
                        Err(error) => {
                            next.store(order.len(), Ordering::Relaxed);
                            let mut slot = failure.lock().unwrap_or_else(PoisonError::into_inner);
                            slot.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn unpack_one(
    ingest: &Ingest<'_>,
    access: &Access<'_>,
    needed: &Needed<'_>,
    max_bytes: u64,
) -> Result<Supplied, BakeError> {
    let package = needed.package;
    let digest = package.digest();
    let bytes = match access.cache().verified(&digest)? {
        Some(bytes) => bytes,
        None => {
            // The cached file was damaged and is gone now: one fresh one is tried.
            access.fetch(std::slice::from_ref(needed))?;
            access
                .cache()
                .verified(&digest)?
                .ok_or_else(|| AptError::NoMirror { package: package.title() })?
        }
    };
    let title = package.title();
    let mut put = |reader: &mut dyn Read| {
        let stored = ingest.put(&title, reader)?;
        Ok((stored.digest, stored.size))
    };
    let refused = |reason: String| BakeError::Unpack { package: package.title(), reason };
    let (layer, facts) =
        unpack::unpack(&bytes, max_bytes, &mut put).map_err(|error| match error {
            UnpackError::Package(error) => refused(error.to_string()),
            UnpackError::Store(error) => BakeError::store(error),
        })?;
    if facts.name != package.name {
        return Err(refused(format!("it is package `{}`", facts.name)));
    }
    let digest = ingest.put_layer(&layer).map_err(BakeError::store)?;
    Ok(Supplied { digest, layer, facts })
}
