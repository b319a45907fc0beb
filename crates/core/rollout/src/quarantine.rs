//! Quarantine: servers that somebody has taken out of traffic, kept as they are until a time so that they can be looked at.
//!
//! Such a server goes the way of one that is recycled: another one serves before it leaves, and its requests end. Only then is
//! it not ended, but stands still. When its time is up, or its service goes, it ends as every other one does.

use hornero_model::{Actor, InstanceId, InstanceState, ServiceName, Timestamp};

use crate::{Effect, Facts, Instance, Kind, Quarantine, Rollout, World};

/// Takes in that a server is to be kept. One that is gone by now is none any more.
pub(crate) fn begun(
    world: &mut World,
    id: &InstanceId,
    until: Timestamp,
    by: &Actor,
    time: Timestamp,
) {
    let Some(instance) = world.instances.get_mut(id) else { return };
    let before = match instance.quarantine.take() {
        Some(earlier) => earlier.recycle,
        None => instance.recycle.clone(),
    };
    instance.quarantine = Some(Quarantine { by: by.clone(), since: time, until, recycle: before });
    if instance.state != InstanceState::Serving {
        return;
    }
    instance.recycle = Some(by.clone());
    let name = instance.service.clone();
    if let Some(service) = world.services.get_mut(&name) {
        // What a person asks for is tried at once.
        service.recycle_failures = 0;
        service.last_recycle_failure = None;
    }
}

/// Takes in that somebody needs a server no longer. One that serves still, serves on, unless it was to be replaced anyway.
pub(crate) fn ended(world: &mut World, id: &InstanceId) {
    let Some(instance) = world.instances.get_mut(id) else { return };
    if let Some(quarantine) = instance.quarantine.take()
        && instance.state == InstanceState::Serving
    {
        instance.recycle = quarantine.recycle;
    }
}

/// Whether a server that is no longer needed is kept all the same.
pub(crate) fn holds(world: &World, facts: &Facts, instance: &Instance) -> bool {
    let Some(quarantine) = &instance.quarantine else { return false };
    facts.now < quarantine.until
        && !goes(world, facts, instance)
        && facts.running.contains_key(&instance.id)
}

/// Whether a server has to end, whoever has an interest in it.
pub(crate) fn goes(world: &World, facts: &Facts, instance: &Instance) -> bool {
    let name = &instance.service;
    // One in place can't begin before those that were there are gone.
    let leaves = |rollout: &Rollout| {
        let mut concerned = rollout.old.iter().chain(&rollout.set);
        rollout.kind == Kind::Removal
            || (rollout.replacing.is_some() && concerned.any(|id| *id == instance.id))
    };
    world.rollout_of(name).is_some_and(leaves)
        || world.services[name].removed
        || facts.forced.contains(name)
}

/// Makes a server that is kept stand still, once nothing is routed to it.
pub(crate) fn freeze(facts: &Facts, instance: &Instance) -> Option<Effect> {
    let id = &instance.id;
    let due = !facts.frozen.contains_key(id) && !facts.routed(id);
    due.then(|| Effect::FreezeInstance { region: facts.region.clone(), instance: id.clone() })
}

/// When the time of the servers of a service that are kept is up.
pub(crate) fn times(world: &World, service: &ServiceName) -> impl Iterator<Item = Timestamp> {
    world.instances.of(service).filter_map(|of| Some(of.quarantine.as_ref()?.until))
}
