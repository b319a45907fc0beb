//! What becomes of the items of requests: how each is judged, and what is told of it.

use hornero_model::{Millis, Receipt, RolloutId, ServiceName};
use hornero_rollout::{Phase, RepairState, Rollout, RolloutFailure, StartError};

use crate::{
    Driver, OutcomeKind, Ports, ServiceOutcome,
    job::{Current, ItemOutcome},
};

/// How long a request waits for a repair it asked for: growing delays and start timeouts fit, a hung one ends.
const REPAIR_ALLOWANCE: Millis = Millis(300_000);

/// What refuses to go back behind it, as the documents name it.
const POINT_OF_NO_RETURN: &str = "point-of-no-return";
/// What refuses where a schema step could reach nothing.
const STEP_UNREACHED: &str = "step-unreached";

impl Driver {
    pub(crate) fn verdict(
        &mut self,
        current: &Current,
        ports: &mut dyn Ports,
    ) -> Option<ItemOutcome> {
        match current {
            Current::Ending(id) => {
                let (rollout, _) = self.ended.get(id)?;
                Some(self.cancelled(rollout))
            }
            Current::Rollout(id) => {
                let (mut rollout, receipt) = self.ended.get(id)?.clone();
                // Whoever takes a preview down is told once nothing is left of it.
                if rollout.phase == Phase::Removed
                    && self.world.previews.contains_key(&rollout.service)
                {
                    return None;
                }
                if let Some(failure) = &mut rollout.failure
                    && let (Some(instance), true) = (&failure.instance, failure.log_tail.is_empty())
                {
                    failure.log_tail = ports.log_tail(instance);
                }
                Some(self.judged(&rollout, receipt))
            }
            Current::Adjustment { service, release, until, taken_back } => {
                self.adjusted(service, *release, *until, taken_back.as_deref())
            }
            Current::Recycling { service, instances, until } => {
                self.recycled(service, instances, *until, ports)
            }
            Current::Repair { service, until } => {
                let outcome = self.outcome(service, None, None);
                let reason = match self.repair_state(service) {
                    Some(RepairState::Whole) => return Some(ItemOutcome::Done(outcome)),
                    Some(RepairState::GaveUp { failures }) => {
                        format!(
                            "`{service}` failed {failures} times in a row while it was repaired"
                        )
                    }
                    Some(RepairState::Held) => return Some(self.held(service)),
                    Some(RepairState::Repairing { .. }) if self.now() < *until => return None,
                    Some(RepairState::Repairing { .. }) => {
                        format!("`{service}` was not whole after {REPAIR_ALLOWANCE}")
                    }
                    None => format!("`{service}` no longer serves"),
                };
                Some(ItemOutcome::Failed(OutcomeKind::Failed, outcome, RolloutFailure::of(reason)))
            }
        }
    }

    fn judged(&self, rollout: &Rollout, receipt: Option<Receipt>) -> ItemOutcome {
        let outcome = self.outcome(&rollout.service, Some(rollout.id), receipt);
        let failure = rollout.failure.clone();
        let kind = match rollout.phase {
            Phase::RolledBack => OutcomeKind::RolledBack,
            Phase::Failed => match &failure {
                Some(RolloutFailure { refused: Some(_), .. }) => OutcomeKind::Refused,
                // Nothing of it came, and what served before serves.
                Some(_) if rollout.failed_by_step() && rollout.from.is_some() => {
                    OutcomeKind::RolledBack
                }
                Some(_) | None => OutcomeKind::Failed,
            },
            Phase::Finished | Phase::Removed => return ItemOutcome::Done(outcome),
            Phase::Expanding
            | Phase::Preparing
            | Phase::Canary
            | Phase::Rolling
            | Phase::Replacing
            | Phase::Switching
            | Phase::Watching
            | Phase::Draining
            | Phase::Undoing
            | Phase::Returning
            | Phase::Clearing
            | Phase::Closing
            | Phase::Emptying => unreachable!("rollout {} is over", rollout.id),
        };
        let failure = failure.unwrap_or_else(|| RolloutFailure::of("the rollout failed"));
        ItemOutcome::Failed(kind, outcome, failure)
    }

    /// Has a job wait until its service is whole: repair tries again, whatever failed before.
    pub(crate) fn begin_repair(&mut self, index: usize, service: &ServiceName) {
        let failures = self.world.services.get(service).map_or(0, |of| of.failures);
        self.facts.forgiven.insert(service.clone(), failures);
        let until = self.now().after(REPAIR_ALLOWANCE);
        self.jobs[index].current = Some(Current::Repair { service: service.clone(), until });
    }

    pub(crate) fn refused(&self, service: &ServiceName, error: &StartError) -> ItemOutcome {
        let mut failure = RolloutFailure::of(error.to_string());
        let kind = match error {
            StartError::NoRoom(no_room) => return self.crowded_out(no_room),
            StartError::NoService(_) | StartError::NoRelease(..) => OutcomeKind::NotFound,
            StartError::Unproven(..) => {
                failure.refused = Some("never-unproven".to_owned());
                OutcomeKind::Refused
            }
            StartError::NoReturn(..) => {
                failure.refused = Some(POINT_OF_NO_RETURN.to_owned());
                OutcomeKind::Refused
            }
            StartError::Unreached(..) => {
                failure.refused = Some(STEP_UNREACHED.to_owned());
                OutcomeKind::Refused
            }
            StartError::Step(step) => {
                failure.refused = Some(format!("step.{}", step.step));
                failure.instance = Some(step.run.clone());
                OutcomeKind::Refused
            }
            StartError::Serves(..)
            | StartError::NothingBefore(..)
            | StartError::Busy(..)
            | StartError::Clash(_) => OutcomeKind::Failed,
        };
        ItemOutcome::Failed(kind, self.outcome(service, None, None), failure)
    }

    /// A service as it is now.
    pub(crate) fn outcome(
        &self,
        name: &ServiceName,
        rollout: Option<RolloutId>,
        receipt: Option<Receipt>,
    ) -> ServiceOutcome {
        let release = self.world.services.get(name).and_then(|service| service.serving_release());
        ServiceOutcome {
            service: name.clone(),
            release: release.map(|release| release.number),
            image: release.map(|release| release.spec.image),
            rollout,
            receipt,
            adjusted: false,
            recycled: Vec::new(),
        }
    }
}
