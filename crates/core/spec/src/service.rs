//! Services and volumes as declared.

use std::collections::BTreeMap;

use hornero_model::{
    Budget, ConfigFile, DataGuard, Digest, HealthContract, ImageName, Keep, MetricsEndpoint,
    Migrate, Millis, MountedVolume, Port, Resources, RolloutPolicy, Route, Scale, SecretLabel,
    ServiceKind, ServiceName, ServiceSpec, StopSignal, TrustedKey, Volume, VolumeName,
};

/// A `service` block; all that a [`ServiceSpec`] holds but the image's digest, which only a bake can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// Its name.
    pub name: ServiceName,
    /// The image it runs; it has a command.
    pub image: ImageName,
    /// Whether it holds data.
    pub kind: ServiceKind,
    /// How many instances serve; where that follows from the load, how many it begins with.
    pub instances: u32,
    /// How that follows from the load, where it does.
    pub scale: Option<Scale>,
    /// Its ports, sorted by name; no two share a number.
    pub ports: Vec<Port>,
    /// When an instance counts as healthy; none only without ports.
    pub health: Option<HealthContract>,
    /// Its ways in from outside, in the order given.
    pub routes: Vec<Route>,
    /// How releases replace each other.
    pub rollout: RolloutPolicy,
    /// Limits of each instance.
    pub resources: Resources,
    /// Whether instances may open connections to outside.
    pub egress: bool,
    /// Services that must be there first, sorted, without repeats.
    pub depends_on: Vec<ServiceName>,
    /// Age after which an instance is replaced.
    pub max_age: Option<Millis>,
    /// How old the last proof may be that it could go back, where a new release is to be rolled out.
    pub require_fresh_rollback: Option<Millis>,
    /// Keys of the file's `trust` blocks, sorted by name.
    pub trust: Vec<TrustedKey>,
    /// Which of its old releases keep their images.
    pub keep: Keep,
    /// The signal that asks an instance to end; none means SIGTERM.
    pub stop_signal: Option<StopSignal>,
    /// How long an instance may take to end.
    pub stop_grace: Option<Millis>,
    /// Environment of the command, over the image's own.
    pub env: BTreeMap<String, String>,
    /// Files laid over the root of its instances, sorted by path; none lies below another.
    pub config: Vec<ConfigDefinition>,
    /// Secrets that its instances find as files, sorted by path; none lies below another, or below a file of `config`.
    pub secrets: Vec<SecretDefinition>,
    /// How many servers Hornero may make by itself; none where it is not declared.
    pub budget: Option<Budget>,
    /// Volumes and where they appear, sorted by path; empty for a stateless service.
    pub mounts: Vec<Mount>,
    /// Paths in its servers that hold no data, whatever is written to them, sorted, without repeats. No part of what is rolled out.
    pub not_state: Vec<String>,
    /// What its servers are asked before they are taken away, its own and those of its volumes, sorted by name.
    pub guards: Vec<DataGuard>,
    /// Its schema steps; none where it declares none.
    pub migrate: Option<Migrate>,
    /// What people say of it.
    pub labels: BTreeMap<String, String>,
    /// Where its instances tell figures of their own; none where they tell none.
    pub metrics: Option<MetricsEndpoint>,
}

/// A volume of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// The volume.
    pub volume: VolumeName,
}

/// A `config` block of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDefinition {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// What it holds, with its expressions evaluated.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
    /// `USER` or `USER:GROUP`.
    pub owner: String,
}

/// A `secret` block of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDefinition {
    /// Which secret of the home.
    pub name: SecretLabel,
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// `USER` or `USER:GROUP`; empty means whom the command runs as.
    pub owner: String,
}

impl ConfigDefinition {
    /// The file without its content.
    pub fn file(&self) -> ConfigFile {
        ConfigFile {
            path: self.path.clone(),
            content: Digest::of(self.content.as_bytes()),
            size_bytes: self.content.len() as u64,
            mode: self.mode,
            owner: self.owner.clone(),
        }
    }
}

/// A `volume` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDefinition {
    /// Its name.
    pub name: VolumeName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether nothing but a changed declaration lets it be removed.
    pub prevent_destroy: bool,
}

impl From<Mount> for MountedVolume {
    fn from(Mount { path, volume }: Mount) -> Self {
        Self { path, volume }
    }
}

impl From<VolumeDefinition> for Volume {
    fn from(VolumeDefinition { name, size_bytes, prevent_destroy }: VolumeDefinition) -> Self {
        Self { name, size_bytes, prevent_destroy }
    }
}

impl ServiceDefinition {
    /// The complete service once its image is baked, but for what only the home knows: the image that keeps its
    /// configuration, and its secrets.
    pub fn into_service_spec(self, image: Digest) -> ServiceSpec {
        let config = self.config.iter().map(ConfigDefinition::file).collect();
        ServiceSpec {
            name: self.name,
            image_name: self.image,
            image,
            base: None,
            kind: self.kind,
            instances: self.instances,
            scale: self.scale,
            ports: self.ports,
            health: self.health,
            routes: self.routes,
            rollout: self.rollout,
            resources: self.resources,
            egress: self.egress,
            depends_on: self.depends_on,
            max_age: self.max_age,
            require_fresh_rollback: self.require_fresh_rollback,
            trust: self.trust,
            keep: self.keep,
            stop_signal: self.stop_signal,
            stop_grace: self.stop_grace,
            env: self.env,
            config,
            configuration: None,
            secrets: Vec::new(),
            budget: self.budget,
            mounts: self.mounts.into_iter().map(Into::into).collect(),
            guards: self.guards,
            migrate: self.migrate,
            labels: self.labels,
            metrics: self.metrics,
        }
    }
}
