//! Requests that change what runs.

use std::collections::BTreeMap;

use hornero_model::{
    Directory, FreezeName, GuardName, ReleaseNumber, ServiceName, ServiceSpec, Standing, Steer,
    StepName, StepRuling,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request is made, and from which state of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The reason a person gave; empty for none.
    #[serde(default)]
    pub why: String,
    /// The git commit of the directory.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Asks for services to run as specified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The services, those that others depend on first.
    pub services: Vec<ServiceSpec>,
    /// The directory that declares them and nothing else: they belong to it from now on, and what belongs to another one is
    /// refused. Absent where no directory declares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Services of other directories that it takes over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopt: Vec<ServiceName>,
    /// Services that it declared before, and that are taken down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<ServiceName>,
    /// How services stood when this was planned: refused where they stand otherwise. Empty where no plan is carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Standing>,
    /// Whether releases that failed are tried again; refused otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_failed: bool,
    /// Freezes that hold and are overridden, which is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<FreezeName>,
    /// Whether services are rolled out that want a fresh proof that they could go back and have none, which is recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_fresh_rollback: bool,
    /// Data guards that are overridden, which is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_guards: Vec<GuardName>,
    /// What is decided about schema steps that failed, or of which nobody knows how far they came; it is recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<StepName, StepRuling>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for a service to go back to a proven release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The service.
    pub service: ServiceName,
    /// The release to go back to; the last proven one before the present when absent.
    #[serde(default)]
    pub to: Option<ReleaseNumber>,
    /// Data guards that are overridden, which is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_guards: Vec<GuardName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for services to be taken down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownRequest {
    /// The services; every service of the home when absent.
    #[serde(default)]
    pub services: Option<Vec<ServiceName>>,
    /// Takes the one service that is named down before everything else that waits, whatever it is doing: requests in flight
    /// are cut off, and its servers end ten seconds later even where the edge does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Data guards that are overridden, which is recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_guards: Vec<GuardName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for what is under way for a service to end: its rollout goes back to what served before, and its new set is taken
/// down; what waits ends before it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The service; the one that something is under way for when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for what serves to be replaced by new servers of the same release, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecycleRequest {
    /// A service, for all of its instances, or one instance.
    pub object: String,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for something to be done to the rollout of a service that is under way. Operations that wait are let be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// The service; the one that a rollout is under way for when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// What.
    pub steer: Steer,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}
