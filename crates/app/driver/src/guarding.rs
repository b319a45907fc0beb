//! Data guards: taking in what they say, and telling those who wait for it.

use hornero_model::{GuardAnswer, GuardVerdict, Millis, Timestamp};
use hornero_rollout::{Effect, EffectKey, GuardOccasion, GuardRound, GuardsSeen, answer_allowance};

use crate::{Driver, EffectId, Ports, Progress};

/// How long what was said of servers that were more than wanted is remembered: what comes to it later is another occasion.
const SURPLUS_MEMORY: Millis = Millis(300_000);

impl Driver {
    /// Takes in what guards say, if it is the answer to the last time that they were asked.
    pub(crate) fn guards_answered(
        &mut self,
        (effect, occasion): (EffectId, GuardOccasion),
        round: GuardRound,
        answers: Vec<GuardAnswer>,
        ports: &mut dyn Ports,
    ) {
        let key = EffectKey::Guards(occasion.clone());
        if self.pending.get(&key).is_none_or(|pending| pending.id != effect) {
            return;
        }
        let Some(pending) = self.pending.remove(&key) else { return };
        let Effect::AskGuards { question, .. } = pending.effect else { return };
        let asked = Timestamp(pending.lost_at.0.saturating_sub(answer_allowance(&key).0));
        let times = (asked, self.now());
        let last = self.facts.guards.get(&occasion).filter(|seen| seen.round == round);
        let failing = |answers: &[GuardAnswer]| {
            let failing = answers.iter().find(|of| of.verdict != GuardVerdict::Passes)?;
            Some((failing.guard.clone(), failing.seen.clone()))
        };
        let before = last.and_then(|seen| failing(&seen.answers));
        let now = failing(&answers);
        let seen = GuardsSeen::of((&question, round), last, times, answers);
        self.facts.guards.insert(occasion.clone(), seen);
        let Some((guard, seen)) = now.filter(|now| before.as_ref() != Some(now)) else { return };
        let (service, rollout) = match occasion {
            GuardOccasion::Surplus(service) => (service, None),
            GuardOccasion::Rollout(id) => match self.world.rollouts.get(&id) {
                Some(rollout) => (rollout.service.clone(), Some(id)),
                None => return,
            },
        };
        let request = match rollout {
            Some(id) => self.request_of(id),
            None => self.request_for(&service),
        };
        ports.progress(Progress::Step {
            request,
            service,
            rollout,
            phase: "guarding",
            message: format!("waiting for guard `{guard}`: {seen}"),
            instance: None,
        });
    }

    /// Forgets what guards said to what is over.
    pub(crate) fn forget_answers(&mut self) {
        let now = self.now();
        let rollouts = &self.world.rollouts;
        self.facts.guards.retain(|occasion, seen| match occasion {
            GuardOccasion::Rollout(id) => rollouts.contains_key(id),
            GuardOccasion::Surplus(_) => now < seen.at.after(SURPLUS_MEMORY),
        });
    }
}
