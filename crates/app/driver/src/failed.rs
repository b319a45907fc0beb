//! Releases that failed are not tried again without a word.

use hornero_model::ServiceSpec;
use hornero_rollout::{RolloutFailure, failed_before, is_adjustment};

use crate::{Driver, OutcomeKind, job::ItemOutcome};

/// The guard, as the documents name it.
const FAILED_RELEASE: &str = "failed-release";

impl Driver {
    /// Why a spec is not rolled out: its servers would be those of a release that failed; none where it may be.
    pub(crate) fn failed_before(&self, index: usize, spec: &ServiceSpec) -> Option<ItemOutcome> {
        // What serves proves that its servers work.
        if self.jobs[index].retry_failed || is_adjustment(&self.world, spec) {
            return None;
        }
        let (number, failed) = failed_before(&self.world, spec)?;
        let service = &spec.name;
        let reason = format!(
            "`{service}@{number}` failed at {}, and this would make the same servers: {}",
            failed.at, failed.failure.reason
        );
        let refused = Some(FAILED_RELEASE.to_owned());
        let failure = RolloutFailure { refused, ..RolloutFailure::of(reason) };
        Some(ItemOutcome::Failed(OutcomeKind::Refused, self.outcome(service, None, None), failure))
    }
}
