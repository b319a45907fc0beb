//! What guards are asked for a rollout, and what they answered.

use std::net::IpAddr;

use hornero_model::{DataGuard, GuardAnswer, InstanceId, ReleaseRef, ServiceSpec, Timestamp};

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

/// At which point of a rollout guards are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardRound {
    /// Before anything of what serves is touched.
    First,
    /// When nobody new is let in, before what serves is stopped.
    Last,
}

/// What guards answered to a rollout, when they were last asked.
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
