//! Previews: asking for them, and how they stand.

use hornero_model::{
    Actor, Digest, Millis, PreviewName, ReleaseNumber, ServiceName, ServiceSpec, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::{InstanceStatus, InternalAddress};
use super::request::Intent;

/// Asks for previews: servers beside those that serve, reached by a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The name. One that there is already shows this from now on.
    pub name: PreviewName,
    /// What is shown.
    pub source: PreviewSource,
    /// How many of the requests for each service it gets, in ten-thousandths; 0 for those alone that ask for it by name.
    #[serde(default)]
    pub share: u32,
    /// How long it stays, in milliseconds.
    pub lasts: Millis,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What a preview shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PreviewSource {
    /// A release of a service.
    Release {
        /// The service.
        service: ServiceName,
        /// The release.
        number: ReleaseNumber,
    },
    /// These services, as a directory declares them.
    Services(Vec<ServiceSpec>),
}

/// Asks for a preview to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePreviewRequest {
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// How a preview of a service stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewStatus {
    /// Its name.
    pub name: PreviewName,
    /// The service that it shows.
    pub service: ServiceName,
    /// The release of the service that it shows; null where it is what a directory declared, or before anything serves.
    pub release: Option<ReleaseNumber>,
    /// The image of what serves; null before anything does.
    pub image: Option<Digest>,
    /// Where it is: `starting`, `serving`, `unhealthy` or `ending`.
    pub state: String,
    /// How many instances it has that are healthy.
    pub healthy: u32,
    /// How many it wants.
    pub wanted: u32,
    /// How many of the requests for the service it gets, in ten-thousandths; 0 for those alone that ask for it by name.
    pub share: u32,
    /// The host names that lead to it, each on the port of the way in that it belongs to.
    pub hosts: Vec<String>,
    /// The field of a request that leads to it, by every HTTP way in of the service.
    pub header: String,
    /// Its name and address inside Hornero's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<InternalAddress>,
    /// Requests that it got.
    pub requests: u64,
    /// Those of them that failed or were answered with a server error.
    pub errors: u64,
    /// Its instances; their release numbers are its own.
    pub instances: Vec<InstanceStatus>,
    /// Who asked for it, and why.
    pub by: Actor,
    /// Since when it is there.
    pub since: Timestamp,
    /// When it is removed.
    pub until: Timestamp,
}
