//! Data guards: taking in what they say, and telling those who wait for it.

use hornero_model::{GuardAnswer, GuardVerdict, RolloutId};
use hornero_rollout::{EffectKey, GuardRound, GuardsSeen};

use crate::{Driver, EffectId, Ports, Progress};

impl Driver {
    /// Takes in what guards say, if it is the answer to the last time that they were asked.
    pub(crate) fn guards_answered(
        &mut self,
        (effect, id): (EffectId, RolloutId),
        round: GuardRound,
        answers: Vec<GuardAnswer>,
        ports: &mut dyn Ports,
    ) {
        let key = EffectKey::Guards(id);
        if self.pending.get(&key).is_none_or(|pending| pending.id != effect) {
            return;
        }
        self.pending.remove(&key);
        let at = self.now();
        let last = self.facts.guards.get(&id).filter(|seen| seen.round == round);
        let begun = last.map_or(at, |seen| seen.begun);
        let failing = |answers: &[GuardAnswer]| {
            let failing = answers.iter().find(|of| of.verdict != GuardVerdict::Passes)?;
            Some((failing.guard.clone(), failing.seen.clone()))
        };
        let before = last.and_then(|seen| failing(&seen.answers));
        let now = failing(&answers);
        self.facts.guards.insert(id, GuardsSeen { round, begun, at, answers });
        let Some((guard, seen)) = now.filter(|now| before.as_ref() != Some(now)) else { return };
        let Some(rollout) = self.world.rollouts.get(&id) else { return };
        ports.progress(Progress::Step {
            request: self.request_of(id),
            service: rollout.service.clone(),
            rollout: Some(id),
            phase: "guarding",
            message: format!("waiting for guard `{guard}`: {seen}"),
            instance: None,
        });
    }
}
