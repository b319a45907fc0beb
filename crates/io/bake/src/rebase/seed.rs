//! Tells the cache of steps of a moved image, so that the next bake on its new base finds it.

use hornero_apt::LockedImage;
use hornero_model::Digest;
use hornero_store::Store;

use crate::{
    RebaseError,
    outcome::{self, StepOutcome},
    record::{BakeRecord, StepKind, StepRecord},
};

/// What the cache says of an image's steps, up to the first of which it says nothing else than the image has.
///
/// A record came with its image, perhaps from elsewhere. Only this home's own cache vouches for what a step gives: an
/// image that was neither baked here nor moved here from one that was has no step in it with the very same layers.
pub(super) fn vouched(
    store: &Store,
    record: &BakeRecord,
    below: &[Digest],
    own: &[Digest],
) -> Result<Vec<StepOutcome>, RebaseError> {
    let mut layers = below.to_vec();
    let mut rest = own;
    let mut known = Vec::with_capacity(record.steps.len());
    for step in &record.steps {
        let Some(inputs) = inputs(step, record.locked.as_ref()) else { break };
        let Some((gave, above)) = rest.split_at_checked(step.layers.len()) else { break };
        let below = outcome::chain(&layers);
        let key = outcome::step_key(step.kind, &below, &inputs, record.epoch);
        match StepOutcome::cached(store, &key)? {
            Some(outcome) if outcome.layers == gave => known.push(outcome),
            Some(_) | None => break,
        }
        layers.extend_from_slice(gave);
        rest = above;
    }
    Ok(known)
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

/// The identity of a step's own inputs; None where nobody wrote it down.
fn inputs(step: &StepRecord, locked: Option<&LockedImage>) -> Option<Digest> {
    match (step.kind, locked) {
        (StepKind::Packages, Some(locked)) => Some(locked.key()),
        _ => step.own,
    }
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
        step.own = inputs(step, locked);
        step.below = outcome::chain(&layers);
        if let Some(own) = &step.own {
            step.key = outcome::step_key(step.kind, &step.below, own, epoch);
        }
        layers.extend_from_slice(&step.layers);
    }
}

/// Puts the steps of a moved image into the cache, as far as it vouched for them before the move.
pub(super) fn remember(
    store: &Store,
    steps: &[StepRecord],
    vouched: Vec<StepOutcome>,
) -> Result<(), RebaseError> {
    for (step, known) in steps.iter().zip(vouched) {
        let gave = StepOutcome { layers: step.layers.clone(), moved: true, ..known };
        gave.cache(store, &step.key)?;
    }
    Ok(())
}
