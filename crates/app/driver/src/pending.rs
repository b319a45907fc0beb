//! Effects that were asked for and not answered yet.

use hornero_model::Timestamp;
use hornero_rollout::{Bug, Effect, EffectKey, answer_allowance, planted, retry_delay};

use crate::EffectId;

/// An effect that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: EffectId,
    pub effect: Effect,
    /// When its answer counts as lost.
    pub lost_at: Timestamp,
    pub tries: u32,
    /// Where it failed: when it is tried again.
    pub not_before: Option<Timestamp>,
}

/// A refusal that was recorded, so that it is recorded once.
pub(crate) type Refused = (EffectKey, &'static str);

impl Pending {
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.tries += 1;
        let delay = retry_delay(self.tries);
        self.not_before = Some(if planted(Bug::NeverTriesAgain) {
            Timestamp(u64::MAX)
        } else {
            now.after(delay)
        });
    }

    /// Takes news of an effect under way: its answer is not lost yet.
    pub(crate) fn goes_on(&mut self, now: Timestamp) {
        self.lost_at = self.lost_at.max(now.after(answer_allowance(&self.effect.key())));
    }

    pub(crate) fn waits(&self) -> bool {
        self.not_before.is_some()
    }

    pub(crate) fn in_flight(&self, now: Timestamp) -> bool {
        self.not_before.is_none() && (now < self.lost_at || planted(Bug::WaitsForEverForAnswers))
    }
}
