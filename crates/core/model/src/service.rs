//! A service as its release runs it: complete in itself, without references into `hornero.hcl`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Budget, DataGuard, Digest, HealthContract, ImageName, KeyName, ListenerLimits, Migrate, Millis,
    MountedVolume, PortName, Protocol, ProxyProtocol, PublicKey, RouteTls, Scale, SecretFile,
    ServiceName, Strategy, ToZero,
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
    /// How many instances serve; where that follows from the load, how many it begins with.
    pub instances: u32,
    /// How that follows from the load, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
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
    /// How old the last proof may be that it could go back, where a new release is to be rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_fresh_rollback: Option<Millis>,
    /// Keys whose statements about the image count besides the home's own, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<TrustedKey>,
    /// Which of its old releases keep their images.
    #[serde(default, skip_serializing_if = "Keep::is_default")]
    pub keep: Keep,
    /// The signal that asks an instance to end; none means SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    /// How long an instance may take to end before it is killed; none means 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Millis>,
    /// Environment of the command, over the image's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files laid over the root of its instances, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<ConfigFile>,
    /// The image of the store that keeps the contents of `config`, which it follows from; none without files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
    /// Secrets that its instances find as files, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretFile>,
    /// How many servers Hornero may make by itself; none means what its size says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Volumes that its one instance writes to, sorted by path; a volume outlives every instance, and its service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountedVolume>,
    /// What its servers are asked before they are taken away, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<DataGuard>,
    /// Its schema steps; none where it declares none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// What people say of it, such as who owns it, for inventories and metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where its instances tell figures of their own; none where they tell none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsEndpoint>,
}

/// Where each instance of a service answers to a scrape (Prometheus' text over HTTP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsEndpoint {
    /// TCP port inside the instance.
    pub port: u16,
    /// The path, beginning with `/`.
    pub path: String,
}

/// A file of a release's configuration, read-only for the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// The digest of what it holds.
    pub content: Digest,
    /// How much that is, in bytes.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// `USER` or `USER:GROUP`, resolved against the image.
    pub owner: String,
}

impl ServiceSpec {
    /// One server of an image with nothing around it: no ports, no ways in, no network beyond Hornero's own, replaced blue/green
    /// without a wait.
    pub fn of_image(
        name: ServiceName,
        image_name: ImageName,
        image: Digest,
        resources: Resources,
    ) -> Self {
        Self {
            name,
            image_name,
            image,
            base: None,
            kind: ServiceKind::Stateless,
            instances: 1,
            scale: None,
            ports: Vec::new(),
            health: None,
            routes: Vec::new(),
            rollout: RolloutPolicy::at_once(),
            resources,
            egress: false,
            depends_on: Vec::new(),
            max_age: None,
            require_fresh_rollback: None,
            trust: Vec::new(),
            keep: Keep::default(),
            stop_signal: None,
            stop_grace: None,
            env: BTreeMap::new(),
            config: Vec::new(),
            configuration: None,
            secrets: Vec::new(),
            budget: None,
            mounts: Vec::new(),
            guards: Vec::new(),
            migrate: None,
            labels: BTreeMap::new(),
            metrics: None,
        }
    }

    /// Whether its server writes to volumes: then there can be no second one beside it.
    pub fn holds_volumes(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// How long an instance may take to end before it is killed.
    pub fn stop_grace(&self) -> Millis {
        self.stop_grace.unwrap_or(STOP_GRACE)
    }

    /// How many servers Hornero may make by itself.
    pub fn budget(&self) -> Budget {
        self.budget.unwrap_or_else(|| Budget::default_for(self.most_instances()))
    }

    /// When nothing of it has to run, where that is so.
    pub fn to_zero(&self) -> Option<ToZero> {
        self.scale.as_ref()?.to_zero
    }

    /// The most instances that may serve.
    pub fn most_instances(&self) -> u32 {
        self.scale.as_ref().map_or(self.instances, |scale| scale.maximum)
    }
}

/// How long an instance has to end where its service does not say it.
pub const STOP_GRACE: Millis = Millis(5_000);

/// How an instance is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StopSignal {
    /// SIGTERM.
    #[serde(rename = "SIGTERM")]
    Terminate,
    /// SIGINT.
    #[serde(rename = "SIGINT")]
    Interrupt,
    /// SIGQUIT, the graceful end of nginx.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// SIGHUP.
    #[serde(rename = "SIGHUP")]
    Hangup,
    /// SIGUSR1.
    #[serde(rename = "SIGUSR1")]
    User1,
    /// SIGUSR2.
    #[serde(rename = "SIGUSR2")]
    User2,
    /// SIGWINCH, the graceful end of Apache.
    #[serde(rename = "SIGWINCH")]
    WindowChange,
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
    /// Whether HTTP is HTTP/2 alone, without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
    /// How long a connection to it may lie idle and still be used; none means 4 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Millis>,
    /// The header that connections to it begin with; none means that they begin with what the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

impl Port {
    /// Whether it can be asked by HTTP/1.1.
    pub fn speaks_http1(&self) -> bool {
        self.protocol == Protocol::Http && !self.http2
    }

    /// A port that speaks HTTP/1.1, or bytes.
    pub fn new(name: PortName, container: u16, protocol: Protocol) -> Self {
        Self { name, container, protocol, http2: false, idle_timeout: None, proxy_protocol: None }
    }
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
    /// TCP port on the host that requests are sent to by TLS, instead of to `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<u16>,
    /// Networks of proxies in front, whose forwarding fields are taken over; on one address and port all have the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// What the edge allows clients of `listen`.
    #[serde(default, skip_serializing_if = "ListenerLimits::is_default")]
    pub limits: ListenerLimits,
}

impl Route {
    /// A way in for every request on `listen`.
    pub fn new(listen: u16, port: PortName, protocol: Protocol) -> Self {
        Self {
            listen,
            address: None,
            port,
            host: None,
            path_prefix: None,
            protocol,
            tls: None,
            redirect_to: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            limits: ListenerLimits::default(),
        }
    }
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

impl RolloutPolicy {
    /// Blue/green without a wait.
    pub const fn at_once() -> Self {
        Self {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(0),
            keep_warm: Millis(0),
            watch: Millis(0),
        }
    }
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
        assert_eq!((spec.stop_signal, spec.stop_grace()), (None, Millis(5_000)));
        assert!(spec.env.is_empty());
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
