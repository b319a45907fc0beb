//! Adjustments: a release that would make the same servers as the one that serves takes over without making them.
//!
//! The serving set keeps its instances and the release they were made from, which is what edge and engine know; what
//! changes are its terms: how many there are, by which ways they are reached, and the timing of what comes later.

use std::{collections::BTreeMap, net::SocketAddr};

use hornero_model::{
    Actor, EventBody, Keep, Millis, ReleaseNumber, RolloutPolicy, Route, ServiceName, ServiceSpec,
    Strategy, Timestamp,
};

use crate::{
    Facts, Leaving, RepairState, ServingSet, World,
    record::{Record, created, new_ids},
    repair_state,
    routes::concerns,
    rules::addresses,
};

/// The edge tries a listener again every second: a fault that is told for so long is none of an earlier attempt.
const FAULT_AGE: Millis = Millis(3_000);

/// Whether two specs of a service make the same servers. A field that is not named here makes another one.
pub fn makes_same_servers(one: &ServiceSpec, other: &ServiceSpec) -> bool {
    let server = |spec: &ServiceSpec| ServiceSpec {
        // For people, or following from the image.
        image_name: one.image_name.clone(),
        base: None,
        // Of the set as a whole, of the ways to it, and of what comes later.
        instances: 0,
        scale: None,
        routes: Vec::new(),
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(0),
            keep_warm: Millis(0),
            watch: Millis(0),
        },
        depends_on: Vec::new(),
        max_age: None,
        require_fresh_rollback: None,
        keep: Keep::default(),
        budget: None,
        guards: Vec::new(),
        labels: BTreeMap::new(),
        metrics: None,
        ..spec.clone()
    };
    server(one) == server(other)
}

/// Whether what serves of a service can go on under the terms of `spec`.
pub fn is_adjustment(world: &World, spec: &ServiceSpec) -> bool {
    let set = world.services.get(&spec.name).and_then(|service| service.serving.as_ref());
    let serving = set.and_then(|set| world.release(&spec.name, set.release));
    serving.is_some_and(|serving| makes_same_servers(&serving.spec, spec))
}

/// Lets a set serve on by the terms of release `to`, and makes what it lacks by them.
pub(crate) fn begin(
    world: &World,
    spec: &ServiceSpec,
    to: ReleaseNumber,
    by: &Actor,
    tail: &mut dyn FnMut() -> String,
) -> Vec<Record> {
    let name = &spec.name;
    let body = EventBody::ServiceAdjusted { service: name.clone(), release: to };
    let mut records = vec![Record::Event(by.clone(), body)];
    let service = &world.services[name];
    let Some(set) = &service.serving else { return records };
    let lacks = (service.size_by(spec) as usize).saturating_sub(set.instances.len());
    let fresh = new_ids(world, name, set.release, lacks, tail).into_iter();
    records.extend(fresh.map(|id| created(by, name, set.release, id)));
    records
}

/// The event that takes an adjustment back; none where none is under way.
pub fn take_back(world: &World, service: &ServiceName, by: Actor) -> Option<Record> {
    let leaving = world.services.get(service)?.serving.as_ref()?.leaving?;
    let body = EventBody::ServiceAdjusted { service: service.clone(), release: leaving.release };
    Some(Record::Event(by, body))
}

/// Ends an adjustment: its release is proven once the set is as its terms say and its ways in are open; where they can't
/// be, or the set can't be made whole, the terms from before hold again.
pub(crate) fn settle(world: &World, facts: &Facts, service: &ServiceName) -> Option<Record> {
    let of = &world.services[service];
    let set = of.serving.as_ref()?;
    let leaving = set.leaving?;
    if world.rollout_of(service).is_some() {
        return None;
    }
    let state = repair_state(world, facts, service);
    if let Some(reason) = failure(world, facts, service, set, state) {
        return take_back(world, service, Actor::hornero(reason));
    }
    let wanted = world.serving_size(service) as usize;
    let whole = state == Some(RepairState::Whole) && set.instances.len() == wanted;
    let watched = due(world, service, set).is_none_or(|due| facts.now >= due);
    (whole && watched && is_open(world, facts, service, set, leaving)).then(|| {
        let body = EventBody::ReleaseProven { service: service.clone(), release: set.terms };
        Record::Event(Actor::hornero("its servers serve by its terms"), body)
    })
}

