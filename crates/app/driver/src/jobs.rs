//! Jobs: requests on their way, one rollout after the other.

use std::collections::{BTreeSet, VecDeque};

use hornero_model::{
    Actor, InstanceId, Millis, Receipt, ReleaseNumber, RolloutId, ServiceName, ServiceSpec,
    Timestamp,
};
use hornero_rollout::{
    Failure, Phase, RepairState, Rollout, StartError, Step, Target, start_down, start_forward,
    start_rollback,
};

use crate::{
    Driver, DriverError, Outcome, OutcomeKind, Ports, Progress, Request, RequestId, RequestKind,
    ServiceOutcome,
};

/// How long a request waits for a repair it asked for: growing delays and start timeouts fit, a hung one ends.
const REPAIR_ALLOWANCE: Millis = Millis(300_000);
/// Requests that may wait; a client that asks for more is answered at once that it failed.
const JOBS: usize = 64;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Job {
    id: RequestId,
    by: Actor,
    /// What is left of it; the first is under way when `current` is set.
    items: VecDeque<Item>,
    current: Option<Current>,
    done: Vec<ServiceOutcome>,
    /// Whether its items still have to be found when its turn comes.
    down_all: bool,
}

#[derive(Debug, Clone)]
enum Item {
    Apply(Box<ServiceSpec>),
    Rollback(ServiceName, Option<ReleaseNumber>),
    Down(ServiceName),
}

#[derive(Debug, Clone)]
enum Current {
    Rollout(RolloutId),
    Repair { service: ServiceName, until: Timestamp },
}

/// What became of an item.
enum Verdict {
    Done(ServiceOutcome),
    Failed(OutcomeKind, ServiceOutcome, Failure),
}

impl Item {
    fn service(&self) -> &ServiceName {
        match self {
            Self::Apply(spec) => &spec.name,
            Self::Rollback(service, _) | Self::Down(service) => service,
        }
    }
}

impl Job {
    pub(crate) fn waits_for(&self, rollout: RolloutId) -> bool {
        matches!(&self.current, Some(Current::Rollout(id)) if *id == rollout)
    }
}

impl Driver {
    pub(crate) fn take(&mut self, request: Request) {
        let (mut down_all, mut first) = (false, false);
        let items = match request.kind {
            RequestKind::Apply { services } => {
                services.into_iter().map(|spec| Item::Apply(Box::new(spec))).collect()
            }
            RequestKind::Rollback { service, to } => VecDeque::from([Item::Rollback(service, to)]),
            RequestKind::Down { services } => {
                down_all = services.is_empty();
                self.down_order(services).into_iter().map(Item::Down).collect()
            }
            RequestKind::End { service } => {
                first = true;
                self.force(&service);
                VecDeque::from([Item::Down(service)])
            }
        };
        let (id, by) = (request.id, request.by);
        let place = if first { 0 } else { self.jobs.len() };
        self.jobs.insert(place, Job { id, by, items, current: None, done: Vec::new(), down_all });
    }

    /// Lets nothing of a service wait, until it is gone.
    fn force(&mut self, service: &ServiceName) {
        if self.world.services.get(service).is_none_or(|known| known.removed) {
            return;
        }
        self.facts.forced.insert(service.clone());
        let failure = Failure::of(format!("`{service}` is taken down by force"));
        self.halt(&failure, |_, rollout| rollout.service == *service);
    }

    /// Moves every job on as far as it goes. True when something was recorded or a job ended.
    pub(crate) fn advance_jobs(&mut self, ports: &mut dyn Ports) -> Result<bool, DriverError> {
        let mut moved = false;
        let mut busy: BTreeSet<ServiceName> = BTreeSet::new();
        let mut all_busy = false;
        let mut index = 0;
        while index < self.jobs.len() {
            let services: Vec<ServiceName> =
                self.jobs[index].items.iter().map(|item| item.service().clone()).collect();
            let down_all = self.jobs[index].down_all;
            let crowded = index >= JOBS;
            let free = !all_busy
                && !services.iter().any(|service| busy.contains(service))
                && !(down_all && (!busy.is_empty() || !self.world.rollouts.is_empty()));
            let over = if crowded {
                let failure = Failure::of(format!("{JOBS} requests are waiting already"));
                let service = services.first().cloned();
                Some((OutcomeKind::Failed, service.map(|service| (service, failure))))
            } else if free {
                self.advance_job(index, &mut moved, ports)?
            } else {
                None
            };
            if let Some((result, failure)) = over {
                let job = self.jobs.remove(index);
                moved = true;
                let outcome = Outcome { result, services: job.done, failure };
                ports.progress(Progress::Finished { request: job.id, outcome });
            } else {
                all_busy |= down_all;
                busy.extend(services);
                index += 1;
            }
        }
        Ok(moved)
    }

