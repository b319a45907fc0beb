//! One-off work as the ledger tells it: what was begun and has not ended.

use std::collections::BTreeSet;

use hornero_model::{Actor, InstanceId, Run, RunEnd, Timestamp};

use crate::{OpenRun, Rollout, World, steps};

/// The runs that are carried out for rollouts and services, not for who asked for them.
pub fn waited_for(world: &World) -> BTreeSet<&InstanceId> {
    let steps = steps::open(world).map(|open| &open.run.id);
    quiescing(world).chain(steps).collect()
}

fn quiescing(world: &World) -> impl Iterator<Item = &InstanceId> {
    world.rollouts.values().filter_map(Rollout::quiesced_by)
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
    steps::started(world, run, since)?;
    let open = OpenRun { run: run.clone(), by: by.clone(), since };
    world.runs.insert(run.id.clone(), open);
    Ok(())
}

pub(crate) fn ended(world: &mut World, end: &RunEnd) -> Result<(), String> {
    match world.runs.remove(&end.id) {
        Some(open) => {
            steps::ended(world, &open.run, end);
            if quiescing(world).any(|id| *id == end.id) {
                world.quiesced.insert(end.id.clone(), end.clone());
            }
            Ok(())
        }
        None => Err(format!("there is no run `{}`", end.id)),
    }
}
