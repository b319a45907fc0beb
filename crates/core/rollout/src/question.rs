//! What guards are asked, for what, and what they answered.

use std::net::IpAddr;

use hornero_model::{
    DataGuard, GuardAnswer, GuardVerdict, InstanceId, Millis, ReleaseRef, RolloutId, ServiceName,
    ServiceSpec, Timestamp,
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

/// What guards answered, when they were last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardsSeen {
    /// At which point.
    pub round: GuardRound,
    /// When the first answer of this round came.
    pub begun: Timestamp,
    /// When this one came.
    pub at: Timestamp,
    /// What they said.
    pub answers: Vec<GuardAnswer>,
}

impl GuardsSeen {
    /// How old a pass may be that something is begun by.
    const FRESH: Millis = Millis(5_000);

    /// What does not pass.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &GuardAnswer> {
        self.answers.iter().filter(|answer| answer.verdict != GuardVerdict::Passes)
    }

    /// Whether all passed, and not long ago.
    pub(crate) fn passed(&self, now: Timestamp) -> bool {
        self.failing().next().is_none() && now < self.at.after(Self::FRESH)
    }

    /// Whether these servers are among those that were asked; a command asks none in particular.
    pub(crate) fn is_about(&self, mut servers: impl Iterator<Item = InstanceId>) -> bool {
        let asked = |id: InstanceId| {
            let answers = &mut self.answers.iter();
            answers.any(|answer| answer.instance.as_ref().is_none_or(|of| *of == id))
        };
        servers.all(asked)
    }
}