/// When an adjustment has to be looked at again.
pub(crate) fn wake(world: &World, service: &ServiceName) -> Vec<Timestamp> {
    let set = world.services.get(service).and_then(|of| of.serving.as_ref());
    let Some((set, leaving)) = set.and_then(|set| Some((set, set.leaving?))) else {
        return Vec::new();
    };
    let due = due(world, service, set);
    due.into_iter().chain([leaving.since.after(FAULT_AGE)]).collect()
}

/// When servers that are not proven yet have been watched for long enough.
fn due(world: &World, service: &ServiceName, set: &ServingSet) -> Option<Timestamp> {
    let of = &world.services[service];
    if of.proven.contains(&set.leaving?.release) {
        return None;
    }
    let since = set.instances.iter().filter_map(|id| Some(world.instances.get(id)?.since)).max()?;
    let watch = of.releases.get(&set.terms)?.spec.rollout.watch;
    Some(since.max(of.last_failure.unwrap_or_default()).after(watch))
}

fn failure(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
    set: &ServingSet,
    state: Option<RepairState>,
) -> Option<String> {
    if let Some(reason) = facts.unadjusted.get(service) {
        return Some(reason.clone());
    }
    if let Some(RepairState::GaveUp { failures }) = state {
        return Some(format!("`{service}` failed {failures} times in a row while it was adjusted"));
    }
    let wanted = world.serving_size(service) as usize;
    if state == Some(RepairState::Held) && set.instances.len() < wanted {
        return Some(format!("nothing of `{service}` is made until `hornero resume {service}`"));
    }
    let leaving = set.leaving?;
    let table = facts.in_force.as_ref();
    let seen = table.is_some_and(|table| table.at >= leaving.since)
        || facts.now >= leaving.since.after(FAULT_AGE);
    let before = ways(world, service, leaving.release);
    let brought: Vec<Way<'_>> =
        ways(world, service, set.terms).into_iter().filter(|way| !before.contains(way)).collect();
    let faults = facts.edge.iter().flat_map(|edge| &edge.faults);
    let fault = faults.into_iter().find(|fault| {
        let is_at_fault = |(address, route): &Way<'_>| {
            *address == fault.address && concerns(fault, route.tls.as_ref())
        };
        seen && !fault.serves && brought.iter().any(is_at_fault)
    })?;
    Some(format!("the edge can't serve `{}`: {}", fault.address, fault.reason))
}

/// Whether a table is in force, made since, that has every way in.
fn is_open(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
    set: &ServingSet,
    leaving: Leaving,
) -> bool {
    let before = ways(world, service, leaving.release);
    let brought = ways(world, service, set.terms);
    let mut brought = brought.into_iter().filter(|way| !before.contains(way)).peekable();
    if brought.peek().is_none() {
        return true;
    }
    let (Some(in_force), Some(edge)) = (&facts.in_force, &facts.edge) else { return false };
    if !facts.unsettled.is_empty() {
        return false;
    }
    let listens = |address: SocketAddr| {
        in_force.table.listeners.iter().any(|listener| listener.address == address)
    };
    edge.generation >= in_force.table.generation && brought.all(|(address, _)| listens(address))
}

type Way<'a> = (SocketAddr, &'a Route);

/// Where the edge listens by a release, and for what.
fn ways<'a>(world: &'a World, service: &ServiceName, number: ReleaseNumber) -> Vec<Way<'a>> {
    let release = world.release(service, number);
    let routes = release.into_iter().flat_map(|release| &release.spec.routes);
    routes.flat_map(|route| addresses(route).into_iter().map(move |at| (at, route))).collect()
}
