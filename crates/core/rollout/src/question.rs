//! What guards are asked, for what, and what they answered.

use std::{collections::BTreeSet, net::IpAddr};

use hornero_model::{
    DataGuard, DataProbe, GuardAnswer, GuardVerdict, InstanceId, Millis, ReleaseRef, RolloutId,
    ServiceName, ServiceSpec, Timestamp,
};

/// What is to be asked, and of whom.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardQuestion {
    /// The guards.
    pub guards: Vec<DataGuard>,
    /// The servers that serve, and where each is; nowhere where it does not run.
    pub servers: Vec<(InstanceId, Option<IpAddr>)>,
    /// The release that they are made from.
    pub release: ReleaseRef,
    /// What that says: whose secrets are passwords, and what commands are run from.
    pub spec: Box<ServiceSpec>,
}

/// For what guards are asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardOccasion {
    /// A rollout.
    Rollout(RolloutId),
    /// Servers of a service that are more than wanted: by its load, by other terms, or because others took their places.
    Surplus(ServiceName),
}

/// At which point of a rollout guards are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardRound {
    /// Before anything of what serves is touched.
    First,
    /// When nobody new is let in, before what serves is stopped.
    Last,
}

impl GuardQuestion {
    /// How long servers have that are asked together; who asks gives up then.
    pub const ASKING: Millis = Millis(3_000);

    /// Whether a command is among what is asked.
    pub fn has_command(&self) -> bool {
        self.guards.iter().any(|guard| matches!(guard.probe, DataProbe::Command(_)))
    }
}

/// What guards answered, when they were last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardsSeen {
    /// At which point.
    pub round: GuardRound,
    /// Since when these servers are asked without a pass or a break.
    pub begun: Timestamp,
    /// Of when this is: no server's answer is of a time before.
    pub at: Timestamp,
    /// What they said.
    pub answers: Vec<GuardAnswer>,
}

impl GuardsSeen {
    /// How old a pass may be that something is begun by.
    const FRESH: Millis = Millis(5_000);
    /// How old a refusal may be that ends something, and how long after it the next question goes on with the same wait.
    const RECENT: Millis = Millis(15_000);

    /// What was answered to a question that was asked and answered at these times; `last` is the answer before.
    pub fn of(
        (question, round): (&GuardQuestion, GuardRound),
        last: Option<&Self>,
        (asked, answered): (Timestamp, Timestamp),
        answers: Vec<GuardAnswer>,
    ) -> Self {
        // Behind commands servers are asked once more.
        let at = match question.has_command() {
            true => asked.max(Timestamp(answered.0.saturating_sub(GuardQuestion::ASKING.0))),
            false => asked,
        };
        let goes_on = |last: &&Self| {
            last.round == round
                && last.failing().next().is_some()
                && last.is_recent(asked)
                && asked_of(&last.answers) == asked_of(&answers)
        };
        let begun = last.filter(goes_on).map_or(asked, |last| last.begun);
        Self { round, begun, at, answers }
    }

    /// What does not pass.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &GuardAnswer> {
        self.answers.iter().filter(|answer| answer.verdict != GuardVerdict::Passes)
    }

    /// Whether all passed, and not long ago.
    pub(crate) fn passed(&self, now: Timestamp) -> bool {
        self.failing().next().is_none() && now < self.at.after(Self::FRESH)
    }

    /// Whether a refusal counts yet.
    pub(crate) fn is_recent(&self, now: Timestamp) -> bool {
        now < self.at.after(Self::RECENT)
    }

    /// Whether each of these servers was asked by each of these guards; a command asks none in particular, and is run
    /// only where all others pass.
    pub(crate) fn is_about(&self, guards: &[DataGuard], servers: &[&InstanceId]) -> bool {
        let refused = self.failing().next().is_some();
        guards.iter().all(|guard| {
            let mut of = self.answers.iter().filter(|answer| answer.guard == guard.name);
            match guard.probe {
                DataProbe::Command(_) => refused || of.next().is_some(),
                _ => {
                    let asked: BTreeSet<_> = of.filter_map(|of| of.instance.as_ref()).collect();
                    servers.iter().all(|id| asked.contains(id))
                }
            }
        })
    }
}

fn asked_of(answers: &[GuardAnswer]) -> BTreeSet<&InstanceId> {
    answers.iter().filter_map(|answer| answer.instance.as_ref()).collect()
}
