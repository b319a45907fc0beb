//! What a `hornero.hcl` declares, as a whole.

use std::collections::BTreeMap;

use hornero_model::{
    Freeze, FreezeName, ImageName, JobName, KeyName, PublicKey, ScheduleName, ScheduleSpec,
    ServiceName, VolumeName,
};

use crate::{ImageDefinition, JobDefinition, ServiceDefinition, VolumeDefinition};

/// Everything a `hornero.hcl` declares, with every reference resolved to something declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Images, by name; no image is its own ancestor.
    pub images: BTreeMap<ImageName, ImageDefinition>,
    /// Services, by name; no service depends on itself.
    pub services: BTreeMap<ServiceName, ServiceDefinition>,
    /// Jobs, by name.
    pub jobs: BTreeMap<JobName, JobDefinition>,
    /// Freezes, by name.
    pub freezes: BTreeMap<FreezeName, Freeze>,
    /// Schedules, by name.
    pub schedules: BTreeMap<ScheduleName, ScheduleSpec>,
    /// Volumes, by name.
    pub volumes: BTreeMap<VolumeName, VolumeDefinition>,
    /// Keys that are trusted besides the home's own, by name; each service carries them too.
    pub trust: BTreeMap<KeyName, PublicKey>,
}
