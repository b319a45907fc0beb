//! Repair of a serving set: what died or stays unhealthy is replaced, ever more slowly, and not for ever.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, EventBody, Health, InstanceId, InstanceState, Millis, ServiceName, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    Facts, GuardOccasion, GuardsSeen, Instance, Phase, RolloutFailure, Service, ServingSet, Space,
    World,
    failing::{PATIENCE, ended, start_deadline, start_failure},
    leases,
    record::{Record, changed, created, new_ids},
};

/// Failures in a row, beyond one of every instance, after which nothing more is replaced. With the growing delays
/// this gives a service some two minutes to come round.
pub const MAX_REPAIRS: u32 = 8;
/// The same where no other one can run beside it, as with volumes: the service is down while it is replaced, and a database
/// that was overloaded, or replays its log, comes round by itself.
const PATIENCE_ALONE: Millis = Millis(30_000);
/// The first delay; doubled by every further failure.
const FIRST_DELAY_MS: u64 = 500;
/// The longest delay.
const LAST_DELAY_MS: u64 = 60_000;

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
    /// The watchdog lets nothing more be made until somebody does.
    Held,
}

/// How the serving set of a service is; none where nothing serves.
pub fn repair_state(world: &World, facts: &Facts, service: &ServiceName) -> Option<RepairState> {
    let of = world.services.get(service)?;
    let set = of.serving.as_ref()?;
    of.serving_release()?;
    let wanted = world.wanted_instances(service);
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
    if facts.held.contains(service) || of.shared.is_some() {
        return Some(RepairState::Held);
    }
    // Forgiveness is for failures up to a count; a count that began anew below it needs none.
    let forgiven = facts.forgiven.get(service).copied().unwrap_or(0);
    let failures = if forgiven <= of.failures { of.failures - forgiven } else { of.failures };
    let endless = planted(Bug::RepairsWithoutEnd);
    if failures >= wanted.saturating_add(MAX_REPAIRS) && !endless {
        return Some(RepairState::GaveUp { failures });
    }
    let delay = match failures.saturating_sub(wanted) {
        0 => 0,
        _ if endless => 0,
        beyond => (FIRST_DELAY_MS << (beyond - 1).min(16)).min(LAST_DELAY_MS),
    };
    let not_before = of.last_failure.unwrap_or_default().after(Millis(delay));
    Some(RepairState::Repairing { not_before })
}

/// How long an instance of a service may be unhealthy.
fn patience(world: &World, service: &ServiceName) -> Millis {
    let release = world.services.get(service).and_then(|of| of.serving_release());
    match release.is_some_and(|release| release.spec.holds_volumes()) {
        true => PATIENCE_ALONE,
        false => PATIENCE,
    }
}

/// What repair records next for one service.
pub(crate) fn repair(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
    tail: &mut dyn FnMut() -> String,
) -> Vec<Record> {
    let of = &world.services[service];
    let Some(set) = of.serving.as_ref().filter(|_| of.serving_release().is_some()) else {
        return Vec::new();
    };
    let repair = Repair { world, facts, of, set };
    let joined = repair.join();
    if !joined.is_empty() {
        return joined;
    }
    let sick = repair.sick();
    let replaced = repair.replace(&sick);
    if !replaced.is_empty() {
        return replaced;
    }
    let wanted = world.wanted_instances(service) as usize;
    let fit = repair.serving_fit();
    if fit >= wanted {
        let mut records: Vec<_> = late_proof(world, facts, service).into_iter().collect();
        records.extend(surplus(world, facts, service));
        return records;
    }
    repair.make_missing(&sick, tail)
}

/// The repair of one serving set.
struct Repair<'a> {
    world: &'a World,
    facts: &'a Facts,
    of: &'a Service,
    set: &'a ServingSet,
}

