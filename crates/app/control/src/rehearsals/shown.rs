//! Rehearsals and proofs as they are shown.

use hornero_api::message::{ProofStatus, RehearsalStatus};
use hornero_model::{Millis, ServiceName, Timestamp};
use hornero_rollout::{RehearsalRun, World};

/// A rehearsal.
pub fn status(run: &RehearsalRun) -> RehearsalStatus {
    let end = run.end.as_ref();
    let failure = end.map(|(end, _)| end.failure.clone());
    RehearsalStatus {
        id: run.rehearsal.id.clone(),
        service: run.rehearsal.release.service.clone(),
        release: run.rehearsal.release.number,
        started: run.started,
        ended: end.map(|(_, at)| *at),
        seconds: end.and_then(|(end, _)| end.healthy_after).map(seconds),
        failure: failure.filter(|failure| !failure.is_empty()),
        counts: false,
    }
}

/// The last proof that a service could go back.
pub fn proof(world: &World, service: &ServiceName, now: Timestamp) -> Option<ProofStatus> {
    let proof = world.proof(service)?;
    let age_seconds = now.since(proof.at).0 / 1_000;
    Some(ProofStatus { age_seconds, seconds: seconds(proof.took) })
}

/// The last rehearsal of a service.
pub fn last(world: &World, service: &ServiceName) -> Option<RehearsalStatus> {
    let rehearsed = world.rehearsals.get(service)?;
    let counts = rehearsed.failed_since().is_some();
    rehearsed.last.as_ref().map(|run| RehearsalStatus { counts, ..status(run) })
}

fn seconds(span: Millis) -> f64 {
    span.duration().as_secs_f64()
}