    /// Moves one job on. Gives its end, if it came to it.
    #[allow(clippy::type_complexity)]
    fn advance_job(
        &mut self,
        index: usize,
        moved: &mut bool,
        ports: &mut dyn Ports,
    ) -> Result<Option<(OutcomeKind, Option<(ServiceName, Failure)>)>, DriverError> {
        if std::mem::take(&mut self.jobs[index].down_all) {
            let items = self.down_order(Vec::new()).into_iter().map(Item::Down).collect();
            self.jobs[index].items = items;
        }
        loop {
            let Some(item) = self.jobs[index].items.front().cloned() else {
                return Ok(Some((OutcomeKind::Done, None)));
            };
            let verdict = match self.jobs[index].current.clone() {
                Some(current) => match self.verdict(&current, ports) {
                    Some(verdict) => verdict,
                    None => return Ok(None),
                },
                // A rollout that an earlier control process began comes first.
                None if self.world.rollout_of(item.service()).is_some() => return Ok(None),
                None => match self.begin(index, &item, ports)? {
                    Some(verdict) => verdict,
                    None => {
                        *moved = true;
                        return Ok(None);
                    }
                },
            };
            let job = &mut self.jobs[index];
            job.current = None;
            job.items.pop_front();
            match verdict {
                Verdict::Done(outcome) => job.done.push(outcome),
                Verdict::Failed(kind, outcome, failure) => {
                    let service = outcome.service.clone();
                    job.done.push(outcome);
                    return Ok(Some((kind, Some((service, failure)))));
                }
            }
        }
    }

    /// Begins an item: gives its verdict where there is nothing to wait for.
    fn begin(
        &mut self,
        index: usize,
        item: &Item,
        ports: &mut dyn Ports,
    ) -> Result<Option<Verdict>, DriverError> {
        let by = self.jobs[index].by.clone();
        let begun = match item {
            Item::Apply(spec) => match Target::of(&self.world, &self.facts, spec) {
                Target::Unchanged(_) => {
                    return Ok(Some(Verdict::Done(self.outcome(&spec.name, None, None))));
                }
                Target::Repair(_) => {
                    let failures = self.world.services[&spec.name].failures;
                    self.facts.forgiven.insert(spec.name.clone(), failures);
                    let until = self.now().after(REPAIR_ALLOWANCE);
                    let service = spec.name.clone();
                    self.jobs[index].current = Some(Current::Repair { service, until });
                    return Ok(None);
                }
                Target::Again(_) | Target::New(_) => {
                    // A run of this image's tests that failed is not held against it twice.
                    let failed = |run: &hornero_rollout::TestRun| {
                        run.results.iter().any(|result| !result.passed)
                    };
                    if self.facts.tests.get(&spec.image).is_some_and(failed) {
                        self.facts.tests.remove(&spec.image);
                    }
                    let tail = &mut || ports.random_tail();
                    start_forward(&self.world, &self.facts, spec, &by, tail)
                }
            },
            Item::Rollback(service, to) => {
                let tail = &mut || ports.random_tail();
                start_rollback(&self.world, &self.facts, service, *to, &by, tail)
            }
            Item::Down(service) => {
                let runs = self.world.services.get(service).is_some_and(|of| !of.removed);
                if !runs && self.world.services.contains_key(service) {
                    return Ok(Some(Verdict::Done(self.outcome(service, None, None))));
                }
                start_down(&self.world, &self.facts, service, &by)
            }
        };
        match begun {
            Ok(Step { records }) => {
                let id = self.world.next_rollout();
                self.jobs[index].current = Some(Current::Rollout(id));
                let persisted = self.persist(records, ports);
                if persisted.is_err() {
                    self.jobs[index].current = None;
                }
                persisted.map(|()| None)
            }
            Err(error) => Ok(Some(self.refused(item.service(), &error))),
        }
    }

    fn verdict(&mut self, current: &Current, ports: &mut dyn Ports) -> Option<Verdict> {
        match current {
            Current::Rollout(id) => {
                let (mut rollout, receipt) = self.ended.remove(id)?;
                if let Some(failure) = &mut rollout.failure
                    && let (Some(instance), true) = (&failure.instance, failure.log_tail.is_empty())
                {
                    failure.log_tail = ports.log_tail(instance);
                }
                Some(self.judged(&rollout, receipt))
            }
            Current::Repair { service, until } => {
                let outcome = self.outcome(service, None, None);
                let reason = match self.repair_state(service) {
                    Some(RepairState::Whole) => return Some(Verdict::Done(outcome)),
                    Some(RepairState::GaveUp { failures }) => {
                        format!(
                            "`{service}` failed {failures} times in a row while it was repaired"
                        )
                    }
                    Some(RepairState::Repairing { .. }) if self.now() < *until => return None,
                    Some(RepairState::Repairing { .. }) => {
                        format!("`{service}` was not whole after {REPAIR_ALLOWANCE}")
                    }
                    None => format!("`{service}` no longer serves"),
                };
                Some(Verdict::Failed(OutcomeKind::Failed, outcome, Failure::of(reason)))
            }
        }
    }

