//! Whether what runs equals its image.

use hornero_model::{ServiceName, VerifiedInstance};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for running servers to be compared with their images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Only this service; every one of the home when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Read and hash every content, and compare the whole root.
    #[serde(default)]
    pub full: bool,
}

/// What the comparison of running servers with their images found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// Every service that was looked at, by name.
    pub services: Vec<VerifiedService>,
}

/// A service that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedService {
    /// Its name.
    pub name: ServiceName,
    /// Its running instances; empty where nothing of it runs.
    pub instances: Vec<VerifiedInstance>,
}
