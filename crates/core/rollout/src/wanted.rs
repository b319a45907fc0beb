//! The effects that the recorded world asks for. Nothing is asked for that is not in the ledger before.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{InstanceId, InstanceState, Millis, ServiceName, Timestamp};

use crate::{Effect, Facts, Kind, Phase, World, repair, table, transition};

/// How long a server may take to end by itself before it is killed: it gets no requests by then.
const STOP_GRACE: Millis = Millis(5_000);

/// Every effect that is still to be done, by the world as recorded and the facts as seen. Level, not edge: what is
/// done disappears from the answer, what failed or was lost with the process stays in it.
pub fn wanted(
    world: &World,
    facts: &Facts,
    internal: &BTreeMap<ServiceName, IpAddr>,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    effects.extend(routes(world, facts, internal));
    for name in world.services.keys() {
        let kept = world.kept(name);
        for instance in world.instances.values().filter(|of| of.service == *name) {
            if kept.contains(&instance.id) && !facts.exited.contains_key(&instance.id) {
                effects.extend(start(world, facts, &instance.id));
            } else {
                effects.extend(end(facts, &instance.id, facts.forced.contains(name)));
            }
        }
    }
    // What the engine has and the ledger does not know of is nobody's.
    for id in facts.running.keys().chain(&facts.stopped).chain(facts.exited.keys()) {
        if !world.instances.contains_key(id) {
            effects.extend(end(facts, id, false));
        }
    }
    for rollout in world.rollouts.values() {
        effects.extend(tests(world, facts, rollout));
        effects.extend(cuts(facts, rollout));
    }
    effects
}

fn start(world: &World, facts: &Facts, id: &InstanceId) -> Option<Effect> {
    let instance = &world.instances[id];
    let begun = facts.running.contains_key(id) || facts.stopped.contains(id);
    if instance.state != InstanceState::Created || begun {
        return None;
    }
    let spec = Box::new(world.spec_of(id)?.clone());
    Some(Effect::StartInstance { instance: id.clone(), release: instance.release, spec })
}

/// Ends an instance once nothing is routed to it, or whatever is where its service is taken down by force.
fn end(facts: &Facts, id: &InstanceId, forced: bool) -> Option<Effect> {
    if facts.removed.contains(id) || (facts.routed(id) && !forced) {
        return None;
    }
    let instance = id.clone();
    if facts.exited.contains_key(id) || facts.stopped.contains(id) {
        return Some(Effect::RemoveInstance { instance });
    }
    Some(Effect::StopInstance { instance, grace: STOP_GRACE })
}

fn tests(world: &World, facts: &Facts, rollout: &crate::Rollout) -> Option<Effect> {
    let spec = &world.release(&rollout.service, rollout.to)?.spec;
    let due = rollout.phase == Phase::Preparing
        && rollout.kind == Kind::Forward
        && !world.image_passed(&spec.image)
        && !facts.tests.contains_key(&spec.image);
    due.then(|| Effect::RunTests { image: spec.image, spec: Box::new(spec.clone()) })
}

fn cuts(facts: &Facts, rollout: &crate::Rollout) -> Vec<Effect> {
    let Some(edge) = &facts.edge else { return Vec::new() };
    let releases = match (rollout.cut_off, rollout.phase) {
        (None, _) => return Vec::new(),
        (Some(_), Phase::Draining) => rollout.from.into_iter().collect(),
        (Some(_), Phase::Clearing) => vec![rollout.to],
        (Some(_), Phase::Closing) => {
            let of = edge.counters.iter().filter(|of| of.pool.service == rollout.service);
            let mut releases: Vec<_> = of.map(|of| of.release).collect();
            releases.sort_unstable();
            releases.dedup();
            releases
        }
        (Some(_), _) => return Vec::new(),
    };
    releases
        .into_iter()
        .filter(|release| edge.totals(&rollout.service, *release).0 > 0)
        .map(|release| Effect::CutInFlight { service: rollout.service.clone(), release })
        .collect()
}

/// A route table where the one in force is not what the world asks for.
fn routes(
    world: &World,
    facts: &Facts,
    internal: &BTreeMap<ServiceName, IpAddr>,
) -> Option<Effect> {
    let edge = facts.edge.as_ref()?;
    let last = facts.in_force.as_ref().map_or(0, |in_force| in_force.table.generation);
    let table = table(world, facts, internal, edge.generation.max(last) + 1);
    let same = match &facts.in_force {
        Some(in_force) => {
            in_force.table.listeners == table.listeners && in_force.table.pools == table.pools
        }
        None => edge.generation == 0 && table.listeners.is_empty() && table.pools.is_empty(),
    };
    if same || world.rollouts.values().any(|rollout| waits_for_health(world, facts, rollout)) {
        return None;
    }
    Some(Effect::ApplyRoutes { table: Box::new(table) })
}

/// Whether a switch has to wait because a set's health is not known, as after a restart of edge or control.
fn waits_for_health(world: &World, facts: &Facts, rollout: &crate::Rollout) -> bool {
    let known = |id: &InstanceId| facts.healthy(world, id);
    match rollout.phase {
        Phase::Switching => !rollout.set.iter().all(known),
        Phase::Preparing
        | Phase::Watching
        | Phase::Draining
        | Phase::Finished
        | Phase::Undoing
        | Phase::Failed
        | Phase::Returning
        | Phase::Clearing
        | Phase::RolledBack
        | Phase::Closing
        | Phase::Emptying
        | Phase::Removed => false,
    }
}

/// The next moment at which time alone changes what is to be done; none while only an observation can.
pub fn wake(world: &World, facts: &Facts) -> Option<Timestamp> {
    let mut times = Vec::new();
    for (name, service) in &world.services {
        times.extend(repair::wake(world, facts, name));
        times.extend(service.warm.as_ref().map(|warm| warm.until));
    }
    times.extend(
        world.rollouts.values().flat_map(|rollout| transition::times(rollout, world, facts)),
    );
    times.into_iter().filter(|time| *time > facts.now).min()
}
