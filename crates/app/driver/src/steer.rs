//! Steering: what somebody does to the rollout of a service while it is under way.

use hornero_model::{ServiceName, Steer};
use hornero_rollout::{Phase, Rollout, RolloutFailure, steer};

use crate::{Driver, DriverError, OutcomeKind, Ports, job::ItemOutcome};

impl Driver {
    /// Services with a rollout under way: what can be steered.
    pub fn steerable(&self) -> Vec<ServiceName> {
        self.world.rollouts.values().map(|rollout| rollout.service.clone()).collect()
    }

    /// Does to a rollout what was asked for, once that is in the ledger; gives no verdict where its end has to be waited
    /// for.
    pub(crate) fn steer(
        &mut self,
        index: usize,
        service: &ServiceName,
        did: Steer,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        let Some(rollout) = self.world.rollout_of(service) else {
            let failure = RolloutFailure::of(format!("no rollout of `{service}` is under way"));
            let outcome = self.outcome(service, None, None);
            return Ok(Some(ItemOutcome::Failed(OutcomeKind::NotFound, outcome, failure)));
        };
        if did == Steer::Abort {
            return Ok(self.cancel(index, service));
        }
        let (id, by) = (rollout.id, &self.jobs[index].by);
        let steered = steer(&self.world, &self.facts, rollout, did, by);
        let outcome = self.outcome(service, Some(id), None);
        Ok(Some(match steered {
            Ok(record) => {
                self.persist(vec![record], ports)?;
                ItemOutcome::Done(outcome)
            }
            Err(reason) => {
                ItemOutcome::Failed(OutcomeKind::Failed, outcome, RolloutFailure::of(reason))
            }
        }))
    }
}

/// What somebody just did to a rollout, for those who follow it; none where it came to its phase by itself.
pub(crate) fn steered(rollout: &Rollout) -> Option<String> {
    let last = rollout.interventions.last()?;
    if let Some(paused) = &rollout.paused {
        let service = &rollout.service;
        return Some(format!(
            "{last}; `hornero rollout resume {service}` goes on, at {} it is taken back",
            paused.until
        ));
    }
    let just_now = last.at == rollout.since && last.phase == rollout.phase.name();
    (just_now && rollout.phase == Phase::Preparing).then(|| last.to_string())
}