impl<'a> Repair<'a> {
    fn instances(&self) -> impl Iterator<Item = &'a Instance> {
        let instances = &self.world.instances;
        self.set.instances.iter().filter_map(|id| instances.get(id))
    }

    /// Whether the set is still draining because the edge did not confirm the way back to it yet.
    fn returning(&self) -> bool {
        self.world.rollout_of(&self.of.name).is_some_and(|of| of.phase == Phase::Returning)
    }

    /// Whether an instance has yet to become one of those that serve.
    fn is_joining(&self, id: &InstanceId) -> bool {
        self.world.instances.get(id).is_some_and(|of| match of.state {
            InstanceState::Serving => false,
            InstanceState::Draining => !self.returning(),
            InstanceState::Created
            | InstanceState::Starting
            | InstanceState::Probing
            | InstanceState::Ready
            | InstanceState::Stopped
            | InstanceState::Failed
            | InstanceState::Archived => true,
        })
    }

    /// Replacements that made it, and those that did not.
    fn join(&self) -> Vec<Record> {
        let joining = self.instances().filter(|of| self.is_joining(&of.id));
        let moved = joining.filter_map(|instance| {
            if self.facts.healthy(self.world, &instance.id) {
                let by = Actor::hornero("it is healthy");
                return Some(changed(&by, instance, InstanceState::Serving, None));
            }
            let failure = self.failure(instance)?;
            let by = Actor::hornero(failure.reason);
            Some(changed(&by, instance, InstanceState::Failed, failure.cause))
        });
        moved.collect()
    }

    /// Why a replacement did not make it. While no edge can tell how it is, one that runs is neither well nor failed: another
    /// one in its place would be no better off, and the next edge may find both to be well.
    fn failure(&self, instance: &Instance) -> Option<RolloutFailure> {
        let Self { world, facts, .. } = *self;
        match facts.edge.is_none() && facts.running.contains_key(&instance.id) {
            true => ended(world, facts, &instance.id),
            false => start_failure(world, facts, &instance.id, instance.since),
        }
    }

    /// The instances that have been unhealthy for longer than is waited for.
    fn sick(&self) -> BTreeSet<&'a InstanceId> {
        if planted(Bug::KeepsSick) {
            return BTreeSet::new();
        }
        let patience = patience(self.world, &self.of.name);
        let is_sick = |id: &&InstanceId| {
            let since = self.facts.unhealthy_since.get(*id);
            since.is_some_and(|since| self.facts.now >= since.after(patience))
        };
        self.set.instances.iter().filter(is_sick).collect()
    }

    /// How many serve and are healthy.
    fn serving_fit(&self) -> usize {
        let is_fit = |id: &&InstanceId| self.facts.healthy(self.world, id) && !self.is_joining(id);
        self.set.instances.iter().filter(is_fit).count()
    }

    /// Each healthy replacement takes the place of one that stayed unhealthy.
    fn replace(&self, sick: &BTreeSet<&InstanceId>) -> Vec<Record> {
        let alone = self.of.serving_release().is_some_and(|of| of.spec.holds_volumes());
        let wanted = self.world.wanted_instances(&self.of.name) as usize;
        let replaced = match alone {
            false => (sick.len() + self.serving_fit()).saturating_sub(wanted),
            // What holds a volume goes before another one can have it.
            true => sick.len(),
        };
        let by = Actor::hornero("it stayed unhealthy and was replaced");
        let gone = sick.iter().take(replaced).filter_map(|id| self.world.instances.get(*id));
        gone.map(|of| changed(&by, of, InstanceState::Failed, None)).collect()
    }

    /// Makes what the set lacks, once its back-off is over and there is room.
    fn make_missing(
        &self,
        sick: &BTreeSet<&InstanceId>,
        tail: &mut dyn FnMut() -> String,
    ) -> Vec<Record> {
        let Self { world, facts, of, set } = *self;
        let name = &of.name;
        let Some(RepairState::Repairing { not_before }) = repair_state(world, facts, name) else {
            return Vec::new();
        };
        if facts.now < not_before || planted(Bug::RepairsNever) {
            return Vec::new();
        }
        // Until nothing is left of who has its volumes, another one could not start.
        let mounts = of.serving_release().into_iter().flat_map(|release| &release.spec.mounts);
        if leases::held(world, mounts.map(|mount| &mount.volume), None).is_some() {
            return Vec::new();
        }
        // What comes back beside the servers of a rollout that failed comes as there is room.
        let returning = self.returning();
        let spec = of.serving_release().filter(|_| returning).map(|release| &release.spec);
        let space = spec.and_then(|spec| Space::of(world, facts, spec));
        let fits = space.map_or(usize::MAX, |space| space.holds() as usize);
        let joins = |of: &Instance| {
            planted(Bug::RepairsTwice) && of.since < facts.now && self.is_joining(&of.id)
        };
        let fit = self.instances().filter(|of| !sick.contains(&of.id) && !joins(of)).count();
        let wanted = world.wanted_instances(name) as usize;
        let lacks = wanted.saturating_sub(fit).min(fits);
        let by = Actor::hornero(format!("`{name}@{}` lacks an instance", set.release));
        let fresh = new_ids(world, name, set.release, lacks, tail).into_iter();
        fresh.map(|id| created(&by, name, set.release, id)).collect()
    }
}

