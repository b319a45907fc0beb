//! The canary: a new release gets a growing share of the requests, and at each step is judged beside the one that serves.

use hornero_judge::{Judgement, Verdict};
use hornero_model::{
    Actor, CanaryPolicy, CanaryStep, EdgeStatus, ExitCause, InstanceState, OnInconclusive, Share,
    Strategy, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    Canary, Facts, Kind, Phase, Rollout, RolloutFailure, Switch, World,
    judging::{begin_window, judged},
    record::Record,
    switch::{SWITCH_ALLOWANCE, begin_switch, with_old},
    view::View,
};

/// How the releases of a canary do at its present step, as verdict and reasons; none while nothing can be said.
pub fn judgement(
    world: &World,
    facts: &Facts,
    rollout: &Rollout,
) -> Option<(&'static str, Vec<String>)> {
    let judgement = judged(facts, rollout, policy(world, rollout)?)?;
    Some((word(judgement.verdict), reasons(&judgement)))
}

fn reasons(judgement: &Judgement) -> Vec<String> {
    judgement.reasons().map(str::to_owned).collect()
}

/// How the new release of a rollout takes over, where that is as a canary.
pub(crate) fn policy<'a>(world: &'a World, rollout: &Rollout) -> Option<&'a CanaryPolicy> {
    match &world.release(&rollout.service, rollout.to)?.spec.rollout.strategy {
        Strategy::Canary(policy) => Some(policy),
        Strategy::BlueGreen | Strategy::Rolling(_) | Strategy::Replace(_) => None,
    }
}

/// When time alone moves a step on.
pub(crate) fn times(world: &World, rollout: &Rollout, watched: Timestamp) -> Vec<Timestamp> {
    let timeout = policy(world, rollout).map(|policy| policy.step_timeout).unwrap_or_default();
    vec![rollout.since.after(SWITCH_ALLOWANCE), watched.after(timeout)]
}

/// A verdict as it is recorded.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "same",
        Verdict::Inconclusive => "inconclusive",
    }
}

