//! The effects that the recorded world asks for. Nothing is asked for that is not in the ledger before.

use hornero_model::{
    EdgeStatus, Health, InstanceId, InstanceState, Millis, ReleaseNumber, RouteTable, STOP_GRACE,
    ServiceName, ServiceSpec, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    Attention, Effect, Facts, Instance, Kind, KnownEdge, Phase, RollingStage, World, adjust, glass,
    guarding, leases, listeners, migrating, one_off, preserving, previews, quarantine, quiescing,
    recycle, repair, rounds, routes::has_way_back, times,
};

/// Every effect that is still to be done, by the world as recorded and the facts as seen. Level, not edge: what is
/// done disappears from the answer, what failed or was lost with the process stays in it.
pub fn wanted(world: &World, facts: &Facts, attention: &mut Attention) -> Vec<Effect> {
    let mut effects = Vec::new();
    attention.renew_table(world, facts);
    let attention = &*attention;
    effects.extend(routes(world, facts, attention));
    for name in attention.services(world) {
        effects.extend(address(world, facts, name));
        effects.extend(guarding::surplus_work(world, facts, name));
        let kept = world.kept(name);
        let here = |of: &&Instance| of.region == facts.region;
        for instance in world.instances.of(name).filter(here) {
            if kept.contains(&instance.id) && !facts.exited.contains_key(&instance.id) {
                effects.extend(start(world, facts, &instance.id));
            } else if quarantine::holds(world, facts, instance) {
                let due =
                    ended_requests(world, facts, instance) && !glass::is_entered(facts, instance);
                effects.extend(due.then(|| quarantine::freeze(facts, instance)).flatten());
            } else if glass::holds(world, facts, instance) {
                // Whoever is in it may be there until their time is up.
            } else if facts.forced.contains(name) || ended_requests(world, facts, instance) {
                effects.extend(end(world, facts, &instance.id, facts.forced.contains(name)));
            }
        }
    }
    // What the engine has and the ledger does not know of is nobody's.
    for id in attention.strangers(world, facts) {
        if !planted(Bug::LeavesStrangers) {
            effects.extend(end(world, facts, id, false));
        }
    }
    // Nor is an address of what is gone.
    let strange = attention.busy().iter().filter(|name| !world.services.contains_key(*name));
    let strange = strange.filter_map(|name| Some((name, facts.addresses.get(name)?)));
    let free = strange.filter(|(_, address)| !facts.listened_on(**address));
    effects.extend(free.map(|(name, _)| Effect::TakeAddress {
        region: facts.region.clone(),
        service: name.clone(),
    }));
    for rollout in world.rollouts.values() {
        effects.extend(tests(world, facts, rollout));
        effects.extend(cuts(world, facts, rollout));
        effects.extend(guarding::work(world, facts, rollout));
        effects.extend(quiescing::work(world, facts, rollout));
        effects.extend(preserving::work(world, facts, rollout));
    }
    effects.extend(migrating::work(world, facts));
    effects.extend(one_off::ends(world, facts));
    effects
}

/// A service has an address of its own from when it is known until nothing of it is left. Taking one back is brought to its
/// end also where the service came back meanwhile, which then gets one anew.
fn address(world: &World, facts: &Facts, name: &ServiceName) -> Option<Effect> {
    let (region, service) = (facts.region.clone(), name.clone());
    let is_gone = world.is_over(name);
    match facts.addresses.get(name) {
        None if !is_gone => Some(Effect::GiveAddress { region, service }),
        Some(_) if facts.leaving_addresses.contains(name) => {
            Some(Effect::TakeAddress { region, service })
        }
        Some(address) if is_gone && !facts.listened_on(*address) => {
            Some(Effect::TakeAddress { region, service })
        }
        None | Some(_) => None,
    }
}

fn start(world: &World, facts: &Facts, id: &InstanceId) -> Option<Effect> {
    let instance = &world.instances[id];
    let begun = facts.running.contains_key(id) || facts.stopped.contains(id);
    if instance.state != InstanceState::Created || begun {
        return None;
    }
    let spec = Box::new(world.spec_of(id)?.clone());
    let mounts = leases::mounts(world, id)?;
    Some(Effect::StartInstance {
        region: facts.region.clone(),
        instance: id.clone(),
        release: instance.release,
        spec,
        mounts,
    })
}

