//! How long each phase of a rollout may take, and the moments at which time alone moves one on.

use hornero_model::{Millis, ServiceName, Timestamp};

use crate::{
    Facts, OpenRun, Phase, Rollout, World, canary,
    failing::start_deadline,
    migrating,
    one_off::ending,
    replacing, rolling,
    switch::{RESTORE_ALLOWANCE, SWITCH_ALLOWANCE},
    view::CUT_ALLOWANCE,
};

/// How long stopping an undone set may hold up the answer; it goes on behind it.
pub(crate) const UNDO_ALLOWANCE: Millis = Millis(60_000);
/// How long the edge may leave it open whether it did what it was told, beyond the time that a phase takes anyway. Only
/// counted while this process looks on; an edge that died is started again within seconds.
pub(crate) const CONFIRM_ALLOWANCE: Millis = Millis(120_000);
/// How long the edge may take for a service that is taken down by force; its servers end after that whatever it says.
pub(crate) const FORCE_ALLOWANCE: Millis = Millis(10_000);
/// How long a removal may wait for instances to end before it goes on without them.
pub(crate) const EMPTY_ALLOWANCE: Millis = Millis(120_000);
/// How long a new set may take altogether: its instances have a bound of their own, and a run of tests may take two hours.
pub(crate) const PREPARE_ALLOWANCE: Millis = Millis(9_000_000);
/// How long a way back may wait for a healthy instance to go back to.
pub(crate) const RETURN_ALLOWANCE: Millis = Millis(120_000);

/// Moments at which time alone may move a rollout on.
pub(crate) fn times(rollout: &Rollout, world: &World, facts: &Facts) -> Vec<Timestamp> {
    let Some(release) = world.release(&rollout.service, rollout.to_terms()) else {
        return Vec::new();
    };
    let policy = &release.spec.rollout;
    let since = rollout.since;
    // As `View::lasted` counts.
    let watched = since.max(facts.begun);
    let drained = watched.after(plus(policy.drain_timeout, CONFIRM_ALLOWANCE));
    if let Some(paused) = &rollout.paused {
        return vec![paused.until];
    }
    match rollout.phase {
        Phase::Expanding => migrating::times(world, rollout, watched),
        Phase::Preparing => {
            let deadline = |id| start_deadline(world, facts, id, since);
            let late = watched.after(PREPARE_ALLOWANCE);
            rollout.set.iter().map(deadline).chain([late]).collect()
        }
        Phase::Canary => canary::times(world, rollout, watched),
        Phase::Rolling => rolling::times(world, facts, rollout),
        Phase::Replacing => replacing::times(world, facts, rollout),
        Phase::Switching => vec![since.after(SWITCH_ALLOWANCE)],
        Phase::Watching => {
            let late = watched.after(plus(policy.watch, CONFIRM_ALLOWANCE));
            vec![since.after(policy.watch), late]
        }
        Phase::Draining | Phase::Clearing => {
            let begun = rollout.returned.or(rollout.switch).map_or(since, |switch| switch.at);
            vec![begun.after(policy.drain_timeout), since.after(CUT_ALLOWANCE), drained]
        }
        Phase::Undoing => {
            let runs = ending(world, &rollout.service).map(OpenRun::due);
            runs.chain([since.after(UNDO_ALLOWANCE)]).collect()
        }
        Phase::Returning => {
            vec![since.after(RETURN_ALLOWANCE), watched.after(RESTORE_ALLOWANCE)]
        }
        Phase::Closing => {
            let late =
                [FORCE_ALLOWANCE, CONFIRM_ALLOWANCE].map(|allowance| watched.after(allowance));
            let closed = closed_at(world, rollout, facts);
            let drained = [closed.after(policy.drain_timeout), since.after(CUT_ALLOWANCE)];
            drained.into_iter().chain(late).collect()
        }
        Phase::Emptying => vec![watched.after(empty_allowance(world, &rollout.service))],
        Phase::Finished | Phase::Failed | Phase::RolledBack | Phase::Removed => Vec::new(),
    }
}

/// When the ways into a service that goes down were closed: its requests have as long as a drain takes from then on. Every
/// server of it counts, since one of a rollout that failed may have got requests that nobody confirmed.
pub(crate) fn closed_at(world: &World, rollout: &Rollout, facts: &Facts) -> Timestamp {
    let own = world.instances.of(&rollout.service);
    let left = own.filter_map(|instance| facts.left_at(&instance.id));
    left.fold(rollout.since, Timestamp::max)
}

/// How long a removal waits for the instances and runs of `service`, which may take as long as their releases say.
pub(crate) fn empty_allowance(world: &World, service: &ServiceName) -> Millis {
    let instances = world.instances.of(service);
    let graces = instances.filter_map(|instance| world.spec_of(&instance.id)?.stop_grace);
    let of_runs = ending(world, service).map(|open| open.run.stop_grace);
    let longest = graces.chain(of_runs).map(|grace| grace.0).max().unwrap_or_default();
    plus(EMPTY_ALLOWANCE, Millis(longest))
}

/// One span after another.
pub(crate) fn plus(first: Millis, second: Millis) -> Millis {
    Millis(first.0.saturating_add(second.0))
}
