//! One step of everything: what the world and the facts together say is to be recorded next.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, EventBody, ExitCause, InstanceId, InstanceState, ReceiptBody, RegionName, ReleaseNumber,
    ServiceName,
};

use crate::planted::{Bug, planted};
use crate::{
    Facts, Instance, World, adjust, failed, leases, listeners, previewing, quiescing, recycle,
    repair, scale, transition,
};

/// What to append before anything else is done; all of it in one write.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The records in order; none when there is nothing to decide.
    pub records: Vec<Record>,
}

/// One thing to append.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An event, and by whom.
    Event(Actor, EventBody),
    /// A receipt to be signed; it becomes a `Switched` event.
    Receipt(Box<ReceiptBody>),
}

impl Step {
    /// Whether it begins a rollout.
    pub fn begins_rollout(&self) -> bool {
        let is_step =
            |record: &Record| matches!(record, Record::Event(_, EventBody::RolloutStep { .. }));
        self.records.iter().any(is_step)
    }
}

/// Decides the next step. `tail` draws the random end of a new instance's id.
///
/// Call it again after its records were appended and folded, until it has none; then perform [`crate::wanted`].
pub fn step(world: &World, facts: &Facts, tail: &mut dyn FnMut() -> String) -> Step {
    let mut records = listeners::records(world, facts);
    records.extend(leases::records(world, facts));
    records.extend(quiescing::ends(world, facts));
    for name in world.services.keys() {
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
    }
    if records.is_empty() {
        records.extend(previewing::lapse(world, facts));
    }
    Step { records }
}

/// Records instances that ended, and those of which nothing is left.
fn ends(world: &World, facts: &Facts, service: &ServiceName) -> Vec<Record> {
    let mut records = Vec::new();
    for instance in world.instances.values().filter(|of| of.service == *service) {
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

pub(crate) fn changed(
    by: &Actor,
    instance: &Instance,
    state: InstanceState,
    cause: Option<ExitCause>,
) -> Record {
    let body = EventBody::InstanceChanged {
        instance: instance.id.clone(),
        service: instance.service.clone(),
        release: instance.release,
        state,
        cause,
        region: instance.region.clone(),
    };
    Record::Event(by.clone(), body)
}

/// That an instance of a release is to be made.
pub(crate) fn created(
    by: &Actor,
    service: &ServiceName,
    release: ReleaseNumber,
    instance: InstanceId,
) -> Record {
    let body = EventBody::InstanceChanged {
        instance,
        service: service.clone(),
        release,
        state: InstanceState::Created,
        cause: None,
        region: RegionName::default(),
    };
    Record::Event(by.clone(), body)
}

/// The ids of so many new instances, in the order in which they were drawn.
pub(crate) fn new_ids(
    world: &World,
    service: &ServiceName,
    release: ReleaseNumber,
    count: usize,
    tail: &mut dyn FnMut() -> String,
) -> Vec<InstanceId> {
    let mut taken = BTreeSet::new();
    let draw = || {
        let id = new_id(world, service, release, &taken, tail);
        taken.insert(id.clone());
        id
    };
    std::iter::repeat_with(draw).take(count).collect()
}

/// The id of a new instance; `tail` is drawn again where it happens to be taken.
fn new_id(
    world: &World,
    service: &ServiceName,
    release: ReleaseNumber,
    taken: &BTreeSet<InstanceId>,
    tail: &mut dyn FnMut() -> String,
) -> InstanceId {
    /// A tail of a few random characters repeats at most by accident; a source that repeats itself is broken.
    const ATTEMPTS: usize = 1000;
    for _ in 0..ATTEMPTS {
        if let Ok(id) = InstanceId::compose(service, release, &tail())
            && !world.instances.contains_key(&id)
            && !taken.contains(&id)
        {
            return id;
        }
    }
    panic!("the source of random tails gave no fresh one in {ATTEMPTS} attempts");
}
