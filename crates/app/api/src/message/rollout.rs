//! What is told of a rollout under way.

use hornero_model::{Batched, CanaryStep, Intervention, ReleaseNumber, RolloutId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStatus {
    /// Its number.
    pub id: RolloutId,
    /// Its phase.
    pub phase: String,
    /// How far it is as a canary; absent where it is none, and before its first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// How far it is batch by batch; absent where it goes by none, and before its first one is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<RollingStatus>,
    /// That it goes batch by batch for want of room; absent where there was enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batched: Option<Batched>,
    /// That somebody paused it; absent while it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedStatus>,
    /// What people did to it by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
}

/// A rollout under way that goes batch by batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollingStatus {
    /// The release that it brings.
    pub release: ReleaseNumber,
    /// Which batch it is at, from 1.
    pub batch: u32,
    /// Servers of it by then, those of the batch included.
    pub instances: u32,
    /// How many it shall have.
    pub wanted: u32,
    /// The new release's share of the requests now, in ten-thousandths.
    pub weight: u32,
}

/// A rollout that stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PausedStatus {
    /// Who paused it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is taken back if nobody resumes or promotes it.
    pub until: Timestamp,
}

/// A canary under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryStatus {
    /// The release that it may bring.
    pub release: ReleaseNumber,
    /// Which step it is at, from 1.
    pub step: u32,
    /// How many steps there are before the switch.
    pub steps: u32,
    /// The new release's share at this step, in ten-thousandths.
    pub weight: u32,
    /// What is known of it by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
    /// What became of the steps before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<CanaryStep>,
}

/// What the judge says of a release beside the one that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// `better`, `worse`, `same` or `inconclusive`.
    pub verdict: String,
    /// What it follows from, for people.
    pub reasons: Vec<String>,
}
