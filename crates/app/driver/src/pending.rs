//! Effects that were asked for and not answered yet.

use hornero_model::Timestamp;
use hornero_rollout::{
    Bug, Effect, EffectKey, answer_allowance, planted, repeat_allowance, retry_delay,
};

use crate::EffectId;

/// An effect that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: EffectId,
    pub effect: Effect,
    /// When its answer counts as lost: from then on it is not done any more.
    pub lost_at: Timestamp,
    /// When it is asked for once more if no answer came by then.
    pub again_at: Timestamp,
    pub tries: u32,
    /// Where it failed: when it is tried again.
    pub not_before: Option<Timestamp>,
}

/// A refusal that was recorded, so that it is recorded once.
pub(crate) type Refused = (EffectKey, &'static str);

impl Pending {
    /// An effect that is asked for now; `before` is how it was when it was last asked for, if it was.
    pub(crate) fn asked(
        id: EffectId,
        effect: Effect,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let key = effect.key();
        // Where it is asked for once more, the first one is no younger by that.
        let goes_on = before.filter(|before| before.in_flight(now)).map(|before| before.lost_at);
        Self {
            id,
            effect,
            lost_at: goes_on.unwrap_or_else(|| now.after(answer_allowance(&key))),
            again_at: now.after(repeat_allowance(&key)),
            tries: before.map_or(0, |before| before.tries),
            not_before: None,
        }
    }

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
        let key = self.effect.key();
        self.lost_at = self.lost_at.max(now.after(answer_allowance(&key)));
        self.again_at = self.again_at.max(now.after(repeat_allowance(&key)));
    }

    pub(crate) fn waits(&self) -> bool {
        self.not_before.is_some()
    }

    pub(crate) fn in_flight(&self, now: Timestamp) -> bool {
        self.not_before.is_none() && (now < self.lost_at || planted(Bug::WaitsForEverForAnswers))
    }

    /// Whether its answer is waited for before it is asked for once more.
    pub(crate) fn is_awaited(&self, now: Timestamp) -> bool {
        self.in_flight(now) && (now < self.again_at || planted(Bug::WaitsForEverForAnswers))
    }

    /// When it is to be looked at next, if nothing comes of it before; none while another effect is in its way.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let times = match self.not_before {
            Some(at) => [at, at],
            None => [self.again_at, self.lost_at],
        };
        times.into_iter().filter(|at| *at > now).min()
    }
}
