//! How previews begin and how they end.

use hornero_model::{
    Actor, EventBody, Preview, ServiceKind, ServiceName, ServiceSpec, Share, Strategy,
};

use crate::planted::{Bug, planted};
use crate::{
    Facts, StartError, Target, World,
    record::{Record, Step},
    start::{start_down, start_forward},
};

/// Why there can be no such preview.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreviewError {
    /// The service does not serve.
    #[error("`{0}` does not serve: a preview stands beside what does")]
    NotServing(ServiceName),
    /// It holds data.
    #[error("`{0}` is stateful, and its data has one writer")]
    Stateful(ServiceName),
    /// Its previews would get too much.
    #[error(
        "previews of `{service}` would get {} of its requests, and they may get {} together",
        Share::percent(*sum),
        Share::percent(Preview::MOST_SHARED)
    )]
    TooMuch {
        /// The service.
        service: ServiceName,
        /// What they would get, in the unit of [`Share::weight`].
        sum: u32,
    },
    /// Its servers can't begin.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What the servers of a preview are made from: what `spec` says, without ways in of their own, and as many as its share
/// asks for.
pub fn preview_spec(runs_as: ServiceName, preview: &Preview, spec: &ServiceSpec) -> ServiceSpec {
    let share = u64::from(preview.share) * u64::from(spec.instances);
    let instances = share.div_ceil(u64::from(Share::WHOLE)).max(1);
    let mut own = ServiceSpec {
        name: runs_as,
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        routes: Vec::new(),
        max_age: None,
        budget: None,
        scale: None,
        migrate: None,
        ..spec.clone()
    };
    own.rollout.strategy = Strategy::BlueGreen;
    own.rollout.keep_warm = Default::default();
    own
}

/// Declares a preview and begins the rollout of what it shows, beside what it showed before where there is something; `spec`
/// is the service's. Nothing is begun where the same serves already.
pub fn start_preview(
    world: &World,
    facts: &Facts,
    (preview, spec): (&Preview, &ServiceSpec),
    by: &Actor,
    tail: &mut dyn FnMut() -> String,
) -> Result<Step, PreviewError> {
    let runs_as = check(world, preview, spec)?;
    let declared = EventBody::PreviewDeclared { preview: preview.clone() };
    let mut records = vec![Record::Event(by.clone(), declared)];
    let own = preview_spec(runs_as, preview, spec);
    match Target::of(world, facts, &own) {
        Target::Unchanged(_) | Target::Repair(_) => {}
        Target::Again(_) | Target::New(_) => {
            records.extend(start_forward(world, facts, &own, by, tail)?.records);
        }
    }
    Ok(Step { records })
}

/// What the preview runs as, where it can be.
fn check(
    world: &World,
    preview: &Preview,
    spec: &ServiceSpec,
) -> Result<ServiceName, PreviewError> {
    let name = &preview.service;
    let absent = || PreviewError::NotServing(name.clone());
    if world.services.get(name).is_none_or(|service| service.serving.is_none()) {
        return Err(absent());
    }
    if spec.kind == ServiceKind::Stateful || !spec.mounts.is_empty() {
        return Err(PreviewError::Stateful(name.clone()));
    }
    let others = world.previews.values().map(|open| &open.preview);
    let others = others.filter(|other| other.service == *name && other.name != preview.name);
    let sum = others.fold(preview.share, |sum, other| sum.saturating_add(other.share));
    if preview.share > 0 && sum > Preview::MOST_SHARED {
        return Err(PreviewError::TooMuch { service: name.clone(), sum });
    }
    preview.runs_as().map_err(|_| absent())
}

/// The end of previews: of one whose time is up or whose service is gone, and the last of one of which nothing is left. One
/// at a time, since each may begin a rollout.
pub(crate) fn lapse(world: &World, facts: &Facts) -> Vec<Record> {
    for (runs_as, open) in &world.previews {
        if world.rollout_of(runs_as).is_some() {
            continue;
        }
        let Preview { name, service, until, .. } = &open.preview;
        if world.is_over(runs_as) {
            let instances = || world.instances.of(runs_as).next().is_some();
            if !instances() && !facts.addresses.contains_key(runs_as) {
                let (preview, service) = (name.clone(), service.clone());
                let body = EventBody::PreviewRemoved { preview, service };
                return vec![Record::Event(Actor::hornero("nothing is left of it"), body)];
            }
            continue;
        }
        let shown = world.services.get(service);
        let why = if facts.now >= *until && !planted(Bug::KeepsPreviews) {
            format!("the time of preview `{name}` is up")
        } else if shown.is_none_or(|of| of.removed) && world.rollout_of(service).is_none() {
            format!("`{service}`, which preview `{name}` shows, was taken down")
        } else {
            continue;
        };
        if let Ok(step) = start_down(world, facts, runs_as, &Actor::hornero(why)) {
            return step.records;
        }
    }
    Vec::new()
}
