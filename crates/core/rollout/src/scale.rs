//! Scaling: another number of servers is wanted because of the load. The ledger says so with the figures that did it, and
//! in the same write what is to be made for it; what is too many leaves as after a change of `instances`.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    Actor, Budget, EventBody, InstanceId, Millis, ServiceName, ServiceSpec, Timestamp,
};

use crate::{
    Facts, Phase, RepairState, Rollout, ScaledTo, Service, Space, World,
    record::{Record, created, new_ids},
    repair_state,
    scaler::{Decision, Sample, Standing, decide, sleep, wake},
};

const HOUR: Millis = Millis(3_600_000);
const DAY: Millis = Millis(86_400_000);

/// How a service is scaled, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaling {
    /// How many servers are wanted now.
    pub now: u32,
    /// The last change of that by its load, where there was one.
    pub last: Option<ScaledTo>,
    /// Why it is not as the load wants it, where it is not.
    pub held_back: Option<String>,
}

/// How a service is scaled; none where its number of servers is declared.
pub fn scaling(world: &World, facts: &Facts, name: &ServiceName) -> Option<Scaling> {
    let service = world.services.get(name)?;
    service.serving_release()?.spec.scale.as_ref()?;
    let held_back = wish(world, facts, service).and_then(|(decision, bounded)| {
        let Decision { to, why } = decision;
        bounded.err().map(|reason| format!("its load wants {to} ({why}), and {reason}"))
    });
    Some(Scaling { now: world.serving_size(name), last: service.scaled.clone(), held_back })
}

/// The services that may be scaled by their load: those that were, and those that are looked at.
fn may_be_scaled(facts: &Facts, looked_at: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    facts.load.keys().chain(looked_at).cloned().collect()
}

/// Takes in what the edge has counted by now of every service that is scaled, and what its servers used of the processor.
pub fn saw_load(
    world: &World,
    facts: &mut Facts,
    looked_at: &BTreeSet<ServiceName>,
    cpu_us: Option<&BTreeMap<InstanceId, u64>>,
) {
    let Some(edge) = facts.edge.clone() else {
        facts.load.clear();
        return;
    };
    facts.load.retain(|name, _| world.services.contains_key(name));
    let names = may_be_scaled(facts, looked_at);
    for (name, service) in names.iter().filter_map(|name| world.services.get_key_value(name)) {
        let serving = service.serving.as_ref().zip(service.serving_release());
        let Some((set, spec)) = serving.map(|(set, release)| (set, &release.spec)) else {
            facts.load.remove(name);
            continue;
        };
        let Some(scale) = &spec.scale else {
            facts.load.remove(name);
            continue;
        };
        let of_set =
            edge.counters.iter().filter(|of| of.pool.service == *name && of.release == set.release);
        let (requests, in_flight) = of_set.fold((0, 0), |(requests, in_flight), of| {
            (requests + of.requests, in_flight + of.in_flight)
        });
        let own = |used: &BTreeMap<InstanceId, u64>| {
            let own = set.instances.iter().filter_map(|id| Some((id.clone(), *used.get(id)?)));
            own.collect()
        };
        let sample = Sample {
            at: facts.now,
            edge: edge.pid,
            release: set.terms,
            requests,
            in_flight,
            cpu_us: cpu_us.map(own),
        };
        let cpu_millis = spec.resources.cpu_millis;
        facts.load.entry(name.clone()).or_default().take(sample, scale, cpu_millis);
    }
}

/// Whether any service is scaled by what its servers use of the processor.
pub fn measures_processor(world: &World, facts: &Facts, looked_at: &BTreeSet<ServiceName>) -> bool {
    may_be_scaled(facts, looked_at).iter().any(|name| {
        let release = world.services.get(name).and_then(Service::serving_release);
        let scale = release.and_then(|release| release.spec.scale.as_ref());
        scale.is_some_and(|scale| scale.cpu_percent.is_some())
    })
}

/// What scaling records next for one service.
pub(crate) fn scale(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    tail: &mut dyn FnMut() -> String,
) -> Vec<Record> {
    let service = &world.services[name];
    let Some((decision, Ok(to))) = wish(world, facts, service) else { return Vec::new() };
    let from = world.serving_size(name);
    let by = Actor::hornero(decision.why);
    let body = EventBody::Scaled { service: name.clone(), from, to };
    let mut records = vec![Record::Event(by.clone(), body)];
    let Some(set) = &service.serving else { return records };
    let lacks = (to as usize).saturating_sub(set.instances.len());
    let fresh = new_ids(world, name, set.release, lacks, tail).into_iter();
    records.extend(fresh.map(|id| created(&by, name, set.release, id)));
    records
}

/// What the load asks for, and how far it gets that, or why it does not.
fn wish(
    world: &World,
    facts: &Facts,
    service: &Service,
) -> Option<(Decision, Result<u32, String>)> {
    let spec = &service.serving_release()?.spec;
    let scale = spec.scale.as_ref()?;
    let waiting = facts.edge.as_ref()?.waiting_for(&service.name);
    let settled = service.serving.as_ref().is_some_and(|set| set.leaving.is_none());
    let load = facts.load.get(&service.name).filter(|_| settled)?;
    let standing = Standing {
        wanted: world.serving_size(&service.name),
        since: service.scaled.as_ref().map(|last| last.since).unwrap_or_default(),
        woken: service.scaled.as_ref().is_some_and(|last| last.woken),
        cpu_millis: spec.resources.cpu_millis,
        now: facts.now,
    };
    let decision = match standing.wanted {
        0 => wake(scale, waiting),
        _ => sleep(scale, load, standing, waiting).or_else(|| decide(scale, load, standing)),
    }?;
    let bounded = bounded(world, facts, service, spec, (standing.wanted, decision.to));
    Some((decision, bounded))
}

