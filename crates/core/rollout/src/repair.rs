//! Repair of a serving set: what died or stays unhealthy is replaced, ever more slowly, and not for ever.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, EventBody, Health, InstanceId, InstanceState, Millis, ServiceName, Timestamp,
};

use crate::{
    Facts, Phase, World,
    failing::{start_deadline, start_failure},
    step::{Record, changed, new_id},
};

/// Failures in a row, beyond one of every instance, after which nothing more is replaced. With the growing delays
/// this gives a service some two minutes to come round.
pub const MAX_REPAIRS: u32 = 8;
/// How long an instance may be unhealthy before a replacement is made: longer than a reload or a short overload.
pub(crate) const PATIENCE: Millis = Millis(5_000);
/// The first delay; doubled by every further failure.
const FIRST_DELAY_MS: u64 = 500;
/// The longest delay.
const LAST_DELAY_MS: u64 = 60_000;
/// Instances an hour that repair may make of one service; the watchdog's own limit is above it.
const REPAIR_BUDGET: u32 = 50;

/// How a serving set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairState {
    /// As many instances as wanted serve and are healthy.
    Whole,
    /// It is being made whole.
    Repairing {
        /// When the next replacement may be made, where the last failure put it off.
        not_before: Timestamp,
    },
    /// It failed too often in a row; nothing is replaced until somebody asks for it.
    GaveUp {
        /// The failures in a row.
        failures: u32,
    },
}

/// How the serving set of a service is; none where nothing serves.
pub fn repair_state(world: &World, facts: &Facts, service: &ServiceName) -> Option<RepairState> {
    let of = world.services.get(service)?;
    let set = of.serving.as_ref()?;
    let wanted = of.serving_release()?.spec.instances;
    let healthy = set
        .instances
        .iter()
        .filter(|id| {
            facts.healthy(world, id)
                && world.instances.get(*id).is_some_and(|of| of.state == InstanceState::Serving)
        })
        .count();
    if healthy >= wanted as usize {
        return Some(RepairState::Whole);
    }
    // Forgiveness is for failures up to a count; a count that began anew below it needs none.
    let forgiven = facts.forgiven.get(service).copied().unwrap_or(0);
    let failures = if forgiven <= of.failures { of.failures - forgiven } else { of.failures };
    if failures >= wanted.saturating_add(MAX_REPAIRS) {
        return Some(RepairState::GaveUp { failures });
    }
    let delay = match failures.saturating_sub(wanted) {
        0 => 0,
        beyond => (FIRST_DELAY_MS << (beyond - 1).min(16)).min(LAST_DELAY_MS),
    };
    let not_before = of.last_failure.unwrap_or_default().after(Millis(delay));
    Some(RepairState::Repairing { not_before })
}