impl View<'_> {
    /// The rollout as it begins its first step; none where it switches at once: nothing serves beside it, there are no
    /// requests to share, or it was proven before.
    pub(crate) fn begin_canary(&self) -> Option<Rollout> {
        let first = *policy(self.world, self.rollout)?.steps.first()?;
        let next = with_old(self.rollout, Phase::Canary, self.world, self.facts);
        let judged = Vec::new();
        let canary = Canary { step: 0, weight: first, window: None, judged };
        let serves = next.from.is_some() && self.world.serving_size(&next.service) > 0;
        let beside = serves && self.rollout.kind == Kind::Forward;
        (beside && !self.has_no_ports()).then_some(Rollout { canary: Some(canary), ..next })
    }

    pub(crate) fn canary(&self) -> Option<Vec<Record>> {
        let (policy, canary) = (policy(self.world, self.rollout)?, self.rollout.canary.as_ref()?);
        let failure = self.halt().or_else(|| self.serving_failure());
        if let Some(failure) = failure.or_else(|| self.paused_for_too_long()) {
            return Some(self.take_back(failure, canary.judged.clone()));
        }
        if canary.window.is_none() {
            let confirmed = self.confirmed().map(|confirmed| confirmed.switch);
            let edge = self.facts.edge.as_ref().filter(|_| self.caught_up(confirmed));
            if let (Some(switch), Some(edge)) = (confirmed, edge) {
                return Some(self.begin_window(canary, switch, edge));
            }
            let late = self.facts.now >= self.rollout.since.after(SWITCH_ALLOWANCE);
            let failure = || {
                let share = Share::percent(canary.weight);
                let who = self.facts.laggards();
                RolloutFailure::of(format!(
                    "{who} did not give it {share} within {SWITCH_ALLOWANCE}"
                ))
            };
            return late.then(|| self.take_back(failure(), canary.judged.clone()));
        }
        let judgement = judged(self.facts, self.rollout, policy);
        let verdict = judgement.as_ref().map_or(Verdict::Inconclusive, |of| of.verdict);
        let inconclusive_for = self.lasted(policy.step_timeout);
        let decision = match verdict {
            Verdict::Worse if planted(Bug::PromotesTheWorse) => OnInconclusive::Promote,
            Verdict::Worse => OnInconclusive::Abort,
            Verdict::Better | Verdict::Same | Verdict::Inconclusive
                if self.rollout.paused.is_some() =>
            {
                OnInconclusive::Wait
            }
            Verdict::Better | Verdict::Same => OnInconclusive::Promote,
            Verdict::Inconclusive if inconclusive_for => policy.on_inconclusive,
            Verdict::Inconclusive => OnInconclusive::Wait,
        };
        let mut judged = canary.judged.clone();
        judged.push(CanaryStep {
            weight: canary.weight,
            verdict: word(verdict).to_owned(),
            reasons: judgement.as_ref().map(reasons).unwrap_or_default(),
            judged: self.facts.now,
        });
        match decision {
            OnInconclusive::Wait => None,
            OnInconclusive::Promote => {
                Some(vec![self.enter(self.next_step(policy, canary, judged))])
            }
            OnInconclusive::Abort => {
                let failure = self.failure(policy, canary, verdict, &judged);
                Some(self.take_back(failure, judged))
            }
        }
    }

    /// The edge gives it its share: what is counted from here on is compared.
    fn begin_window(&self, canary: &Canary, switch: Switch, edge: &EdgeStatus) -> Vec<Record> {
        let window = begin_window(self.rollout, policy(self.world, self.rollout), edge);
        let mut next = self.rollout.enter(Phase::Canary, self.facts.now);
        next.canary = Some(Canary { window: Some(window), ..canary.clone() });
        next.switch = next.switch.or(Some(switch));
        let mut records = self.set_states(&self.rollout.set, InstanceState::Serving);
        records.push(self.enter(next));
        records
    }

    /// On to the next step, and from the last one to the switch.
    fn next_step(
        &self,
        policy: &CanaryPolicy,
        canary: &Canary,
        judged: Vec<CanaryStep>,
    ) -> Rollout {
        let step = canary.step.saturating_add(1);
        match policy.steps.get(step as usize) {
            Some(weight) => {
                let mut next = self.rollout.enter(Phase::Canary, self.facts.now);
                next.canary = Some(Canary { step, weight: *weight, window: None, judged });
                next
            }
            None => {
                let mut next = begin_switch(self.rollout, self.world, self.facts);
                next.canary = Some(Canary { judged, ..canary.clone() });
                next
            }
        }
    }

    /// The rollout at the canary's next step, or on its way to all requests where it is promoted fully, because
    /// somebody says so; none where it has no steps.
    pub(crate) fn promoted(&self, fully: bool, by: &Actor) -> Option<Rollout> {
        let (policy, canary) = (policy(self.world, self.rollout)?, self.rollout.canary.as_ref()?);
        let mut judged = canary.judged.clone();
        judged.push(CanaryStep {
            weight: canary.weight,
            verdict: "promoted".to_owned(),
            reasons: vec![format!("by `{}`: {}", by.who, by.why)],
            judged: self.facts.now,
        });
        let last = u32::try_from(policy.steps.len()).unwrap_or(u32::MAX);
        let step = if fully { last } else { canary.step };
        let next = self.next_step(policy, &Canary { step, ..canary.clone() }, judged);
        Some(Rollout { paused: None, ..next })
    }

    /// All requests go back to the release that serves.
    fn take_back(&self, failure: RolloutFailure, judged: Vec<CanaryStep>) -> Vec<Record> {
        // Instances of it were replaced since the canary began.
        let mut rollout = with_old(self.rollout, Phase::Canary, self.world, self.facts);
        rollout.baseline = self.rollout.baseline;
        if let Some(canary) = &mut rollout.canary {
            canary.judged = judged;
        }
        let view = View { rollout: &rollout, ..*self };
        // With nothing healthy to go back to all requests reach the new set anyway.
        let stays = !view.any_healthy(&rollout.old) && view.any_healthy(&rollout.set);
        if !stays || failure.cause == Some(ExitCause::HostRestarted) {
            return view.go_back(failure);
        }
        view.stay(failure)
    }

    fn failure(
        &self,
        policy: &CanaryPolicy,
        canary: &Canary,
        verdict: Verdict,
        judged: &[CanaryStep],
    ) -> RolloutFailure {
        let (service, to) = (&self.rollout.service, self.rollout.to);
        let share = Share::percent(canary.weight);
        let reasons = judged.last().map(|step| step.reasons.join("; ")).unwrap_or_default();
        let reasons = if reasons.is_empty() { "the edge told nothing".to_owned() } else { reasons };
        let of_release = verdict == Verdict::Worse;
        let failure = RolloutFailure::of(match verdict {
            Verdict::Worse => format!("`{service}@{to}` does worse at {share}: {reasons}"),
            Verdict::Better | Verdict::Same | Verdict::Inconclusive => format!(
                "nothing could be said of `{service}@{to}` at {share} within {}: {reasons}",
                policy.step_timeout
            ),
        });
        RolloutFailure { of_release, ..failure }
    }
}
