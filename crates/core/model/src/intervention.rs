//! What people do to a rollout under way.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Actor, Timestamp};

/// One thing that a person did to a rollout under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intervention {
    /// What.
    pub did: Steer,
    /// When.
    pub at: Timestamp,
    /// In which phase of the rollout.
    pub phase: String,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What a person can do to a rollout under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Steer {
    /// It stays where it is.
    Pause,
    /// It goes on by itself again.
    Resume,
    /// It takes the next step without waiting for what that takes.
    Promote,
    /// It leaves out every step that it has before all requests go to the new release.
    PromoteFully,
    /// It ends the way of one that failed.
    Abort,
}

impl Intervention {
    /// What somebody does now.
    pub fn of(did: Steer, by: &Actor, phase: &str, at: Timestamp) -> Self {
        let (phase, who, why) = (phase.to_owned(), by.who.clone(), by.why.clone());
        Self { did, at, phase, who, why }
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { did, phase, who, why, .. } = self;
        write!(out, "{did} by `{who}` while {phase}: {why}")
    }
}

impl fmt::Display for Steer {
    /// What was done, in the past.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Promote => "promoted",
            Self::PromoteFully => "promoted fully",
            Self::Abort => "aborted",
        })
    }
}
