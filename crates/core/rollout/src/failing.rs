//! How instances fail: at their start, and later.

use hornero_model::{ExitCause, InstanceId, InstanceState, Millis, Timestamp};

use crate::planted::{Bug, planted};
use crate::{Facts, RolloutFailure, World, leases};

/// How long an instance may take from the decision to a running command, or its start without going on, beyond which it
/// counts as failed: slow hosts verify a large image for minutes, a hung start does not hold a rollout for ever.
pub(crate) const START_ALLOWANCE: Millis = Millis(60_000);
/// How long what runs is waited for, at least, while no edge tells how it is: an edge that can't be reached, or that has not
/// got its table yet, says nothing of a release. One that died is started again within seconds; two minutes are time for
/// somebody to look at one that hangs.
pub const UNHEARD_ALLOWANCE: Millis = Millis(120_000);
/// Start timeout of an instance whose service declares no health contract; it is healthy once it runs.
const DEFAULT_START_TIMEOUT: Millis = Millis(60_000);

/// When an instance that shall become healthy is given up.
pub(crate) fn start_deadline(
    world: &World,
    facts: &Facts,
    id: &InstanceId,
    decided: Timestamp,
) -> Timestamp {
    let timeout = world
        .spec_of(id)
        .and_then(|spec| spec.health.as_ref())
        .map_or(DEFAULT_START_TIMEOUT, |health| health.start_timeout);
    match facts.running.get(id) {
        Some(running) => {
            let since = running.since.max(decided).max(facts.heard_since());
            let allowed =
                if is_heard_of(facts, id) { timeout } else { timeout.max(UNHEARD_ALLOWANCE) };
            since.after(allowed)
        }
        None => {
            let went_on = facts.starting.get(id).copied().unwrap_or_default();
            went_on.max(decided).after(START_ALLOWANCE)
        }
    }
}

/// Why an instance on its way up has failed, if it has.
pub(crate) fn start_failure(
    world: &World,
    facts: &Facts,
    id: &InstanceId,
    decided: Timestamp,
) -> Option<RolloutFailure> {
    if let Some(failure) = ended(world, facts, id) {
        return Some(failure);
    }
    if facts.healthy(world, id) || facts.now < start_deadline(world, facts, id, decided) {
        return None;
    }
    let runs = facts.running.contains_key(id);
    let reason = if runs { unhealthy(facts, id) } else { unstarted(world, facts, id) };
    // One that was not even started says nothing of its release, nor does one of which no edge told how it is.
    let of_release = runs && is_heard_of(facts, id);
    Some(RolloutFailure { instance: Some(id.clone()), of_release, ..RolloutFailure::of(reason) })
}

/// Whether the edges tell how one is, be it that they have not checked it yet.
fn is_heard_of(facts: &Facts, id: &InstanceId) -> bool {
    planted(Bug::BlamesReleasesForEdges) || facts.edge.is_some() && facts.healths.contains_key(id)
}

/// What is said of one that runs and was not found healthy in its time.
fn unhealthy(facts: &Facts, id: &InstanceId) -> String {
    let Some(edge) = &facts.edge else {
        return format!(
            "instance `{id}` runs, but {} could not be reached within {UNHEARD_ALLOWANCE} to tell how it is",
            facts.laggards()
        );
    };
    match edge.backends.iter().find(|backend| backend.instance == *id) {
        Some(backend) => {
            let seen = backend.last_error.as_deref().unwrap_or("the edge has not checked it");
            format!("instance `{id}` did not become healthy in time: {seen}")
        }
        None => format!(
            "instance `{id}` runs, but {} did not take it into its table within {UNHEARD_ALLOWANCE}",
            facts.laggards()
        ),
    }
}

/// What is said of one that does not run in its time.
fn unstarted(world: &World, facts: &Facts, id: &InstanceId) -> String {
    match (facts.starting.get(id), leases::waits_for(world, id)) {
        (_, Some((volume, holder))) => format!(
            "instance `{id}` was not started: volume `{volume}` is held by `{holder}`, of which something is left"
        ),
        (Some(_), None) => {
            format!("the start of instance `{id}` did not go on within {START_ALLOWANCE}")
        }
        (None, None) => format!("instance `{id}` was not started within {START_ALLOWANCE}"),
    }
}

/// Whether a command ended by itself, rather than with its host, its shim, or before it began.
pub(crate) const fn of_command(cause: &ExitCause) -> bool {
    match cause {
        ExitCause::Code(_) | ExitCause::Signal(_) | ExitCause::OutOfMemory => true,
        ExitCause::NotStarted(_) | ExitCause::Unknown | ExitCause::HostRestarted => false,
    }
}

/// How an instance ended, if it did.
pub(crate) fn ended(world: &World, facts: &Facts, id: &InstanceId) -> Option<RolloutFailure> {
    if let Some(exit) = facts.exited.get(id) {
        return Some(RolloutFailure {
            reason: format!("instance `{id}` {}", exit.cause),
            instance: Some(id.clone()),
            cause: Some(exit.cause.clone()),
            log_tail: exit.log_tail.clone(),
            refused: None,
            of_release: of_command(&exit.cause),
        });
    }
    let gone = match world.instances.get(id) {
        None => true,
        Some(instance) => {
            matches!(instance.state, InstanceState::Failed | InstanceState::Stopped)
                || facts.stopped.contains(id)
        }
    };
    gone.then(|| RolloutFailure {
        instance: Some(id.clone()),
        ..RolloutFailure::of(format!("instance `{id}` is gone"))
    })
}

/// How long an instance may be unhealthy before a replacement is made: longer than a reload or a short overload.
pub(crate) const PATIENCE: Millis = Millis(5_000);
