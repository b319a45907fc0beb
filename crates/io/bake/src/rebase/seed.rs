//! Tells the cache of steps of a moved image, so that the next bake from the same lock finds it.

use hornero_model::Digest;
use hornero_store::Store;

use super::RebaseError;
use crate::{
    lock::LockedImage,
    outcome::{self, Outcome},
    record::{BakeRecord, StepKind, StepRecord},
};

/// Remembers the steps of an image that was moved as what a bake from `locked`, on the image's present base, gives.
///
/// Gives false, and remembers nothing, where a bake from this lock would install other packages.
pub fn seed(
    store: &Store,
    image: &Digest,
    locked: Option<&LockedImage>,
) -> Result<bool, RebaseError> {
    let record = BakeRecord::of(store, image)?.ok_or(RebaseError::NoRecord(*image))?;
    let parent = record.parent.ok_or(RebaseError::NoParent(*image))?;
    if !same_packages(record.locked.as_ref(), locked) {
        return Ok(false);
    }
    let below = store.image(&parent)?.layers;
    let epoch = epoch_on(store, &parent, locked)?;
    let mut steps = record.steps.clone();
    key_steps(&mut steps, &below, epoch, locked);
    remember(store, &steps, &record.secrets_in_image)?;
    Ok(true)
}

/// Whether two locks of an image install the same packages, whenever they were resolved.
pub(super) fn same_packages(one: Option<&LockedImage>, other: Option<&LockedImage>) -> bool {
    let packages = |locked: &LockedImage| -> Vec<(String, String, String)> {
        let package = locked.packages.iter();
        package.map(|one| (one.name.clone(), one.version.clone(), one.sha256.clone())).collect()
    };
    one.map(packages) == other.map(packages)
}

/// The newest time that files of an image on `parent` may have.
pub(super) fn epoch_on(
    store: &Store,
    parent: &Digest,
    locked: Option<&LockedImage>,
) -> Result<u64, RebaseError> {
    let parent = BakeRecord::of(store, parent)?.map_or(0, |record| record.epoch);
    Ok(parent.max(locked.map_or(0, LockedImage::date)))
}

/// Gives every step the key that a bake on `below` would look for.
pub(super) fn key_steps(
    steps: &mut [StepRecord],
    below: &[Digest],
    epoch: u64,
    locked: Option<&LockedImage>,
) {
    let mut layers = below.to_vec();
    for step in steps {
        if step.kind == StepKind::Packages
            && let Some(locked) = locked
        {
            step.own = Some(locked.key());
        }
        step.below = outcome::chain(&layers);
        if let Some(own) = &step.own {
            step.key = outcome::step_key(step.kind, &step.below, own, epoch);
        }
        layers.extend_from_slice(&step.layers);
    }
}

/// Puts steps into the cache, up to the first whose own inputs nobody wrote down.
pub(super) fn remember(
    store: &Store,
    steps: &[StepRecord],
    secrets: &[String],
) -> Result<(), RebaseError> {
    for step in steps.iter().take_while(|step| step.own.is_some()) {
        let secrets = match step.kind {
            StepKind::Packages => secrets.to_vec(),
            _ => Vec::new(),
        };
        let gave = Outcome { layers: step.layers.clone(), sources: step.sources.clone(), secrets };
        gave.cache(store, &step.key)?;
    }
    Ok(())
}
