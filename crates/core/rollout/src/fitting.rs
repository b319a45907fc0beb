//! How a release comes into the room that there is: as a whole, in batches, or not; and what makes way for it.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, Batched, InstanceId, InstanceState, ReleaseNumber, ServiceName, ServiceSpec, Strategy,
    Timestamp,
};

use crate::{
    Facts, Instance, Kind, NoRoom, Record, Space, World, is_adjustment,
    record::changed,
    room::{by_limit, is_gone, leave_allowance, room_for_more, servers, sum},
};

/// What is done about servers that are in the way of those that are to come.
#[derive(Debug, Clone, PartialEq)]
pub enum MakingWay {
    /// Nothing is in the way.
    Free,
    /// Servers are on their way out; they are waited for.
    Waits,
    /// A set that is kept warm makes room.
    Ends(Vec<Record>),
}

/// How the servers of a rollout can come that lacks `missing` of them: at once, or in batches. A canary is judged as a whole
/// set, and what nothing serves beside needs all of its servers: they come at once or not at all.
pub(crate) fn fit(
    world: &World,
    facts: &Facts,
    kind: Kind,
    spec: &ServiceSpec,
    missing: u32,
) -> Result<Option<Batched>, NoRoom> {
    let serves = world.services.get(&spec.name).is_some_and(|of| of.serving.is_some());
    let judged = kind == Kind::Forward && !spec.ports.is_empty();
    let size = world.size_of(spec);
    let (wanted, whole) = match &spec.rollout.strategy {
        Strategy::Replace(_) if serves => return fit_in_place(world, facts, spec).map(|()| None),
        Strategy::Rolling(policy) if serves => (missing.min(policy.surge(size)), false),
        Strategy::Canary(_) if serves => (missing, judged),
        Strategy::Replace(_) | Strategy::Rolling(_) | Strategy::Canary(_) | Strategy::BlueGreen => {
            (missing, !serves)
        }
    };
    let Some(space) = Space::of(world, facts, spec).filter(|space| space.holds() < wanted) else {
        return Ok(None);
    };
    let at_once = space.holds();
    if whole || at_once == 0 {
        let count = servers(if whole { wanted } else { 1 });
        let beside = if serves { " beside those that serve" } else { "" };
        let missing = format!("{count}{beside}");
        return Err(NoRoom { service: spec.name.clone(), missing, space });
    }
    let all = servers(size);
    let reason = format!("there is room for {at_once} of {all} at a time: {space}");
    Ok(Some(Batched { at_once, reason }))
}

/// How a release with this spec could come now, whose number would be `terms`.
pub fn foresee(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    terms: ReleaseNumber,
) -> Result<Option<Batched>, NoRoom> {
    let service = world.services.get(&spec.name);
    if is_adjustment(world, spec) {
        let set = service.and_then(|of| of.serving.as_ref());
        let runs = set.map_or(0, |set| u32::try_from(set.instances.len()).unwrap_or(u32::MAX));
        let size = service.map_or(spec.instances, |service| service.size_by(spec));
        return room_for_more(world, facts, spec, size.saturating_sub(runs)).map(|()| None);
    }
    let proven = service.is_some_and(|of| of.proven.contains(&terms));
    let kind = if proven { Kind::Rollback } else { Kind::Forward };
    let reused = u32::try_from(reused(world, facts, spec, terms).len()).unwrap_or(u32::MAX);
    fit(world, facts, kind, spec, world.size_of(spec).saturating_sub(reused))
}

/// The same once what is kept warm or leaves has made way, as far as that is counted by a limit.
pub fn foresee_in_time(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    terms: ReleaseNumber,
) -> Result<Option<Batched>, NoRoom> {
    let mut cleared = world.clone();
    loop {
        let foreseen = foresee(&cleared, facts, spec, terms);
        let concerned = in_the_way(&cleared, spec, &foreseen);
        let mut moved = false;
        for name in concerned {
            let service = cleared.services.get_mut(&name).expect("it is one of them");
            let own = name == spec.name;
            let warm = service.warm.take_if(|warm| !own || warm.terms != terms);
            let kept: BTreeSet<InstanceId> = cleared.kept(&name).into_iter().cloned().collect();
            let own = cleared.instances.of(&name).map(|instance| instance.id.clone());
            let left: Vec<InstanceId> = own.filter(|id| !kept.contains(id)).collect();
            left.iter().for_each(|id| cleared.instances.remove(id));
            moved |= warm.is_some() || !left.is_empty();
        }
        if !moved {
            return foreseen;
        }
    }
}

