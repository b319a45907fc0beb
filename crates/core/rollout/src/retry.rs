//! When an effect that failed, was refused or got no answer is asked for again, and when it is given up.

use hornero_model::{ExitCause, InstanceId, Millis};

use crate::planted::{Bug, planted};
use crate::{EffectKey, Facts, RolloutFailure, Service, World};

/// The first delay before a failed effect is tried again; doubled by every further failure.
const FIRST_MS: u64 = 100;
/// The longest delay before a failed effect is tried again.
const LAST_MS: u64 = 10_000;
/// How long a refused effect waits before the facts are looked at again.
pub const REFUSED_RETRY: Millis = Millis(1_000);
/// After this an answer counts as lost and the effect is asked for again; it is longer than any effect but a test
/// run takes, and doing it twice is as doing it once.
const ANSWER_ALLOWANCE: Millis = Millis(180_000);
/// The same for what the edge is asked for, which has thirty seconds to answer: until this is over no other table goes to
/// it, and a way back waits for that.
const EDGE_ALLOWANCE: Millis = Millis(40_000);
/// The same for a run of tests, whose own time limits come first.
const TESTS_ALLOWANCE: Millis = Millis(7_200_000);
/// The same for guards: a command has an hour at most (`within`), and its server starts and ends beyond that.
const GUARDS_ALLOWANCE: Millis = Millis(4_200_000);
/// After this a start is asked for once more, from its last news on, though its answer may still come: an instance is given up
/// that does not run within `START_ALLOWANCE`, and nothing is gained by asking after that. One that is merely slow is done
/// once: the second start of an instance waits for the first, and tells nothing meanwhile, so that it renews nobody's time.
const START_REPEAT: Millis = Millis(10_000);
/// Tries of snapshots, and of putting them back, for which somebody waits who is not served.
const SNAPSHOT_TRIES: u32 = 3;
/// Tries of a route table before the rollouts that wait for it are undone: one may meet an edge that restarts.
const ROUTE_TRIES: u32 = 3;

/// How long an effect that failed `tries` times waits for its next try.
pub fn retry_delay(tries: u32) -> Millis {
    Millis((FIRST_MS << tries.saturating_sub(1).min(16)).min(LAST_MS))
}

/// How long an effect has to be answered.
pub fn answer_allowance(key: &EffectKey) -> Millis {
    match key {
        EffectKey::Tests(_) => TESTS_ALLOWANCE,
        EffectKey::Guards(_) => GUARDS_ALLOWANCE,
        EffectKey::Routes(_) | EffectKey::Cut(..) => EDGE_ALLOWANCE,
        EffectKey::Start(_)
        | EffectKey::Stop(_)
        | EffectKey::Remove(_)
        | EffectKey::Freeze(_)
        | EffectKey::Run(_)
        | EffectKey::EndRun(_)
        | EffectKey::Snapshots(_)
        | EffectKey::Restore(_)
        | EffectKey::Address(..) => ANSWER_ALLOWANCE,
    }
}

/// How long an effect that got no answer waits until it is asked for once more. Until [`answer_allowance`] is over it may still be
/// done, and nothing that must not meet it is asked for.
pub fn repeat_allowance(key: &EffectKey) -> Millis {
    match key {
        EffectKey::Start(_) if planted(Bug::AsksForStartsOnce) => ANSWER_ALLOWANCE,
        EffectKey::Start(_) => START_REPEAT,
        EffectKey::Stop(_)
        | EffectKey::Remove(_)
        | EffectKey::Freeze(_)
        | EffectKey::Tests(_)
        | EffectKey::Run(_)
        | EffectKey::EndRun(_)
        | EffectKey::Guards(_)
        | EffectKey::Snapshots(_)
        | EffectKey::Restore(_)
        | EffectKey::Routes(_)
        | EffectKey::Cut(..)
        | EffectKey::Address(..) => answer_allowance(key),
    }
}

/// What follows from an effect that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterFailure {
    /// It is tried again.
    Again,
    /// It is given up: what waits for it was halted.
    GivenUp,
    /// Its instance did not start; ids are not used twice.
    NotStarted(InstanceId, ExitCause),
}

/// Decides what follows from an effect that has now failed `tries` times, and halts the rollouts that can't go on without
/// it. One that removes something is tried for ever: nothing else would take it away; so is an address.
pub fn failed(
    world: &World,
    facts: &mut Facts,
    key: &EffectKey,
    tries: u32,
    reason: String,
) -> AfterFailure {
    match key {
        EffectKey::Start(instance) => {
            AfterFailure::NotStarted(instance.clone(), ExitCause::NotStarted(reason))
        }
        EffectKey::Tests(image) => {
            let failure = RolloutFailure::of(format!(
                "the tests of image `{}` could not be run: {reason}",
                image.short()
            ));
            facts.halt(world, &failure, |rollout| {
                let release = world.release(&rollout.service, rollout.to);
                release.is_some_and(|release| release.spec.image == *image)
            });
            AfterFailure::GivenUp
        }
        EffectKey::Routes(edge) => {
            if tries >= ROUTE_TRIES {
                let who = match facts.edges.len() > 1 {
                    true => format!("edge `{}`", edge.edge),
                    false => "the edge".to_owned(),
                };
                let failure =
                    RolloutFailure::of(format!("{who} refused the route table: {reason}"));
                facts.halt(world, &failure, |_| true);
                let is_adjusted = |service: &&Service| {
                    service.serving.as_ref().is_some_and(|set| set.leaving.is_some())
                };
                let adjusted = world.services.values().filter(is_adjusted);
                let why = adjusted.map(|service| (service.name.clone(), failure.reason.clone()));
                facts.unadjusted.extend(why);
            }
            AfterFailure::Again
        }
        EffectKey::Snapshots(_) | EffectKey::Restore(_) if tries < SNAPSHOT_TRIES => {
            AfterFailure::Again
        }
        EffectKey::Snapshots(rollout) => {
            let failure = RolloutFailure::of(format!("no snapshot could be taken: {reason}"));
            facts.halt(world, &failure, |of| of.id == *rollout);
            AfterFailure::GivenUp
        }
        EffectKey::Restore(rollout) => {
            facts.restored.insert(*rollout, Err(reason));
            AfterFailure::GivenUp
        }
        // A service does without an address of its own until it has one: only calls by its name need it.
        EffectKey::Stop(_)
        | EffectKey::Remove(_)
        | EffectKey::Freeze(_)
        | EffectKey::Run(_)
        | EffectKey::EndRun(_)
        | EffectKey::Guards(_)
        | EffectKey::Cut(..)
        | EffectKey::Address(..) => AfterFailure::Again,
    }
}