/// What repair records next for one service.
pub(crate) fn repair(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
    tail: &mut dyn FnMut() -> String,
) -> Vec<Record> {
    let of = &world.services[service];
    let (Some(set), Some(release)) = (&of.serving, of.serving_release()) else {
        return Vec::new();
    };
    let instances = || set.instances.iter().filter_map(|id| world.instances.get(id));
    // Until the edge confirmed the way back, the old set is still draining.
    let returning = world.rollout_of(service).is_some_and(|of| of.phase == Phase::Returning);
    let joining = |id: &InstanceId| {
        world.instances.get(id).is_some_and(|of| match of.state {
            InstanceState::Serving => false,
            InstanceState::Draining => !returning,
            InstanceState::Created
            | InstanceState::Starting
            | InstanceState::Probing
            | InstanceState::Ready
            | InstanceState::Stopped
            | InstanceState::Failed
            | InstanceState::Archived => true,
        })
    };
    let mut records = Vec::new();
    // Replacements that made it, and those that did not.
    for instance in instances().filter(|of| joining(&of.id)) {
        if facts.healthy(world, &instance.id) {
            let by = Actor::hornero("it is healthy");
            records.push(changed(&by, instance, InstanceState::Serving, None));
        } else if let Some(failure) = start_failure(world, facts, &instance.id, instance.since) {
            let by = Actor::hornero(failure.reason);
            records.push(changed(&by, instance, InstanceState::Failed, failure.cause));
        }
    }
    if !records.is_empty() {
        return records;
    }
    let wanted = release.spec.instances as usize;
    let sick: BTreeSet<&InstanceId> = set
        .instances
        .iter()
        .filter(|id| {
            facts.unhealthy_since.get(*id).is_some_and(|since| facts.now >= since.after(PATIENCE))
        })
        .collect();
    let fit = instances().filter(|of| !sick.contains(&of.id)).count();
    let serving_fit =
        set.instances.iter().filter(|id| facts.healthy(world, id) && !joining(id)).count();
    // Each healthy replacement takes the place of one that stayed unhealthy.
    let replaced = (sick.len() + serving_fit).saturating_sub(wanted);
    if replaced > 0 && !sick.is_empty() {
        let by = Actor::hornero("it stayed unhealthy and was replaced");
        let sick = sick.into_iter().take(replaced).filter_map(|id| world.instances.get(id));
        records.extend(sick.map(|of| changed(&by, of, InstanceState::Failed, None)));
        return records;
    }
    if serving_fit >= wanted {
        records.extend(late_proof(world, facts, service));
        return records;
    }
    let Some(RepairState::Repairing { not_before }) = repair_state(world, facts, service) else {
        return records;
    };
    let left = REPAIR_BUDGET.saturating_sub(of.made_last_hour(facts.now).1);
    let left = left.saturating_add(of.restoring) as usize;
    if facts.now < not_before {
        return records;
    }
    let mut taken = BTreeSet::new();
    for _ in 0..wanted.saturating_sub(fit).min(left) {
        let id = new_id(world, service, set.release, &taken, tail);
        taken.insert(id.clone());
        let body = EventBody::InstanceChanged {
            instance: id,
            service: service.clone(),
            release: set.release,
            state: InstanceState::Created,
            cause: None,
        };
        let why = format!("`{service}@{}` lacks an instance", set.release);
        records.push(Record::Event(Actor::hornero(why), body));
    }
    records
}

/// A release that failed its watch with nothing to go back to serves unproven; it is proven once its set is whole
/// for as long as the watch would have been.
fn late_proof(world: &World, facts: &Facts, service: &ServiceName) -> Option<Record> {
    let of = &world.services[service];
    let (set, release) = (of.serving.as_ref()?, of.serving_release()?);
    let since = set.instances.iter().filter_map(|id| Some(world.instances.get(id)?.since)).max()?;
    let whole = set.instances.iter().all(|id| facts.health(world, id) == Health::Healthy);
    let due = since.max(of.last_failure.unwrap_or_default()).after(release.spec.rollout.watch);
    let idle = world.rollout_of(service).is_none();
    (whole && idle && !of.proven.contains(&set.release) && facts.now >= due).then(|| {
        let body = EventBody::ReleaseProven { service: service.clone(), release: set.release };
        Record::Event(Actor::hornero("it became whole and stayed healthy"), body)
    })
}

/// When repair of a service has to look again.
pub(crate) fn wake(world: &World, facts: &Facts, service: &ServiceName) -> Option<Timestamp> {
    let set = world.services.get(service)?.serving.as_ref()?;
    let mut times: Vec<Timestamp> = set
        .instances
        .iter()
        .filter_map(|id| facts.unhealthy_since.get(id))
        .map(|since| since.after(PATIENCE))
        .collect();
    for instance in set.instances.iter().filter_map(|id| world.instances.get(id)) {
        if instance.state != InstanceState::Serving {
            times.push(start_deadline(world, facts, &instance.id, instance.since));
        }
    }
    if let Some(RepairState::Repairing { not_before }) = repair_state(world, facts, service) {
        times.push(not_before);
    }
    times.into_iter().filter(|time| *time > facts.now).min()
}
