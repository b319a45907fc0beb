//! The plan: changes in the order they would be made.

use hornero_model::{
    Digest, Directory, ImageName, InstanceState, Millis, ServiceName, ServiceSpec, Strategy,
};
use hornero_rollout::{
    Facts, RepairState, Target, World, foresee_in_time, is_adjustment, repair_state,
};
use serde::Serialize;

use crate::{Action, Change, Foreign, ObjectKind, differences, steps, whole};

/// What an apply would change; empty when there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// The changes in the order they would be made: images before services, each in the order given, and what goes.
    pub changes: Vec<Change>,
    /// Services that belong to another directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Foreign>,
}

/// An image as the bake foresees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredImage {
    /// Its name.
    pub name: ImageName,
    /// Why it would be baked; none when it is cached.
    pub bake: Option<String>,
}

/// What applying `images` and `services` would change.
///
/// Both are given in the order they would be made. The image digest of a service whose image is still to be baked is
/// that of its last bake, or zeros. Services of the world that are not among `services` stay as they are, but for those
/// that belong to `directory`, which is said to declare all of `services` and nothing else.
pub fn plan(
    directory: Option<&Directory>,
    images: &[DesiredImage],
    services: &[ServiceSpec],
    world: &World,
    facts: &Facts,
) -> Plan {
    let bakes = images.iter().filter_map(|image| {
        let reason = image.bake.clone()?;
        let object = image.name.to_string();
        let (kind, action) = (ObjectKind::Image, Action::Bake);
        Some(Change { kind, object, action, reason, renamed: None })
    });
    let changes = services.iter().filter_map(|spec| {
        let to_bake = spec.image == Digest::from_bytes([0; 32])
            || images.iter().any(|image| image.name == spec.image_name && image.bake.is_some());
        let (action, mut reason) = service(spec, to_bake, world, facts)?;
        if let Some(rollout) = world.rollout_of(&spec.name) {
            reason.push_str(&format!("; rollout {} is under way and comes first", rollout.id));
        }
        if action == Action::Replace {
            reason.push_str(&batches(spec, world, facts).unwrap_or_else(|| way(spec, world)));
        }
        let object = spec.name.to_string();
        let change = Change { kind: ObjectKind::Service, object, action, reason, renamed: None };
        let steps = match action {
            Action::Create | Action::Replace => {
                steps::steps(world, spec, Target::of(world, facts, spec))
            }
            _ => Vec::new(),
        };
        Some(std::iter::once(change).chain(steps))
    });
    let changes = changes.flatten();
    let changes = bakes.chain(changes).collect();
    match directory {
        None => Plan { changes, foreign: Vec::new() },
        Some(directory) => Plan {
            changes: whole::in_order(world, directory, services, changes),
            foreign: whole::foreign(world, directory, services),
        },
    }
}

/// That the servers of a service come batch by batch for want of room; none where there is enough, or too little for any.
fn batches(spec: &ServiceSpec, world: &World, facts: &Facts) -> Option<String> {
    let number = match Target::of(world, facts, spec) {
        Target::Again(number) | Target::New(number) => number,
        Target::Unchanged(number) | Target::Repair(number) => number,
    };
    let batched = foresee_in_time(world, facts, spec, number).ok()??;
    Some(format!("; in batches of {}, for {}", batched.at_once, batched.reason))
}

/// How the servers of a service take the place of those that serve, where that is no plain switch.
fn way(spec: &ServiceSpec, world: &World) -> String {
    let wanted = world.size_of(spec);
    match &spec.rollout.strategy {
        Strategy::BlueGreen => String::new(),
        Strategy::Canary(canary) => format!("; as a canary: {}, then all", canary.steps_text()),
        Strategy::Rolling(rolling) => {
            format!("; rolling: {} of {wanted} instances at a time", rolling.surge(wanted))
        }
        Strategy::Replace(replace) => {
            let took = start_time(world, &spec.name);
            let took = took.map_or_else(
                || "for as long as an instance takes to start".to_owned(),
                |took| format!("for about {took}, which its instances took to start last"),
            );
            format!(
                "; replaced in its place: no instance is there {took}, beside a drain of {} at most, and requests wait                  for up to {}",
                spec.rollout.drain_timeout, replace.hold
            )
        }
    }
}

/// How long the slowest server that serves took from the decision until it served; none where nothing serves.
fn start_time(world: &World, service: &ServiceName) -> Option<Millis> {
    let set = world.services.get(service)?.serving.as_ref()?;
    let serving = set.instances.iter().filter_map(|id| world.instances.get(id));
    let serving = serving.filter(|of| of.state == InstanceState::Serving);
    serving.map(|of| of.since.since(of.created)).max()
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
        // Whether the bake gives another digest, or is made on another base, is known only after it.
        let is_known =
            |reason: &String| !reason.starts_with("image ") && !reason.starts_with("`base`");
        reasons.retain(is_known);
        reasons.insert(0, format!("image `{}` is to be baked", spec.image_name));
    }
    let target = Target::of(world, facts, spec);
    if let (Target::Again(number), false) = (target, to_bake) {
        let newest = format!("`{}@{number}` is the newest release and does not serve", spec.name);
        reasons.insert(0, newest);
    }
    if let (Target::Again(_) | Target::New(_), false, true) =
        (target, to_bake, is_adjustment(world, spec))
    {
        let size = known.map_or(spec.instances, |service| service.size_by(spec));
        let sizes = (world.serving_size(&spec.name), size);
        return Some(adjustment(&serving.spec, spec, sizes, &reasons));
    }
    match target {
        _ if to_bake => Some((Action::Replace, reasons.join(", "))),
        Target::Unchanged(_) => None,
        Target::Repair(_) => Some((Action::Repair, shortage(spec, world, facts))),
        Target::Again(_) | Target::New(_) => Some((Action::Replace, reasons.join(", "))),
    }
}

/// What is done where no instance has to be made anew, and what that comes to.
fn adjustment(
    from: &ServiceSpec,
    to: &ServiceSpec,
    sizes: (u32, u32),
    reasons: &[String],
) -> (Action, String) {
    let scaled = ServiceSpec { instances: to.instances, scale: to.scale.clone(), ..from.clone() };
    let action = if differences(&scaled, to).is_empty() { Action::Scale } else { Action::Adjust };
    let comes_to = match sizes {
        (from, to) if from < to => format!("{} started beside those that run", are(to - from)),
        (from, to) if from > to => format!("{} drained and stopped", are(from - to)),
        (_, _) => "the instances that run serve on".to_owned(),
    };
    (action, format!("{}; {comes_to}", reasons.join(", ")))
}

/// A number of instances, and the verb that goes with it.
fn are(count: u32) -> String {
    let noun = if count == 1 { "instance is" } else { "instances are" };
    format!("{count} {noun}")
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
    let wanted = world.serving_size(&spec.name);
    let noun = if wanted == 1 { "instance serves" } else { "instances serve" };
    let mut reason = format!("{healthy} of {wanted} {noun} healthy");
    if let Some(RepairState::GaveUp { failures }) = repair_state(world, facts, &spec.name) {
        reason.push_str(&format!("; replacing was given up after {failures} failures in a row"));
    }
    reason
}
