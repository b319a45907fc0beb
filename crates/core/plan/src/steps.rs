//! The schema steps of a release that would be rolled out.

use hornero_model::{ServiceSpec, StepPhase};
use hornero_rollout::{ReleaseStep, StepProgress, Target, World, release_steps, unreached};

use crate::{Action, Change, ObjectKind};

/// The steps that a rollout of this service would run, in their order; none where it brings no release that has some.
pub(crate) fn steps(world: &World, spec: &ServiceSpec, target: Target) -> Vec<Change> {
    let (Target::Again(number) | Target::New(number)) = target else { return Vec::new() };
    let service = world.services.get(&spec.name);
    // What was proven comes back without them.
    if service.is_some_and(|of| of.proven.contains(&number)) {
        return Vec::new();
    }
    let reference = format!("{}@{number}", spec.name);
    let before = service.and_then(|of| of.serving.as_ref());
    let before = before.map(|set| format!("once `{}@{}` is retired", spec.name, set.terms));
    let before = before.unwrap_or_else(|| "once it serves".to_owned());
    let unreached = unreached(world, spec, number);
    let one = |step: ReleaseStep<'_>| {
        let command = step.command.join(" ");
        let when = match step.name.phase {
            StepPhase::Expand => format!("before anything of `{reference}` is started"),
            StepPhase::Contract => before.clone(),
        };
        let reason = match step.progress() {
            Some(StepProgress::Done) => return None,
            Some(StepProgress::Failed(why) | StepProgress::HalfWay(why)) => {
                format!("{when}: {command}; it {why} and keeps the rollout from beginning")
            }
            Some(StepProgress::Running | StepProgress::NotBegun(_)) | None
                if unreached == Some(step.name) =>
            {
                format!(
                    "{when}: {command}; nothing serves that it could reach, which keeps the rollout from beginning"
                )
            }
            Some(StepProgress::Running | StepProgress::NotBegun(_)) | None => {
                format!("{when}: {command}")
            }
        };
        let (kind, action) = (ObjectKind::Step, Action::Run);
        let object = format!("{}.{}", spec.name, step.name);
        Some(Change { kind, object, action, reason, renamed: None })
    };
    let of = |phase| release_steps(world, spec, number, phase);
    of(StepPhase::Expand).into_iter().chain(of(StepPhase::Contract)).filter_map(one).collect()
}
