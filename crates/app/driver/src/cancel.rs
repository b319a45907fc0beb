//! Cancelling: a rollout under way ends the way a failed one does, and what waits ends before it begins.

use hornero_model::ServiceName;
use hornero_rollout::{Phase, Rollout, RolloutFailure};

use crate::{
    Driver, OutcomeKind,
    job::{Current, ItemOutcome},
};

impl Driver {
    /// Services that something is under way for, or waits: what can be cancelled.
    pub fn cancellable(&self) -> Vec<ServiceName> {
        let rollouts = self.world.rollouts.values().map(|rollout| rollout.service.clone());
        let waiting = self.jobs.iter().filter_map(|job| job.services().into_iter().next());
        let mut services: Vec<ServiceName> = rollouts.chain(waiting).collect();
        services.sort();
        services.dedup();
        services
    }

    /// Cancels what is under way for a service; gives the verdict where there is nothing to wait for. Nothing is
    /// acknowledged before the step that ends the rollout is in the ledger.
    pub(crate) fn cancel(&mut self, index: usize, service: &ServiceName) -> Option<ItemOutcome> {
        let Some(rollout) = self.world.rollout_of(service).cloned() else {
            return Some(self.cancel_waiting(index, service));
        };
        if let Some(reason) = self.facts.too_late_to_cancel(&rollout) {
            let outcome = self.outcome(service, Some(rollout.id), None);
            return Some(ItemOutcome::Failed(
                OutcomeKind::Failed,
                outcome,
                RolloutFailure::of(reason),
            ));
        }
        // One that failed already is on the way that it would be sent.
        if rollout.failure.is_none() {
            let by = self.jobs[index].by.clone();
            self.facts.cancelled.entry(rollout.id).or_insert(by);
        }
        self.jobs[index].current = Some(Current::Ending(rollout.id));
        None
    }

    /// Ends operations that have not come to the service, or wait for its repair.
    fn cancel_waiting(&mut self, index: usize, service: &ServiceName) -> ItemOutcome {
        let failure = RolloutFailure::cancelled(&self.jobs[index].by);
        let mut cancelled = 0;
        for job in self.jobs.iter_mut().filter(|job| job.services().contains(service)) {
            job.cancelled = Some((service.clone(), failure.clone()));
            cancelled += 1;
        }
        let outcome = self.outcome(service, None, None);
        if cancelled > 0 {
            return ItemOutcome::Done(outcome);
        }
        let failure = RolloutFailure::of(format!("nothing is under way for `{service}`"));
        ItemOutcome::Failed(OutcomeKind::NotFound, outcome, failure)
    }

    /// What became of a rollout that was cancelled.
    pub(crate) fn cancelled(&self, rollout: &Rollout) -> ItemOutcome {
        let Rollout { service, to, .. } = rollout;
        let outcome = self.outcome(service, Some(rollout.id), None);
        let over = match rollout.phase {
            Phase::Finished => format!("`{service}@{to}` serves already"),
            Phase::Removed => format!("`{service}` is gone already"),
            Phase::Failed if rollout.stays => {
                format!("`{service}@{to}` serves on: nothing that served before it is healthy")
            }
            Phase::Expanding
            | Phase::Preparing
            | Phase::Canary
            | Phase::Rolling
            | Phase::Replacing
            | Phase::Switching
            | Phase::Watching
            | Phase::Draining
            | Phase::Undoing
            | Phase::Failed
            | Phase::Returning
            | Phase::Clearing
            | Phase::RolledBack
            | Phase::Closing
            | Phase::Emptying => return ItemOutcome::Done(outcome),
        };
        ItemOutcome::Failed(OutcomeKind::Failed, outcome, RolloutFailure::of(over))
    }
}
