//! The plan: changes in the order they would be made.

use std::fmt;

use hornero_model::{Digest, ImageName, InstanceState, ServiceSpec};
use hornero_rollout::{Facts, RepairState, Target, World, repair_state};
use serde::Serialize;

use crate::differences;

/// What an apply would change; empty when there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// The changes, images before services, each in the order given.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub object: String,
    /// What would be done.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
}

/// Kinds of objects that a plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// An image.
    Image,
    /// A service.
    Service,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An image is baked.
    Bake,
    /// A service gets instances where none served.
    Create,
    /// The instances of a service are replaced by those of another release.
    Replace,
    /// Instances that are missing are made again.
    Repair,
}

/// An image as the bake foresees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredImage {
    /// Its name.
    pub name: ImageName,
    /// Why it would be baked; none when it is cached.
    pub bake: Option<String>,
}

impl ObjectKind {
    /// The word as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Service => "service",
        }
    }
}

impl Action {
    /// The word as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bake => "bake",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Repair => "repair",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What applying `images` and `services` would change.
///
/// Both are given in the order they would be made. The image digest of a service whose image is still to be baked is
/// that of its last bake, or zeros. Services of the world that are not among `services` stay as they are: they may
/// belong to another directory.
pub fn plan(
    images: &[DesiredImage],
    services: &[ServiceSpec],
    world: &World,
    facts: &Facts,
) -> Plan {
    let bakes = images.iter().filter_map(|image| {
        let reason = image.bake.clone()?;
        let object = image.name.to_string();
        Some(Change { kind: ObjectKind::Image, object, action: Action::Bake, reason })
    });
    let changes = services.iter().filter_map(|spec| {
        let to_bake = spec.image == Digest::from_bytes([0; 32])
            || images.iter().any(|image| image.name == spec.image_name && image.bake.is_some());
        let (action, mut reason) = service(spec, to_bake, world, facts)?;
        if let Some(rollout) = world.rollout_of(&spec.name) {
            reason.push_str(&format!("; rollout {} is under way and comes first", rollout.id));
        }
        let object = spec.name.to_string();
        Some(Change { kind: ObjectKind::Service, object, action, reason })
    });
    Plan { changes: bakes.chain(changes).collect() }
}

/// What would be done to one service, and why; none where nothing.
fn service(
    spec: &ServiceSpec,
    to_bake: bool,
    world: &World,
    facts: &Facts,
) -> Option<(Action, String)> {
    let known = world.services.get(&spec.name);
    let Some(serving) = known.and_then(|service| service.serving_release()) else {
        let reason = match known {
            None => "it does not exist yet".to_owned(),
            Some(service) if service.removed => "it was taken down".to_owned(),
            Some(_) => "no release of it serves".to_owned(),
        };
        return Some((Action::Create, reason));
    };
    let mut reasons = differences(&serving.spec, spec);
    if to_bake {
        // Whether the bake gives another digest is known only after it.
        reasons.retain(|reason| !reason.starts_with("image "));
        reasons.insert(0, format!("image `{}` is to be baked", spec.image_name));
    }
    match Target::of(world, facts, spec) {
        _ if to_bake => Some((Action::Replace, reasons.join(", "))),
        Target::Unchanged(_) => None,
        Target::Repair(_) => Some((Action::Repair, shortage(spec, world, facts))),
        Target::Again(number) => {
            let newest =
                format!("`{}@{number}` is the newest release and does not serve", spec.name);
            reasons.insert(0, newest);
            Some((Action::Replace, reasons.join(", ")))
        }
        Target::New(_) => Some((Action::Replace, reasons.join(", "))),
    }
}

/// How many instances a serving set lacks.
fn shortage(spec: &ServiceSpec, world: &World, facts: &Facts) -> String {
    let serving = world.services.get(&spec.name).and_then(|service| service.serving.as_ref());
    let healthy = serving
        .into_iter()
        .flat_map(|set| &set.instances)
        .filter(|id| {
            facts.healthy(world, id)
                && world.instances.get(*id).is_some_and(|of| of.state == InstanceState::Serving)
        })
        .count();
    let noun = if spec.instances == 1 { "instance serves" } else { "instances serve" };
    let mut reason = format!("{healthy} of {} {noun} healthy", spec.instances);
    if let Some(RepairState::GaveUp { failures }) = repair_state(world, facts, &spec.name) {
        reason.push_str(&format!("; replacing was given up after {failures} failures in a row"));
    }
    reason
}
