//! The moment at which traffic leaves one set for another: what it starts from, and what the way back waits for.

use hornero_model::{Millis, PoolProbe, Port, ReleaseNumber, ServiceName, Sticky, Strategy};

use crate::{Baseline, Facts, Phase, Rollout, World};

/// How long the edge may take to confirm a switch before the rollout goes back.
pub(crate) const SWITCH_ALLOWANCE: Millis = Millis(30_000);

/// How long the way back waits for the old set to be whole while the new servers answer beside it.
pub(crate) const RESTORE_ALLOWANCE: Millis = Millis(60_000);

/// The rollout as it enters the switch: what serves now is from here on the old set.
pub(crate) fn begin_switch(rollout: &Rollout, world: &World, facts: &Facts) -> Rollout {
    with_old(rollout, Phase::Switching, world, facts)
}

/// The rollout as it enters a phase with what serves now as its old set.
pub(crate) fn with_old(rollout: &Rollout, phase: Phase, world: &World, facts: &Facts) -> Rollout {
    let mut next = rollout.enter(phase, facts.now);
    let serving = world.services.get(&rollout.service).and_then(|of| of.serving.as_ref());
    next.leave(serving);
    next.old = serving.map(|set| set.instances.clone()).unwrap_or_default();
    let failed = |release: ReleaseNumber| {
        facts.edge.as_ref().map_or(0, |edge| edge.totals(&rollout.service, release).1)
    };
    next.baseline = Baseline {
        failed_from: next.from.map_or(0, failed),
        failed_to: failed(rollout.to),
        held: held(&next, facts),
    };
    next
}

/// Requests that waited before they were let in, as the edge has counted them by now.
pub(crate) fn held(rollout: &Rollout, facts: &Facts) -> u64 {
    let releases = rollout.from.into_iter().chain([rollout.to]);
    let edge = facts.edge.iter();
    edge.flat_map(|edge| releases.clone().map(|of| edge.held(&rollout.service, of))).sum()
}

/// Whether the new servers of a rolling rollout on its way back are needed until the old set is whole again.
pub(crate) fn restores(world: &World, facts: &Facts, rollout: &Rollout) -> bool {
    let serving = world.services.get(&rollout.service).and_then(|of| of.serving.as_ref());
    let wanted = rollout.from_terms().and_then(|from| world.release(&rollout.service, from));
    let (Some(set), Some(_)) = (serving, wanted) else { return false };
    let wanted = world.serving_size(&rollout.service);
    let healthy = set.instances.iter().filter(|id| facts.healthy(world, id)).count();
    let in_time = facts.now < rollout.since.max(facts.begun).after(RESTORE_ALLOWANCE);
    rollout.rolling.is_some() && in_time && healthy < wanted as usize
}

/// What the edge asks the two releases of a canary by itself, at a port of the service.
pub(crate) fn probe(world: &World, name: &ServiceName, port: &Port) -> Option<PoolProbe> {
    let rollout = world.rollout_of(name).filter(|of| of.phase == Phase::Canary)?;
    let Strategy::Canary(policy) = &world.release(name, rollout.to)?.spec.rollout.strategy else {
        return None;
    };
    let probe = policy.probe.as_ref()?;
    let is_asked = probe.port.as_ref().is_none_or(|asked| *asked == port.name);
    (is_asked && port.speaks_http1())
        .then(|| PoolProbe { path: probe.path.clone(), interval: probe.interval })
}

/// By what requests stick to one of two releases that share them: as the release says that comes.
pub(crate) fn sticky(world: &World, name: &ServiceName) -> Option<Sticky> {
    // On the way back, too, while nothing that it goes back to is healthy.
    let shares = |of: &&Rollout| {
        of.phase == Phase::Canary || of.phase == Phase::Returning && of.canary.is_some()
    };
    let rollout = world.rollout_of(name).filter(shares)?;
    match &world.release(name, rollout.to)?.spec.rollout.strategy {
        Strategy::Canary(policy) => policy.sticky.clone(),
        Strategy::BlueGreen | Strategy::Rolling(_) | Strategy::Replace(_) => None,
    }
}
