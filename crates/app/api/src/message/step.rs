//! Schema steps of a service, and how far they are.

use hornero_model::{InstanceId, StepName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A schema step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepStatus {
    /// Which.
    pub step: StepName,
    /// Its command and arguments.
    pub command: Vec<String>,
    /// How far it is.
    pub state: StepState,
    /// The run that carries it out, or did; absent before it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<InstanceId>,
    /// Why it is not done, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How far a schema step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its time has not come.
    Waits,
    /// It goes on.
    Running,
    /// It did its work, or somebody says that it counts as done.
    Done,
    /// It said itself that it failed.
    Failed,
    /// It was begun, and nobody knows how far it came.
    HalfWay,
}
