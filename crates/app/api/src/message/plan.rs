//! What an apply would change.

use hornero_model::{
    Directory, Freeze, ImageName, Job, PreviewName, ScheduleSpec, ServiceName, ServiceSpec,
    Standing, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::CallStatus;

/// Asks what an apply would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The images of the directory and whether they would be baked.
    pub images: Vec<PlanImage>,
    /// The services; the digest of an image that is still to be baked is that of its last bake, or zeros.
    pub services: Vec<ServiceSpec>,
    /// The directory that declares them and nothing else; absent where no directory does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Its jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// Its freezes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Its schedules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleSpec>,
}

/// An image in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanImage {
    /// Its name.
    pub name: ImageName,
    /// Why it would be baked; absent when it is cached.
    #[serde(default)]
    pub bake: Option<String>,
}

/// What an apply would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The changes in the order they would be made; empty when there is nothing to do.
    pub changes: Vec<PlanChange>,
    /// What would keep them from being made, as far as it can be told before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<PlanProblem>,
    /// What was not looked at, because nothing on this host could tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<NotChecked>,
    /// How the services of the directory stand, as far as the plan depends on it; for plans that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<Standing>,
    /// Previews beside the services of the directory; they change nothing of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<PlannedPreview>,
    /// Calls of services of the directory that it does not declare in their `depends_on`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undeclared_calls: Vec<CallStatus>,
}

/// A preview beside a service of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedPreview {
    /// Its name.
    pub name: PreviewName,
    /// The service that it shows.
    pub service: ServiceName,
    /// How many of the service's requests it gets, in ten-thousandths.
    pub share: u32,
    /// When it is removed.
    pub until: Timestamp,
}

/// What would keep a change from being made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanProblem {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which of a service's routes it is, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// The file that declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line there, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column there, in characters from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The guard that says so and refuses it: `belonging` where the service belongs to another directory, `bounded-churn`
    /// where more servers would be made than may be, `failed-release` where the same failed before, `capacity` where they
    /// don't fit, `shared-failure` where what serves fails as another release did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// The directory that the service belongs to, where that is the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
}

/// What a plan did not look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotChecked {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What of it, such as `packages`.
    pub what: String,
    /// Why nothing could tell.
    pub reason: String,
    /// What to do, so that it can be.
    pub hint: String,
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChange {
    /// `image`, `service`, `job`, `freeze` or `schedule`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What would be done: `bake`, `create`, `replace`, `repair`, `scale`, `adjust` or `remove`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The name that a service seems to have had before, or to have now, where it seems to have been renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
}