    fn judged(&self, rollout: &Rollout, receipt: Option<Receipt>) -> Verdict {
        let outcome = self.outcome(&rollout.service, Some(rollout.id), receipt);
        let failure = rollout.failure.clone();
        let kind = match rollout.phase {
            Phase::RolledBack => OutcomeKind::RolledBack,
            Phase::Failed => match &failure {
                Some(Failure { refused: Some(_), .. }) => OutcomeKind::Refused,
                Some(_) | None => OutcomeKind::Failed,
            },
            Phase::Finished | Phase::Removed => return Verdict::Done(outcome),
            Phase::Preparing
            | Phase::Switching
            | Phase::Watching
            | Phase::Draining
            | Phase::Undoing
            | Phase::Returning
            | Phase::Clearing
            | Phase::Closing
            | Phase::Emptying => unreachable!("rollout {} is over", rollout.id),
        };
        let failure = failure.unwrap_or_else(|| Failure::of("the rollout failed"));
        Verdict::Failed(kind, outcome, failure)
    }

    fn refused(&self, service: &ServiceName, error: &StartError) -> Verdict {
        let mut failure = Failure::of(error.to_string());
        let kind = match error {
            StartError::NoService(_) | StartError::NoRelease(..) => OutcomeKind::NotFound,
            StartError::Unproven(..) => {
                failure.refused = Some("never-unproven".to_owned());
                OutcomeKind::Refused
            }
            StartError::Serves(..)
            | StartError::NothingBefore(..)
            | StartError::Busy(..)
            | StartError::Clash(_) => OutcomeKind::Failed,
        };
        Verdict::Failed(kind, self.outcome(service, None, None), failure)
    }

    /// A service as it is now.
    fn outcome(
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
        }
    }

    /// The services in the order they go down: each before those it depends on.
    fn down_order(&self, mut left: Vec<ServiceName>) -> Vec<ServiceName> {
        if left.is_empty() {
            let live = self.world.services.values().filter(|service| !service.removed);
            left = live.map(|service| service.name.clone()).collect();
        }
        let mut order = Vec::new();
        while !left.is_empty() {
            let needed: BTreeSet<&ServiceName> = left
                .iter()
                .filter_map(|name| self.world.services.get(name)?.serving_release())
                .flat_map(|release| &release.spec.depends_on)
                .collect();
            // In a circle nobody is free; then the first goes.
            let next = left.iter().position(|name| !needed.contains(name)).unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }

    pub(crate) fn request_of(&self, rollout: RolloutId) -> Option<RequestId> {
        self.jobs.iter().find(|job| job.waits_for(rollout)).map(|job| job.id)
    }

    pub(crate) fn request_for(&self, service: &ServiceName) -> Option<RequestId> {
        self.jobs
            .iter()
            .find(|job| match &job.current {
                Some(Current::Repair { service: of, .. }) => of == service,
                Some(Current::Rollout(_)) | None => false,
            })
            .map(|job| job.id)
    }

    /// Tells clients that a rollout entered a phase.
    pub(crate) fn tell_phase(
        &self,
        rollout: &Rollout,
        receipt: Option<&Receipt>,
        ports: &mut dyn Ports,
    ) {
        let (service, to) = (&rollout.service, rollout.to);
        let why = || rollout.failure.as_ref().map_or("", |failure| failure.reason.as_str());
        let message = match rollout.phase {
            Phase::Preparing => {
                format!("starting {} instances of `{service}@{to}`", rollout.set.len())
            }
            Phase::Switching => format!("switching to `{service}@{to}`"),
            Phase::Watching => {
                let ms = rollout.switch.map_or(0.0, |switch| switch.switch_ms);
                format!("`{service}@{to}` serves; the switch took {ms:.2} ms")
            }
            Phase::Draining => "waiting for the last requests on the old set".to_owned(),
            Phase::Finished => match receipt {
                Some(receipt) => {
                    format!("done; {} requests failed", receipt.body.requests_failed)
                }
                None => "done".to_owned(),
            },
            Phase::Undoing => format!("undoing: {}", why()),
            Phase::Failed => format!("failed: {}", why()),
            Phase::Returning => format!("going back: {}", why()),
            Phase::Clearing => "the release from before serves again".to_owned(),
            Phase::RolledBack => format!("rolled back: {}", why()),
            Phase::Closing => format!("closing the ways into `{service}`"),
            Phase::Emptying => format!("stopping the instances of `{service}`"),
            Phase::Removed if rollout.failure.is_some() => {
                format!("`{service}` is gone; {}", why())
            }
            Phase::Removed => format!("`{service}` is gone"),
        };
        let instance: Option<InstanceId> =
            rollout.failure.as_ref().and_then(|failure| failure.instance.clone());
        ports.progress(Progress::Step {
            request: self.request_of(rollout.id),
            service: service.clone(),
            rollout: Some(rollout.id),
            phase: rollout.phase.name(),
            message,
            instance,
        });
    }
}