/// Whether one that got requests and gets none any more may end: those in flight are counted by release, which may serve
/// on, so it gets as long as a drain takes, from when the edge was seen to send it none. So does a set that was left
/// because nothing of it was known to be healthy.
fn ended_requests(world: &World, facts: &Facts, instance: &Instance) -> bool {
    if planted(Bug::StopsUndrained)
        || !leaves(facts, instance)
        || !facts.running.contains_key(&instance.id)
    {
        return true;
    }
    let in_flight =
        facts.edge.as_ref().map_or(0, |edge| edge.totals(&instance.service, instance.release).0);
    in_flight == 0 || drained_at(world, facts, instance).is_some_and(|due| facts.now >= due)
}

/// Whether an instance that is to end may have requests: one that was ready, too, where the edge was given a table with it
/// and never said what became of that; and one that serves, where one of several edges may not have heard of its end.
fn leaves(facts: &Facts, instance: &Instance) -> bool {
    match instance.state {
        InstanceState::Ready | InstanceState::Draining | InstanceState::Stopped => true,
        InstanceState::Serving => facts.edges.len() > 1,
        InstanceState::Created
        | InstanceState::Starting
        | InstanceState::Probing
        | InstanceState::Failed
        | InstanceState::Archived => false,
    }
}

/// When the drain of an instance that leaves is over; none while it gets requests, or may.
fn drained_at(world: &World, facts: &Facts, instance: &Instance) -> Option<Timestamp> {
    let terms = world.terms(&instance.service, instance.release);
    let spec = &world.release(&instance.service, terms)?.spec;
    let left = facts.left_at(&instance.id)?.max(instance.since);
    Some(left.after(spec.rollout.drain_timeout))
}

/// Ends an instance once nothing is routed to it, or whatever is where its service is taken down by force.
fn end(world: &World, facts: &Facts, id: &InstanceId, forced: bool) -> Option<Effect> {
    if facts.removed.contains(id) || (facts.routed(id) && !forced && !planted(Bug::StopsRouted)) {
        return None;
    }
    let (region, instance) = (facts.region.clone(), id.clone());
    if facts.exited.contains_key(id) || facts.stopped.contains(id) {
        return Some(Effect::RemoveInstance { region, instance });
    }
    let grace = world.spec_of(id).map_or(STOP_GRACE, ServiceSpec::stop_grace);
    Some(Effect::StopInstance { region, instance, grace })
}

fn tests(world: &World, facts: &Facts, rollout: &crate::Rollout) -> Option<Effect> {
    let spec = &world.release(&rollout.service, rollout.to)?.spec;
    let due = matches!(rollout.phase, Phase::Expanding | Phase::Preparing)
        && rollout.kind == Kind::Forward
        && !world.image_passed(&spec.image)
        && !facts.tests.contains_key(&spec.image);
    due.then(|| Effect::RunTests {
        region: facts.region.clone(),
        image: spec.image,
        spec: Box::new(spec.clone()),
    })
}

fn cuts(world: &World, facts: &Facts, rollout: &crate::Rollout) -> Vec<Effect> {
    let (Some(edge), Some(in_force)) = (&facts.edge, &facts.in_force) else { return Vec::new() };
    let generation = in_force.table.generation;
    let releases = match (rollout.cut_off, rollout.phase) {
        (None, _) => return Vec::new(),
        (Some(_), Phase::Draining) => rollout.from.into_iter().collect(),
        (Some(_), Phase::Replacing) if rollout.replaces_forward() => {
            rollout.from.into_iter().collect()
        }
        (Some(_), Phase::Clearing | Phase::Replacing) => vec![rollout.to],
        (Some(_), Phase::Closing) => {
            let of = edge.counters.iter().filter(|of| world.counts(&rollout.service, of));
            let mut releases: Vec<_> = of.map(|of| of.release).collect();
            releases.sort_unstable();
            releases.dedup();
            releases
        }
        (Some(_), _) => return Vec::new(),
    };
    let has_some = |status: &EdgeStatus, release| status.totals(&rollout.service, release).0 > 0;
    let mut cuts = Vec::new();
    for (name, edge) in facts.counting(facts.now) {
        let status = edge.status.as_deref();
        let open = releases.iter().filter(|of| status.is_some_and(|status| has_some(status, **of)));
        let open = open.filter(|of| has_drained(world, facts, rollout, (edge, **of)));
        cuts.extend(open.map(|release| Effect::CutInFlight {
            edge: facts.edge_ref(name),
            service: rollout.service.clone(),
            release: *release,
            generation,
        }));
    }
    cuts
}