/// The servers that are more than wanted and may go by now: by terms or a load that ask for fewer, or a sick one that healed just
/// as its replacement came. What served for the shortest time goes, once all have been well for as long as a sick one is waited
/// for.
pub(crate) fn spare<'w>(
    world: &'w World,
    facts: &'w Facts,
    service: &ServiceName,
) -> Vec<&'w Instance> {
    let of = &world.services[service];
    let Some(set) = of.serving.as_ref().filter(|_| of.serving_release().is_some()) else {
        return Vec::new();
    };
    let repair = Repair { world, facts, of, set };
    let wanted = world.wanted_instances(service) as usize;
    let count = repair.serving_fit().saturating_sub(wanted);
    let settled = surplus_due(world, service).is_none_or(|due| facts.now >= due);
    let whole = set.instances.iter().all(|id| facts.healthy(world, id));
    if count == 0
        || planted(Bug::KeepsSurplus)
        || !settled
        || !whole
        || world.rollout_of(service).is_some()
    {
        return Vec::new();
    }
    let mut serving: Vec<_> = repair.instances().collect();
    serving.sort_by_key(|instance| std::cmp::Reverse((instance.since, &instance.id)));
    // What is recycled goes before all that is not, the oldest first.
    serving.sort_by_cached_key(|instance| match &instance.recycle {
        Some(_) => (0, instance.created, Some(instance.id.clone())),
        None => (1, Timestamp::default(), None),
    });
    serving.truncate(count);
    serving
}

/// Ends what is more than wanted, where the guards of the service let it go.
fn surplus(world: &World, facts: &Facts, service: &ServiceName) -> Vec<Record> {
    let gone = spare(world, facts, service);
    let of = &world.services[service];
    let terms = of.serving.as_ref().and_then(|set| world.release(service, set.terms));
    let guards = terms.map(|release| release.spec.guards.as_slice()).unwrap_or_default();
    let servers: Vec<_> = gone.iter().map(|of| &of.id).collect();
    let passed = |seen: &GuardsSeen| seen.passed(facts.now) && seen.is_about(guards, &servers);
    let occasion = GuardOccasion::Surplus(service.clone());
    if !guards.is_empty() && !facts.guards.get(&occasion).is_some_and(passed) {
        return Vec::new();
    }
    let by = Actor::hornero("more than wanted serve");
    let ended = gone.into_iter().map(|instance| {
        let by = instance.recycle.as_ref().unwrap_or(&by);
        changed(by, instance, InstanceState::Stopped, None)
    });
    ended.collect()
}

/// When the newest of a serving set has served long enough to tell whether one is too many; where one is recycled, long
/// enough to take its place.
fn surplus_due(world: &World, service: &ServiceName) -> Option<Timestamp> {
    let of = &world.services[service];
    let set = of.serving.as_ref()?;
    let instances = || set.instances.iter().filter_map(|id| world.instances.get(id));
    let patience = match instances().any(|instance| instance.recycle.is_some()) {
        true => of.serving_release()?.spec.rollout.watch,
        false => PATIENCE,
    };
    instances().map(|instance| instance.since).max().map(|since| since.after(patience))
}

/// A release that failed its watch with nothing to go back to serves unproven; it is proven once its set is whole
/// for as long as the watch would have been.
fn late_proof(world: &World, facts: &Facts, service: &ServiceName) -> Option<Record> {
    let of = &world.services[service];
    let (set, release) = (of.serving.as_ref()?, of.serving_release()?);
    if set.leaving.is_some() {
        return None;
    }
    let since = set.instances.iter().filter_map(|id| Some(world.instances.get(id)?.since)).max()?;
    let whole = set.instances.iter().all(|id| facts.health(world, id) == Health::Healthy);
    let due = since.max(of.last_failure.unwrap_or_default()).after(release.spec.rollout.watch);
    let idle = world.rollout_of(service).is_none();
    (whole && idle && !of.proven.contains(&set.terms) && facts.now >= due).then(|| {
        let body = EventBody::ReleaseProven { service: service.clone(), release: set.terms };
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
        .map(|since| since.after(patience(world, service)))
        .collect();
    for instance in set.instances.iter().filter_map(|id| world.instances.get(id)) {
        if instance.state != InstanceState::Serving {
            times.push(start_deadline(world, facts, &instance.id, instance.since));
        }
    }
    if let Some(RepairState::Repairing { not_before }) = repair_state(world, facts, service) {
        times.push(not_before);
    }
    if set.instances.len() > world.serving_size(service) as usize {
        times.extend(surplus_due(world, service));
    }
    times.into_iter().filter(|time| *time > facts.now).min()
}
