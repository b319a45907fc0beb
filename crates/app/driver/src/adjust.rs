//! Adjustments of what serves: begun like rollouts, waited for like repairs.

use hornero_model::{Actor, EventBody, Millis, ReleaseNumber, ServiceName, Timestamp};
use hornero_rollout::{
    Record, RepairState, RolloutFailure, Step, routes_settled, surplus_refusal, take_back,
};

use crate::{
    Driver, DriverError, OutcomeKind, Ports, Progress, ServiceOutcome,
    job::{Current, ItemOutcome},
};

/// How long an adjustment may take: as a repair, whose growing delays fit, and a drain.
const ADJUST_ALLOWANCE: Millis = Millis(300_000);

impl Driver {
    /// What a job waits for that has begun an adjustment.
    pub(crate) fn adjustment(&mut self, service: &ServiceName, step: &Step) -> Current {
        let failures = self.world.services.get(service).map_or(0, |of| of.failures);
        self.facts.forgiven.insert(service.clone(), failures);
        let terms = |record: &Record| match record {
            Record::Event(_, EventBody::ServiceAdjusted { release, .. }) => Some(*release),
            Record::Event(..) | Record::Receipt(_) => None,
        };
        let release = step.records.iter().find_map(terms).unwrap_or(ReleaseNumber(0));
        let until = self.now().after(ADJUST_ALLOWANCE);
        Current::Adjustment { service: service.clone(), release, until, taken_back: None }
    }

    /// How an adjustment went; none while it goes on.
    pub(crate) fn adjusted(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
        until: Timestamp,
        taken_back: Option<&str>,
    ) -> Option<ItemOutcome> {
        let outcome = self.outcome(service, None, None);
        let as_it_is = outcome.clone();
        let failed = |reason: String| {
            let failure = RolloutFailure::of(reason);
            Some(ItemOutcome::Failed(OutcomeKind::Failed, as_it_is.clone(), failure))
        };
        let serving = self.world.services.get(service).and_then(|of| of.serving.as_ref());
        let Some(set) = serving else { return failed(format!("`{service}` no longer serves")) };
        let kept = surplus_refusal(&self.world, &self.facts, service);
        if set.terms != release {
            if let Some(refused) = kept {
                return Some(ItemOutcome::Failed(OutcomeKind::Refused, outcome, refused));
            }
            return failed(taken_back.unwrap_or("the terms from before hold again").to_owned());
        }
        let leaves = |id: &_| !set.instances.contains(id);
        let of_set = self.world.instances.of(service);
        let gone = !of_set.into_iter().any(|of| of.release == set.release && leaves(&of.id));
        let whole = self.repair_state(service) == Some(RepairState::Whole);
        // The ways in from before are closed by a table of its own, once those that come are seen to be open.
        let settled = set.leaving.is_none() && whole && gone;
        if settled && routes_settled(&self.world, &self.facts, &mut self.attention) {
            let outcome = ServiceOutcome { adjusted: true, ..outcome };
            return Some(ItemOutcome::Done(outcome));
        }
        let kept = kept.filter(|_| set.leaving.is_some());
        if self.now() < until && kept.is_none() {
            return None;
        }
        if let Some(refused) = kept {
            self.facts.unadjusted.insert(service.clone(), refused.reason);
            return None;
        }
        let reason = format!("`{service}` was not as asked after {ADJUST_ALLOWANCE}");
        if set.leaving.is_none() {
            return failed(reason);
        }
        self.facts.unadjusted.insert(service.clone(), reason);
        None
    }

    /// Takes the adjustment or the recycling back that a job waits for which ends.
    pub(crate) fn take_back(
        &mut self,
        index: usize,
        (service, failure): &(ServiceName, RolloutFailure),
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        if matches!(self.jobs[index].current, Some(Current::Recycling { .. })) {
            return self.end_recycling(service, Actor::hornero(failure.reason.clone()), ports);
        }
        let adjusts = matches!(self.jobs[index].current, Some(Current::Adjustment { .. }));
        let by = Actor::hornero(failure.reason.clone());
        match take_back(&self.world, service, by).filter(|_| adjusts) {
            Some(record) => self.persist(vec![record], ports),
            None => Ok(()),
        }
    }

    /// Tells that a service serves by other terms, and remembers why where they are those from before.
    pub(crate) fn tell_adjusted(
        &mut self,
        service: &ServiceName,
        by: &Actor,
        ports: &mut dyn Ports,
    ) {
        let Some(set) = self.world.services.get(service).and_then(|of| of.serving.as_ref()) else {
            return;
        };
        let terms = set.terms;
        let message = match set.leaving {
            Some(_) => format!("`{service}@{terms}` takes over the servers that run"),
            None => format!("`{service}@{terms}` serves again: {}", by.why),
        };
        for job in &mut self.jobs {
            if let Some(Current::Adjustment { service: adjusted, release, taken_back, .. }) =
                &mut job.current
                && adjusted == service
                && *release != terms
            {
                *taken_back = Some(by.why.clone());
            }
        }
        ports.progress(Progress::Step {
            request: self.request_for(service),
            service: service.clone(),
            rollout: None,
            phase: "adjusting",
            message,
            instance: None,
        });
    }
}
