//! One step of everything: what the world and the facts together say is to be recorded next.

use hornero_model::{Actor, InstanceState, ServiceName};

use crate::planted::{Bug, planted};
use crate::{
    Attention, Facts, Record, Step, World, adjust, failed, leases, listeners, migrating,
    previewing, quiescing, record::changed, recycle, repair, scale, transition,
};

/// Decides the next step. `tail` draws the random end of a new instance's id.
///
/// Call it again after its records were appended and folded, until it has none; then perform [`crate::wanted`].
pub fn step(
    world: &World,
    facts: &Facts,
    attention: &Attention,
    tail: &mut dyn FnMut() -> String,
) -> Step {
    let mut records = listeners::records(world, facts);
    records.extend(leases::records(world, facts, attention.busy()));
    records.extend(quiescing::ends(world, facts));
    records.extend(migrating::ends(world, facts));
    for name in attention.services(world) {
        let rollout = world.rollout_of(name);
        let moved = rollout.and_then(|rollout| transition::advance(rollout, world, facts, tail));
        if let Some(moved) = moved {
            records.extend(moved);
            // The world is another one once this is recorded; the rest of this service waits for it.
            continue;
        }
        let before = records.len();
        records.extend(failed::shared(world, facts, name));
        records.extend(ends(world, facts, name));
        if records.len() == before && rollout.is_none_or(|rollout| rollout.phase.repairs()) {
            records.extend(repair::repair(world, facts, name, tail));
        }
        if records.len() == before {
            records.extend(adjust::settle(world, facts, name));
        }
        if records.len() == before {
            records.extend(scale::scale(world, facts, name, tail));
        }
        if records.len() == before && rollout.is_none() {
            records.extend(recycle::recycle(world, facts, name, tail));
            records.extend(expire(world, facts, name));
        }
        if records.len() == before && rollout.is_none() {
            records.extend(migrating::contract(world, facts, name, tail));
        }
    }
    if records.is_empty() {
        records.extend(previewing::lapse(world, facts));
    }
    Step { records }
}

/// Records instances that ended, and those of which nothing is left.
fn ends(world: &World, facts: &Facts, service: &ServiceName) -> Vec<Record> {
    let mut records = Vec::new();
    for instance in world.instances.of(service) {
        let over = matches!(instance.state, InstanceState::Failed | InstanceState::Stopped);
        if let (Some(exit), false) = (facts.exited.get(&instance.id), over) {
            let by = Actor::hornero(format!("instance `{}` {}", instance.id, exit.cause));
            let cause = Some(exit.cause.clone());
            records.push(changed(&by, instance, InstanceState::Failed, cause));
            continue;
        }
        if facts.removed.contains(&instance.id) {
            let by = Actor::hornero("no longer needed");
            if !over {
                records.push(changed(&by, instance, InstanceState::Stopped, None));
            }
            records.push(changed(&by, instance, InstanceState::Archived, None));
        }
    }
    records
}

/// Records that a warm set's time is up.
fn expire(world: &World, facts: &Facts, service: &ServiceName) -> Vec<Record> {
    let Some(warm) = world.services[service].warm.as_ref() else { return Vec::new() };
    if facts.now < warm.until || planted(Bug::KeepsWarmForEver) {
        return Vec::new();
    }
    let by = Actor::hornero(format!("`{service}@{}` was kept warm long enough", warm.release));
    warm.instances
        .iter()
        .filter_map(|id| world.instances.get(id))
        .map(|instance| changed(&by, instance, InstanceState::Draining, None))
        .collect()
}
