//! One-off work as the ledger tells it: what was begun and has not ended.

use std::collections::BTreeSet;

use hornero_model::{Actor, Digest, InstanceId, Run, RunEnd, Timestamp};

use crate::{Rollout, World};

/// One-off work that has not ended, by what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// What it is.
    pub run: Run,
    /// Who asked for it, and why.
    pub by: Actor,
    /// When it was begun.
    pub since: Timestamp,
}

impl OpenRun {
    /// What of the store it needs, and why that is kept.
    pub fn images(&self) -> impl Iterator<Item = (Digest, String)> + '_ {
        let images = std::iter::once(self.run.image).chain(self.run.configuration);
        images.map(|image| (image, format!("run `{}` is made from it", self.run.id)))
    }
}

/// The runs whose end rollouts wait for.
pub fn waited_for(world: &World) -> BTreeSet<&InstanceId> {
    world.rollouts.values().filter_map(Rollout::quiesced_by).collect()
}

/// A rollout is over: nobody asks any more how its run ended.
pub(crate) fn forget(world: &mut World, rollout: &Rollout) {
    if let Some(id) = rollout.quiesced_by() {
        world.quiesced.remove(id);
    }
}

pub(crate) fn started(
    world: &mut World,
    run: &Run,
    by: &Actor,
    since: Timestamp,
) -> Result<(), String> {
    if world.runs.contains_key(&run.id) || world.instances.contains_key(&run.id) {
        return Err(format!("`{}` was begun before", run.id));
    }
    let open = OpenRun { run: run.clone(), by: by.clone(), since };
    world.runs.insert(run.id.clone(), open);
    Ok(())
}

pub(crate) fn ended(world: &mut World, end: &RunEnd) -> Result<(), String> {
    match world.runs.remove(&end.id) {
        Some(_) => {
            if waited_for(world).contains(&end.id) {
                world.quiesced.insert(end.id.clone(), end.clone());
            }
            Ok(())
        }
        None => Err(format!("there is no run `{}`", end.id)),
    }
}
