//! A service as its release runs it: complete in itself, without references into `hornero.hcl`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, HealthContract, ImageName, Millis, PortName, Protocol, ServiceName};

/// Everything a release needs to run a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// The image's name in `hornero.hcl`, for people.
    pub image_name: ImageName,
    /// The image's identity.
    pub image: Digest,
    /// Whether it holds data.
    pub kind: ServiceKind,
    /// How many instances serve.
    pub instances: u32,
    /// Its ports, sorted by name.
    pub ports: Vec<Port>,
    /// When an instance counts as healthy. None only for a service without ports: then running is healthy.
    pub health: Option<HealthContract>,
    /// Its ways in from outside.
    pub routes: Vec<Route>,
    /// How releases replace each other.
    pub rollout: RolloutPolicy,
    /// Limits of each instance.
    pub resources: Resources,
    /// Whether instances may open connections to outside Hornero's network.
    pub egress: bool,
    /// Services that must be there first, sorted.
    pub depends_on: Vec<ServiceName>,
    /// Age after which an instance is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Millis>,
}

/// Whether a service holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// It holds none: any instance can go at any time.
    Stateless,
    /// It holds data in volumes.
    Stateful,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name within the service.
    pub name: PortName,
    /// TCP port inside the instance, and on `SERVICE.internal`.
    pub container: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// A way in from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// TCP port on the host.
    pub listen: u16,
    /// Host address to listen on; none means every address of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
    /// The service's port that answers.
    pub port: PortName,
    /// Only requests for this host name (lower case, no port).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only requests below this path, beginning with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// What is spoken with the client.
    pub protocol: Protocol,
    /// TLS towards the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
}

/// Certificate and key for a route, as absolute paths on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTls {
    /// PEM file with the certificate chain.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
}

/// How a new release takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A whole new set beside the old one, then one switch.
    BlueGreen,
}

/// The timing of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutPolicy {
    /// How the new set takes over.
    pub strategy: Strategy,
    /// How long requests in flight on the old set may take before they are cut off.
    pub drain_timeout: Millis,
    /// How long the old set stays running after the switch, for a warm rollback.
    pub keep_warm: Millis,
    /// How long the new set is watched after the switch before the release counts as proven.
    pub watch: Millis,
}

/// Limits of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
}
