//! Services and volumes as declared.

use hornero_model::{
    Digest, HealthContract, ImageName, Keep, Millis, Port, Resources, RolloutPolicy, Route,
    ServiceKind, ServiceName, ServiceSpec, TrustedKey, VolumeName,
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
    /// How many instances serve.
    pub instances: u32,
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
    /// Keys of the file's `trust` blocks, sorted by name.
    pub trust: Vec<TrustedKey>,
    /// Which of its old releases keep their images.
    pub keep: Keep,
    /// Volumes and where they appear, sorted by path; empty for a stateless service.
    pub mounts: Vec<Mount>,
}

/// A volume of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// The volume.
    pub volume: VolumeName,
}

/// A `volume` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDefinition {
    /// Its name.
    pub name: VolumeName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether `down` refuses to remove it.
    pub prevent_destroy: bool,
}

impl ServiceDefinition {
    /// The complete service once its image is baked. Mounts are not part of it.
    pub fn into_service_spec(self, image: Digest) -> ServiceSpec {
        ServiceSpec {
            name: self.name,
            image_name: self.image,
            image,
            base: None,
            kind: self.kind,
            instances: self.instances,
            ports: self.ports,
            health: self.health,
            routes: self.routes,
            rollout: self.rollout,
            resources: self.resources,
            egress: self.egress,
            depends_on: self.depends_on,
            max_age: self.max_age,
            trust: self.trust,
            keep: self.keep,
        }
    }
}
