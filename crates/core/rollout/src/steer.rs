//! What people tell a rollout under way: to stay where it is, to go on, to take its next step.

use hornero_model::{Actor, EventBody, Intervention, Millis, Steer, Timestamp};

use crate::{Facts, Paused, Phase, Rollout, RolloutFailure, World, record::Record, view::View};

/// How long a rollout stays paused: over a night and a day off. After it the rollout is taken back, because what serves
/// is known to work, and two sets of servers should not be forgotten.
pub const PAUSE_LIMIT: Millis = Millis(72 * 3_600_000);
/// What may be done to one rollout: its state is written anew with each, and whoever needs more has a loop.
const INTERVENTIONS_MAX: usize = 100;

/// Does to a rollout what somebody asks for; or says why that can't be. An abort is a cancel, and none of this.
pub fn steer(
    world: &World,
    facts: &Facts,
    rollout: &Rollout,
    did: Steer,
    by: &Actor,
) -> Result<Record, String> {
    let view = View { rollout, world, facts };
    let name = format!("rollout {} of `{}`", rollout.id, rollout.service);
    if rollout.interventions.len() >= INTERVENTIONS_MAX {
        return Err(format!("{name} was paused, resumed and promoted {INTERVENTIONS_MAX} times"));
    }
    if facts.cancelled.contains_key(&rollout.id) || facts.halted.contains_key(&rollout.id) {
        return Err(format!("{name} is on its way back"));
    }
    if !rollout.phase.waits_for_people() {
        return Err(format!("{name} is {} and can't be {did} any more", rollout.phase.name()));
    }
    let mut next = match (did, &rollout.paused) {
        (Steer::Pause, Some(paused)) => {
            return Err(format!("{name} is paused already, by `{}`", paused.by.who));
        }
        (Steer::Pause, None) => {
            let mut next = rollout.clone();
            let (since, until) = (facts.now, facts.now.after(PAUSE_LIMIT));
            next.paused = Some(Paused { by: by.clone(), since, until });
            next
        }
        (Steer::Resume, None) => return Err(format!("{name} is not paused")),
        (Steer::Promote | Steer::PromoteFully, _) if rollout.phase == Phase::Canary => {
            let promoted = view.promoted(did == Steer::PromoteFully, by);
            promoted.ok_or_else(|| format!("{name} has no steps"))?
        }
        (Steer::Resume | Steer::Promote, Some(_)) => resumed(rollout, facts.now),
        (Steer::Promote | Steer::PromoteFully, _) => {
            return Err(format!("{name} is {}: it has no step to leave out", rollout.phase.name()));
        }
        (Steer::Abort, _) => return Err(format!("{name} is aborted by a cancel")),
    };
    let phase = rollout.phase.name();
    next.interventions.push(Intervention::of(did, by, phase, facts.now));
    let body = EventBody::RolloutStep { entry: Box::new(next.entry()) };
    Ok(Record::Event(by.clone(), body))
}

/// It goes on; what is timed in its phase gets its time anew.
fn resumed(rollout: &Rollout, now: Timestamp) -> Rollout {
    Rollout { paused: None, since: now, ..rollout.clone() }
}

impl View<'_> {
    /// That nobody did anything about a paused rollout for as long as it may stay.
    pub(crate) fn paused_for_too_long(&self) -> Option<RolloutFailure> {
        let paused = self.rollout.paused.as_ref().filter(|of| self.facts.now >= of.until)?;
        Some(RolloutFailure::of(format!(
            "it was paused by `{}`, and nobody resumed it within {PAUSE_LIMIT}",
            paused.by.who
        )))
    }
}
