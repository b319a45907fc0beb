//! A service as its release runs it: complete in itself, without references into `hornero.hcl`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Digest, HealthContract, ImageName, KeyName, Millis, PortName, Protocol, PublicKey, ServiceName,
};

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
    /// The image that it was made on, which names the pair (app, base) of a release. It follows from `image`, so it tells
    /// no two specs apart; None for an image that was made on nothing, and in releases made before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
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
    /// Keys whose statements about the image count besides the home's own, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<TrustedKey>,
    /// Which of its old releases keep their images.
    #[serde(default, skip_serializing_if = "Keep::is_default")]
    pub keep: Keep,
}

/// A key that is trusted by policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// Its name in `hornero.hcl`.
    pub name: KeyName,
    /// The key.
    pub public_key: PublicKey,
}

/// Which old releases keep their images; what any one of the rules keeps is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The newest this many proven ones.
    pub releases: u32,
    /// Those made within this many days; 0 means that age keeps nothing.
    pub days: u32,
}

impl Keep {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self { releases: 5, days: 0 }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A service as ledgers had it before services had trust and keep-rules.
    const OLD: &str = r#"{"name":"site","image_name":"site","image":"sha256:fbae041b02c41ed0fd8a4efb039bc780dd6af4a1f0c420f42561ae705dda43fe","kind":"stateless","instances":1,"ports":[],"health":null,"routes":[],"rollout":{"strategy":"blue_green","drain_timeout":1,"keep_warm":1,"watch":1},"resources":{"memory_bytes":1,"cpu_millis":1,"pids":1},"egress":true,"depends_on":[]}"#;

    #[test]
    fn what_is_not_said_changes_no_byte_of_an_old_release() {
        let spec: ServiceSpec = serde_json::from_str(OLD).unwrap();
        assert_eq!((spec.trust.len(), spec.keep), (0, Keep { releases: 5, days: 0 }));
        assert_eq!(serde_json::to_string(&spec).unwrap(), OLD);
    }

    #[test]
    fn trust_and_keep_round_trip() {
        let mut spec: ServiceSpec = serde_json::from_str(OLD).unwrap();
        let public_key = PublicKey::from_bytes([1; 32]);
        spec.trust.push(TrustedKey { name: KeyName::new("ci").unwrap(), public_key });
        spec.keep.days = 30;
        let json = serde_json::to_string(&spec).unwrap();
        assert!(json.ends_with(
            r#""trust":[{"name":"ci","public_key":"ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}],"keep":{"releases":5,"days":30}}"#
        ), "{json}");
        assert_eq!(serde_json::from_str::<ServiceSpec>(&json).unwrap(), spec);
    }
}
