//! Schema steps as they are shown.

use hornero_api::message::{StepState, StepStatus};
use hornero_model::{ServiceName, StepPhase};
use hornero_rollout::{ReleaseStep, StepProgress, World, release_steps};

/// The steps of the release that serves, or that is on its way.
pub fn shown(world: &World, service: &ServiceName) -> Vec<StepStatus> {
    let serving = world.services.get(service).and_then(|of| of.serving.as_ref());
    let rollout = world.rollout_of(service).map(|rollout| rollout.to_terms());
    let Some(number) = rollout.or(serving.map(|set| set.release)) else { return Vec::new() };
    let Some(release) = world.release(service, number) else { return Vec::new() };
    let of = |phase| release_steps(world, &release.spec, number, phase);
    let all = of(StepPhase::Expand).into_iter().chain(of(StepPhase::Contract));
    all.map(|step| status(&step)).collect()
}

fn status(step: &ReleaseStep<'_>) -> StepStatus {
    let (state, why) = match step.progress() {
        None => (StepState::Waits, None),
        Some(StepProgress::NotBegun(why)) => (StepState::Waits, Some(why.clone())),
        Some(StepProgress::Running) => (StepState::Running, None),
        Some(StepProgress::Done) => (StepState::Done, None),
        Some(StepProgress::Failed(why)) => (StepState::Failed, Some(why.clone())),
        Some(StepProgress::HalfWay(why)) => (StepState::HalfWay, Some(why.clone())),
    };
    let run = step.known.map(|(.., known)| known.run.clone());
    StepStatus { step: step.name, command: step.command.to_vec(), state, run, why }
}
