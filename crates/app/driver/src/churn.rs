//! Limits of churn that were reached: what they hold back, and who lets it go on.

use hornero_conservation::{Churn, Refusal, Stopped};
use hornero_model::{Actor, Event, EventBody, ExitCause, InstanceState, ServiceName};
use hornero_rollout::{Concern, Effect, Record, RolloutFailure, SharedFailure, concern};

use crate::{Driver, DriverError, OutcomeKind, Ports, job::ItemOutcome};

/// The invariant, as the documents name it.
const BOUNDED_CHURN: &str = "bounded-churn";
/// The guard that keeps what fails for another reason than its release from being replaced.
const SHARED_FAILURE: &str = "shared-failure";

/// What somebody lets go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// A limit of churn was reached.
    Stopped(Stopped),
    /// What serves failed as another release did.
    Shared(ServiceName, SharedFailure),
}

impl Driver {
    /// What was made, beside what may be.
    pub fn churn(&self) -> &Churn {
        &self.churn
    }

    /// Lets servers of a service be made and removed again, or with none of every service that was stopped; gives what
    /// had stopped them, which is nothing where nothing had.
    ///
    /// # Errors
    /// As [`Driver::handle`]; then nothing was recorded.
    pub fn resume_churn(
        &mut self,
        by: &Actor,
        service: Option<&ServiceName>,
        ports: &mut dyn Ports,
    ) -> Result<Vec<Resumed>, DriverError> {
        self.look_at_clock(ports);
        let stopped: Vec<Stopped> = match service {
            Some(service) => self.churn.stopped_by(Some(service)).into_iter().cloned().collect(),
            None => self.churn.all_stopped().into_iter().cloned().collect(),
        };
        let shared: Vec<Resumed> = self
            .world
            .services
            .values()
            .filter(|of| service.is_none_or(|name| of.name == *name))
            .filter_map(|of| Some(Resumed::Shared(of.name.clone(), of.shared.clone()?)))
            .collect();
        let stopped: Vec<Resumed> =
            stopped.into_iter().map(Resumed::Stopped).chain(shared).collect();
        let mut services: Vec<Option<ServiceName>> = stopped
            .iter()
            .map(|resumed| match resumed {
                Resumed::Stopped(stopped) => stopped.breach.service.clone(),
                Resumed::Shared(service, _) => Some(service.clone()),
            })
            .collect();
        services.sort();
        services.dedup();
        if services.is_empty() {
            return Ok(stopped);
        }
        let record = |service| Record::Event(by.clone(), EventBody::ChurnResumed { service });
        let records = services.into_iter().map(record).collect();
        let held = self.facts.held.clone();
        self.persist(records, ports)?;
        // Whoever lets it go on wants it tried, however often it failed before.
        for service in held.difference(&self.facts.held) {
            let failures = self.world.services.get(service).map_or(0, |of| of.failures);
            self.facts.forgiven.insert(service.clone(), failures);
        }
        self.settle(ports)?;
        Ok(stopped)
    }

    /// Notes of which services nothing is made by itself.
    pub(crate) fn hold(&mut self) {
        let services = self.world.services.keys();
        self.facts.held = services.filter(|service| self.is_held_back(service)).cloned().collect();
    }

    /// Notes the same after events: where they are about single services, nothing else of the others is so than before.
    pub(crate) fn hold_after(&mut self, events: &[Event]) {
        let is_about_all = |event: &Event| concern(event) == Concern::All;
        if self.churn.stopped_by(None).is_some() || events.iter().any(is_about_all) {
            return self.hold();
        }
        for event in events {
            if let Concern::Service(service) = concern(event) {
                match self.is_held_back(service) {
                    true => self.facts.held.insert(service.clone()),
                    false => self.facts.held.remove(service),
                };
            }
        }
    }

    fn is_held_back(&self, service: &ServiceName) -> bool {
        let known = self.world.services.get(service);
        known.is_some_and(|known| self.churn.stopped(service).is_some() || known.shared.is_some())
    }

    /// That a server which a repair wanted is not made; what a rollout wanted is the rollout's.
    pub(crate) fn unstarted(&self, effect: &Effect, refusal: &Refusal) -> Option<EventBody> {
        let Effect::StartInstance { region, instance, release, spec, .. } = effect else {
            return None;
        };
        let rollout = self.world.rollout_of(&spec.name);
        let is_of_rollout = rollout.is_some_and(|rollout| rollout.set.contains(instance));
        (refusal.invariant == BOUNDED_CHURN && !is_of_rollout).then(|| EventBody::InstanceChanged {
            instance: instance.clone(),
            service: spec.name.clone(),
            release: *release,
            state: InstanceState::Stopped,
            cause: Some(ExitCause::NotStarted(refusal.to_string())),
            region: region.clone(),
        })
    }

    /// That a service is not repaired.
    pub(crate) fn held(&self, service: &ServiceName) -> ItemOutcome {
        let shared = self.world.services.get(service).and_then(|of| of.shared.as_ref());
        let shared = shared.map(|shared| (SHARED_FAILURE, shared.reason(service)));
        let stopped = self.churn.stopped(service);
        let stopped = stopped.map(|stopped| (BOUNDED_CHURN, stopped.breach.to_string()));
        let (guard, why) = stopped.or(shared).unwrap_or_default();
        let reason = format!("nothing of `{service}` is made until somebody lets it: {why}");
        let refused = Some(guard.to_owned());
        let failure = RolloutFailure { refused, ..RolloutFailure::of(reason) };
        ItemOutcome::Failed(OutcomeKind::Refused, self.outcome(service, None, None), failure)
    }
}