/// The services whose servers make way: the rollout's own, and where it would be refused all of which nothing is on its way.
fn in_the_way(
    world: &World,
    spec: &ServiceSpec,
    foreseen: &Result<Option<Batched>, NoRoom>,
) -> Vec<ServiceName> {
    let all = match foreseen {
        Ok(None) => return Vec::new(),
        Ok(Some(_)) => false,
        Err(_) => true,
    };
    let idle = |name: &&ServiceName| world.rollout_of(name).is_none();
    let concerned = world.services.keys().filter(|name| all || **name == spec.name);
    concerned.filter(idle).cloned().collect()
}

/// What is done before a rollout to `terms` begins for which there is too little room: what is kept warm of another release
/// ends, of other services only where it would be refused, and what is on its way out is waited for.
pub fn make_way(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    terms: ReleaseNumber,
) -> MakingWay {
    let name = &spec.name;
    let concerned = in_the_way(world, spec, &foresee(world, facts, spec, terms));
    let services = || concerned.iter().filter_map(|name| world.services.get(name));
    let warm = services().filter_map(|of| Some((of, of.warm.as_ref()?)));
    let warm = warm.filter(|(of, warm)| of.name != *name || warm.terms != terms);
    // Its own first, then what ends the earliest anyway.
    if let Some((_, warm)) = warm.min_by_key(|(of, warm)| (of.name != *name, warm.until)) {
        let by = Actor::hornero(format!("it makes room for `{name}@{terms}`"));
        let ends = warm.instances.iter().filter_map(|id| world.instances.get(id));
        return MakingWay::Ends(
            ends.map(|of| changed(&by, of, InstanceState::Draining, None)).collect(),
        );
    }
    let kept: BTreeSet<&InstanceId> = concerned.iter().flat_map(|of| world.kept(of)).collect();
    let leaves = |of: &&Instance| {
        concerned.contains(&of.service) && !kept.contains(&of.id) && !is_gone(facts, of)
    };
    let in_time = |of: &Instance| facts.now < leave_by(world, of);
    let waits = world.instances.values().filter(leaves).any(in_time);
    if waits { MakingWay::Waits } else { MakingWay::Free }
}

/// Until when an instance that leaves is waited for.
fn leave_by(world: &World, instance: &Instance) -> Timestamp {
    let terms = world.terms(&instance.service, instance.release);
    let drain = world.release(&instance.service, terms).map(|of| of.spec.rollout.drain_timeout);
    let grace = world.spec_of(&instance.id).map(ServiceSpec::stop_grace);
    instance.since.after(leave_allowance(drain.unwrap_or_default(), grace.unwrap_or_default()))
}

/// Whether servers that take the place of those that serve fit into the room that these leave. What the host has left is
/// known only then.
fn fit_in_place(world: &World, facts: &Facts, spec: &ServiceSpec) -> Result<(), NoRoom> {
    let Some((room, limit)) = facts.room.and_then(|room| Some((room, room.limit_bytes?))) else {
        return Ok(());
    };
    let own = sum(world, facts, |of| of.service == spec.name);
    let free_bytes = by_limit(world, facts, room).saturating_add(own).min(limit);
    let need_bytes = spec.resources.memory_bytes;
    let space = Space { free_bytes, need_bytes, limit_bytes: Some(limit) };
    let size = world.size_of(spec);
    if space.holds() >= size {
        return Ok(());
    }
    let missing = format!("{} in the place of those that serve", servers(size));
    Err(NoRoom { service: spec.name.clone(), missing, space })
}

/// Whether the servers of a release come only when those that serve are gone.
pub(crate) fn is_in_place(world: &World, spec: &ServiceSpec) -> bool {
    let serves = world.services.get(&spec.name).is_some_and(|of| of.serving.is_some());
    serves && matches!(spec.rollout.strategy, Strategy::Replace(_))
}

/// What still runs of a release and is healthy is used; the rest is made anew. Where a server can't run beside another, none
/// that was kept may come to it.
pub(crate) fn reused(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    terms: ReleaseNumber,
) -> BTreeSet<InstanceId> {
    let warm = world.services.get(&spec.name).and_then(|of| of.warm.as_ref());
    let warm = warm.filter(|warm| warm.terms == terms && !is_in_place(world, spec));
    let healthy = warm.into_iter().flat_map(|warm| &warm.instances);
    let healthy = healthy.filter(|id| facts.healthy(world, id));
    healthy.take(world.size_of(spec) as usize).cloned().collect()
}