/// How far a service may go from one number of servers to another.
fn bounded(
    world: &World,
    facts: &Facts,
    service: &Service,
    spec: &ServiceSpec,
    (from, to): (u32, u32),
) -> Result<u32, String> {
    let name = &service.name;
    // What is asked for while another release prepares is answered by the one that serves.
    let wakes = |rollout: &&Rollout| {
        from == 0 && matches!(rollout.phase, Phase::Expanding | Phase::Preparing)
    };
    if let Some(rollout) = world.rollout_of(name).filter(|of| !wakes(of)) {
        return Err(format!("rollout {} is under way", rollout.id));
    }
    match repair_state(world, facts, name) {
        Some(RepairState::GaveUp { failures }) => {
            return Err(format!("its servers failed {failures} times in a row"));
        }
        _ if facts.held.contains(name) || service.shared.is_some() => {
            return Err(format!("nothing of it is made or removed until `hornero resume {name}`"));
        }
        Some(RepairState::Held) => {
            return Err(format!("nothing of it is made or removed until `hornero resume {name}`"));
        }
        Some(RepairState::Whole | RepairState::Repairing { .. }) | None => {}
    }
    let Budget { per_hour, per_day } = spec.budget().for_load();
    let made = |span| service.made_for_load(facts.now, span);
    let (hour, day) = (made(HOUR), made(DAY));
    if to == 0 && service.serving.as_ref().is_some_and(|of| !service.proven.contains(&of.terms)) {
        return Err("its release is not proven yet".to_owned());
    }
    if to < from {
        // What does not leave need not be made again: so that coming and going never uses up what may be made.
        let spent = hour >= per_hour.div_ceil(2) || day >= per_day.div_ceil(2);
        return match spent {
            true => Err(format!(
                "{hour} were made for its load within an hour and {day} within a day, so that they stay"
            )),
            false => Ok(to),
        };
    }
    let left = per_hour.saturating_sub(hour).min(per_day.saturating_sub(day));
    if left == 0 {
        return Err(format!(
            "{hour} were made for its load within an hour and {day} within a day, which is all that may be"
        ));
    }
    let Some(space) = Space::of(world, facts, spec) else {
        return Ok(to.min(from.saturating_add(left)));
    };
    match space.holds().min(left) {
        0 => Err(format!("there is no room: {space}")),
        fits => Ok(to.min(from.saturating_add(fits))),
    }
}

/// Takes in that another number of servers is wanted.
pub(crate) fn scaled(
    world: &mut World,
    name: &ServiceName,
    (from, to): (u32, u32),
    by: &Actor,
    time: Timestamp,
) -> Result<(), String> {
    let is_scaled = world.services.get(name).and_then(Service::serving_release);
    if is_scaled.is_none_or(|release| release.spec.scale.is_none()) {
        return Err(format!("the number of servers of `{name}` does not follow from its load"));
    }
    let Some(service) = world.services.get_mut(name) else { return Ok(()) };
    let why = Some(by.why.clone());
    service.scaled = Some(ScaledTo { wanted: to, since: time, woken: from == 0, why });
    service.scaling = to.saturating_sub(from);
    Ok(())
}

impl Service {
    /// How many servers what serves has by the terms of a spec: as many as that says, or where they follow from the load
    /// as many as are wanted now, within its bounds.
    pub fn size_by(&self, spec: &ServiceSpec) -> u32 {
        let Some(scale) = &spec.scale else { return spec.instances };
        let serving = self.serving_release().map_or(spec, |release| &release.spec);
        let by_load = self.scaled.as_ref().filter(|_| serving.scale.is_some());
        let now = by_load.map_or(serving.instances, |last| last.wanted);
        now.clamp(scale.minimum, scale.maximum.max(scale.minimum))
    }

    /// Servers made for the load within the time before `now`.
    pub fn made_for_load(&self, now: Timestamp, within: Millis) -> u32 {
        let made = self.made_by_load.iter().filter(|at| now.since(**at) < within);
        u32::try_from(made.count()).unwrap_or(u32::MAX)
    }

    /// A server is made: whether that is for its load.
    pub(crate) fn makes_for_load(&mut self, time: Timestamp, own: bool) -> bool {
        self.made_by_load.retain(|made| time.since(*made) < DAY);
        let for_load = own && self.scaling > 0;
        if for_load {
            self.scaling -= 1;
            self.made_by_load.push(time);
        }
        for_load
    }

    /// What serves from now on has the terms of `to`: with those of before it may have had another number of servers.
    pub(crate) fn begin_scaling(&mut self, to: &ServiceSpec, servers: u32, time: Timestamp) {
        let Some(scale) = &to.scale else { return };
        let wanted = servers.clamp(scale.least(), scale.maximum.max(scale.least()));
        self.scaled = Some(ScaledTo { wanted, since: time, woken: false, why: None });
    }
}
