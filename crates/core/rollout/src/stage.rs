//! How far a rollout is on its way, by canary, batch by batch or in place, as its journal keeps it.

use hornero_judge::Tally;
use hornero_model::{Actor, CanaryStep, InstanceId, Millis, StepName, TakenSnapshot, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a canary is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Which of its steps it is at, from 0.
    pub step: u32,
    /// The new release's share there, in the unit of [`hornero_model::Share::weight`].
    pub weight: u32,
    /// What the edge had counted when it was first seen with that share in force; none until then.
    pub window: Option<Window>,
    /// What became of the steps before, and of the last one once it is over.
    pub judged: Vec<CanaryStep>,
}

/// The beginning of the time over which two releases are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The edge's process: another one may count anew, this one does not.
    pub edge: u32,
    /// What the release that serves had done by then.
    pub baseline: Tally,
    /// What the new release had done by then.
    pub candidate: Tally,
    /// What had come by then of the edge's own requests to both, the release that serves first; absent where it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<(Tally, Tally)>,
}

/// How far a rolling rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// Which batch it is at, from 0.
    pub batch: u32,
    /// The share of the new servers that were healthy when the batch before was done, in the unit of [`hornero_model::Share::weight`].
    pub weight: u32,
    /// Old servers that stay beside them.
    pub keep: u32,
    /// What it waits for.
    pub stage: RollingStage,
    /// Whether the servers of the batch still wait for room, such as old ones leave when they are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// What a rolling rollout waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollingStage {
    /// For the edge to give its servers their share; then old ones go.
    Sharing,
    /// For the servers of its next batch.
    Starting,
}

/// How far the replacement of servers that can't run twice is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacing {
    /// Until when requests wait.
    pub until: Timestamp,
    /// How many may wait.
    pub at_most: u32,
    /// Whether it goes back: the servers of the new release go, and those of the old one come again.
    pub back: bool,
    /// What it waits for.
    pub stage: ReplacingStage,
    /// Since when nobody serves, because those that did were told to stop; none while somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// How long nobody served before that.
    #[serde(default, skip_serializing_if = "Millis::is_zero")]
    pub unavailable: Millis,
    /// The run of the command that the servers that go are quiesced with; none where none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<InstanceId>,
    /// The snapshots that were taken before the servers that come were started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<TakenSnapshot>,
    /// Whether the edge was, or may have been, told to let somebody in to the servers that come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_in: bool,
}

/// What the replacement of servers waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplacingStage {
    /// For the command that the old servers are quiesced with; nothing is held yet.
    Quiescing,
    /// For the edge to hold new requests, and for those in flight.
    Holding,
    /// For the servers that go to be gone.
    Stopping,
    /// For snapshots of the volumes.
    Preserving,
    /// For the snapshots to be in their place again, on the way back.
    Restoring,
    /// For the servers that come to be healthy.
    Starting,
}

impl Replacing {
    /// Forward, at a stage, with so many that may wait until then.
    pub(crate) fn at(stage: ReplacingStage, until: Timestamp, at_most: u32) -> Self {
        Self {
            until,
            at_most,
            back: false,
            stage,
            stopped: None,
            unavailable: Millis(0),
            quiesce: None,
            snapshots: Vec::new(),
            let_in: false,
        }
    }
}

/// How far the schema steps are that are run before a release comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expanding {
    /// The step that was begun last.
    pub step: StepName,
    /// Its run.
    pub run: InstanceId,
}

/// That somebody paused a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Who, and why.
    pub by: Actor,
    /// When.
    pub since: Timestamp,
    /// When it is taken back if nobody did anything.
    pub until: Timestamp,
}

/// Snapshots as people are told of them.
pub(crate) fn named(snapshots: &[TakenSnapshot]) -> String {
    snapshots.iter().map(TakenSnapshot::to_string).collect::<Vec<_>>().join(", ")
}