/// Whether the drain of a release is over at one of several edges, which may have followed later than the others.
fn has_drained(
    world: &World,
    facts: &Facts,
    rollout: &crate::Rollout,
    (edge, release): (&KnownEdge, ReleaseNumber),
) -> bool {
    if facts.edges.len() < 2 || facts.forced.contains(&rollout.service) {
        return true;
    }
    let policy = world.release(&rollout.service, rollout.to_terms()).map(|of| &of.spec.rollout);
    let drain = policy.map_or(Millis(0), |policy| policy.drain_timeout);
    let own = |of: &&Instance| of.release == release;
    let over =
        |of: &Instance| edge.left_at(&of.id).is_some_and(|left| facts.now >= left.after(drain));
    world.instances.of(&rollout.service).filter(own).all(over)
}

/// A route table where the one in force is not what the world asks for, or where another one may come to be: a newer one
/// in force is all that keeps that out.
fn routes(world: &World, facts: &Facts, attention: &Attention) -> Vec<Effect> {
    if facts.edge.is_none() {
        return Vec::new();
    }
    let table = attention.table(world, facts);
    if is_settled(facts, &table)
        || world.rollouts.values().any(|rollout| waits_for_health(world, facts, rollout))
    {
        return Vec::new();
    }
    rounds::next(facts, table)
}

/// Whether a table says what the one in force says, and no other one can come.
fn is_settled(facts: &Facts, table: &RouteTable) -> bool {
    let same = match &facts.in_force {
        Some(in_force) => in_force.table.says_same(table),
        None => facts.is_blank() && table.listeners.is_empty() && table.pools.is_empty(),
    };
    same && facts.unsettled.is_empty()
}

/// Whether the edge was seen to have in force what the world asks for, and no other table can come.
pub fn routes_settled(world: &World, facts: &Facts, attention: &mut Attention) -> bool {
    attention.renew_table(world, facts);
    facts.edge.is_some() && is_settled(facts, &attention.table(world, facts))
}

/// Whether a switch has to wait because a set's health is not known, as after a restart of edge or control.
fn waits_for_health(world: &World, facts: &Facts, rollout: &crate::Rollout) -> bool {
    let healthy = |id: &InstanceId| facts.healthy(world, id);
    let unknown = |id: &InstanceId| {
        facts.running.contains_key(id) && facts.health(world, id) == Health::Unknown
    };
    match rollout.phase {
        Phase::Canary | Phase::Switching => !rollout.set.iter().all(healthy),
        // Those of its next batch become healthy by being in the table.
        Phase::Rolling => {
            let shares = rollout.rolling.as_ref().map(|rolling| rolling.stage);
            shares == Some(RollingStage::Sharing) && !rollout.set.iter().all(healthy)
        }
        // Who answers decides whether the traffic may go back already.
        Phase::Returning if rollout.shared_out() && facts.in_force.is_none() => {
            !has_way_back(world, facts, rollout) && rollout.set.iter().any(unknown)
        }
        Phase::Expanding
        | Phase::Preparing
        | Phase::Replacing
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
pub fn wake(world: &World, facts: &Facts, attention: &Attention) -> Option<Timestamp> {
    let mut times = listeners::wake(world, facts);
    times.extend(facts.times());
    times.extend(previews::times(world));
    times.extend(attention.first_due());
    let leaving =
        |instance: &&Instance| leaves(facts, instance) && facts.running.contains_key(&instance.id);
    for name in attention.services(world) {
        times.extend(quarantine::times(world, name));
        times.extend(glass::times(world, name));
        times.extend(repair::wake(world, facts, name));
        times.extend(recycle::wake(world, facts, name));
        times.extend(adjust::wake(world, name));
        times.extend(migrating::wake(world, name));
        times.extend(world.services[name].warm.as_ref().map(|warm| warm.until));
        times.extend(guarding::surplus_time(world, facts, name));
        // What is kept serves on, whenever an edge last heard of it.
        let kept = world.kept(name);
        let gone = |instance: &&Instance| !kept.contains(&instance.id);
        let leaving = world.instances.of(name).filter(leaving).filter(gone);
        times.extend(leaving.filter_map(|instance| drained_at(world, facts, instance)));
    }
    times.extend(world.rollouts.values().flat_map(|rollout| times::times(rollout, world, facts)));
    times.extend(world.rollouts.values().flat_map(|of| guarding::times(world, facts, of)));
    times.into_iter().filter(|time| *time > facts.now).min()
}
