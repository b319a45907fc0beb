//! Jobs: requests on their way, one rollout after the other.

use std::collections::{BTreeSet, VecDeque};

use hornero_model::{
    Actor, InstanceId, Millis, Preview, Receipt, ReleaseNumber, RolloutId, ServiceName,
    ServiceSpec, Steer, Timestamp,
};
use hornero_rollout::{
    Bug, Declared, Phase, RepairState, Rollout, RolloutFailure, StartError, Step, Target,
    down_order, planted, start_down, start_forward, start_rollback,
};

use crate::{
    Driver, DriverError, Outcome, OutcomeKind, Ports, Progress, Request, RequestId, RequestKind,
    ServiceOutcome, previews,
};

/// How long a request waits for a repair it asked for: growing delays and start timeouts fit, a hung one ends.
const REPAIR_ALLOWANCE: Millis = Millis(300_000);
/// Requests that may wait; a client that asks for more is answered at once that it failed.
const JOBS: usize = 64;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: RequestId,
    pub(crate) by: Actor,
    /// What is left of it; the first is under way when `current` is set.
    pub(crate) items: VecDeque<Item>,
    pub(crate) current: Option<Current>,
    done: Vec<ServiceOutcome>,
    /// Whether its items still have to be found when its turn comes.
    down_all: bool,
    /// The directory that brings up what it declares.
    pub(crate) declared: Option<Declared>,
    /// Whether it may be brought up still has to be looked at when its turn comes.
    pub(crate) unchecked: bool,
    /// Why it ends before the next of its items begins.
    pub(crate) cancelled: Option<(ServiceName, RolloutFailure)>,
    /// Whether releases that failed are tried again.
    pub(crate) retry_failed: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Apply(Box<ServiceSpec>),
    /// What it runs as, the preview, and the service as it shows it.
    Preview(ServiceName, Box<(Preview, ServiceSpec)>),
    Rollback(ServiceName, Option<ReleaseNumber>),
    Down(ServiceName),
    Recycle(ServiceName, Option<InstanceId>),
    Cancel(ServiceName),
    Steer(ServiceName, Steer),
}

#[derive(Debug, Clone)]
pub(crate) enum Current {
    Rollout(RolloutId),
    Repair {
        service: ServiceName,
        until: Timestamp,
    },
    /// What serves goes on under the terms of this release.
    Adjustment {
        service: ServiceName,
        release: ReleaseNumber,
        until: Timestamp,
        /// Why the terms from before hold again, where they do.
        taken_back: Option<String>,
    },
    /// Instances are replaced one after the other.
    Recycling {
        service: ServiceName,
        instances: Vec<InstanceId>,
        until: Timestamp,
    },
    /// The end of a rollout that was cancelled.
    Ending(RolloutId),
}

/// How a job ended, and why where it failed.
pub(crate) type End = (OutcomeKind, Option<(ServiceName, RolloutFailure)>);

/// What became of an item.
pub(crate) enum ItemOutcome {
    Done(ServiceOutcome),
    Failed(OutcomeKind, ServiceOutcome, RolloutFailure),
}

impl Item {
    /// What shall run, where something shall.
    pub(crate) fn spec(&self) -> Option<&ServiceSpec> {
        match self {
            Self::Apply(spec) => Some(spec),
            Self::Preview(..)
            | Self::Rollback(..)
            | Self::Down(_)
            | Self::Recycle(..)
            | Self::Cancel(_)
            | Self::Steer(..) => None,
        }
    }

    fn service(&self) -> &ServiceName {
        match self {
            Self::Apply(spec) => &spec.name,
            Self::Preview(service, _)
            | Self::Rollback(service, _)
            | Self::Down(service)
            | Self::Recycle(service, _)
            | Self::Cancel(service)
            | Self::Steer(service, _) => service,
        }
    }

    /// Whether it is about what is under way, and waits for nobody.
    const fn is_about_others(&self) -> bool {
        match self {
            Self::Cancel(_) | Self::Steer(..) => true,
            Self::Apply(_)
            | Self::Preview(..)
            | Self::Rollback(..)
            | Self::Down(_)
            | Self::Recycle(..) => false,
        }
    }
}

impl Job {
    pub(crate) fn waits_for(&self, rollout: RolloutId) -> bool {
        match &self.current {
            Some(Current::Rollout(id) | Current::Ending(id)) => *id == rollout,
            Some(
                Current::Repair { .. } | Current::Adjustment { .. } | Current::Recycling { .. },
            )
            | None => false,
        }
    }

    pub(crate) fn repairs(&self, service: &ServiceName) -> bool {
        match &self.current {
            Some(
                Current::Repair { service: repaired, .. }
                | Current::Adjustment { service: repaired, .. }
                | Current::Recycling { service: repaired, .. },
            ) => repaired == service,
            Some(Current::Rollout(_) | Current::Ending(_)) | None => false,
        }
    }

    /// Services that it has not come to the end of. One that is about others concerns none: it waits for nobody.
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        let works = |item: &&Item| !item.is_about_others();
        self.items.iter().filter(works).map(|item| item.service().clone()).collect()
    }
}

impl Driver {
    pub(crate) fn take(&mut self, request: Request) {
        let (mut down_all, mut first) = (false, false);
        let mut brought = None;
        let items = match request.kind {
            RequestKind::Bring { declared, services } => {
                let items = self.bring(&declared, services);
                brought = Some(*declared);
                items
            }
            RequestKind::Apply { services } => {
                services.into_iter().map(|spec| Item::Apply(Box::new(spec))).collect()
            }
            RequestKind::Preview { previews } => previews::items(previews),
            RequestKind::Rollback { service, to } => VecDeque::from([Item::Rollback(service, to)]),
            RequestKind::Down { services } => {
                down_all = services.is_empty();
                down_order(&self.world, services).into_iter().map(Item::Down).collect()
            }
            RequestKind::End { service } => {
                first = true;
                self.force(&service);
                VecDeque::from([Item::Down(service)])
            }
            RequestKind::Recycle { service, instance } => {
                VecDeque::from([Item::Recycle(service, instance)])
            }
            RequestKind::Cancel { service } => {
                first = true;
                VecDeque::from([Item::Cancel(service)])
            }
            RequestKind::Steer { service, steer } => {
                first = true;
                VecDeque::from([Item::Steer(service, steer)])
            }
        };
        let (id, by) = (request.id, request.by);
        let place = if first { 0 } else { self.jobs.len() };
        let job = Job {
            id,
            by,
            items,
            current: None,
            done: Vec::new(),
            down_all,
            unchecked: brought.is_some(),
            declared: brought,
            cancelled: None,
            retry_failed: request.retry_failed,
        };
        self.jobs.insert(place, job);
    }

    /// Lets nothing of a service wait, until it is gone.
    fn force(&mut self, service: &ServiceName) {
        if self.world.services.get(service).is_none_or(|known| known.removed) {
            return;
        }
        self.facts.forced.insert(service.clone());
        let failure = RolloutFailure::of(format!("`{service}` is taken down by force"));
        self.facts.halt(&self.world, &failure, |rollout| rollout.service == *service);
    }

    /// Moves every job on as far as it goes. True when something was recorded or a job ended.
    pub(crate) fn advance_jobs(&mut self, ports: &mut dyn Ports) -> Result<bool, DriverError> {
        let mut moved = false;
        let mut busy: BTreeSet<ServiceName> = BTreeSet::new();
        let mut all_busy = false;
        let mut index = 0;
        while index < self.jobs.len() {
            let services = self.jobs[index].services();
            let down_all = self.jobs[index].down_all;
            let crowded = index >= JOBS;
            let free = !all_busy
                && !services.iter().any(|service| busy.contains(service))
                && !(down_all && (!busy.is_empty() || !self.world.rollouts.is_empty()));
            let over = if crowded {
                let failure = RolloutFailure::of(format!("{JOBS} requests are waiting already"));
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
    fn advance_job(
        &mut self,
        index: usize,
        moved: &mut bool,
        ports: &mut dyn Ports,
    ) -> Result<Option<End>, DriverError> {
        if std::mem::take(&mut self.jobs[index].down_all) {
            let items = down_order(&self.world, Vec::new()).into_iter().map(Item::Down).collect();
            self.jobs[index].items = items;
        }
        if let Some(refusal) = self.refused_whole(index) {
            return Ok(Some(refusal));
        }
        loop {
            let Some(item) = self.jobs[index].items.front().cloned() else {
                return Ok(Some((OutcomeKind::Done, None)));
            };
            let job = &mut self.jobs[index];
            let between = !matches!(job.current, Some(Current::Rollout(_) | Current::Ending(_)));
            if between && let Some(cancelled) = job.cancelled.take() {
                self.take_back(index, &cancelled, ports)?;
                return Ok(Some((OutcomeKind::Failed, Some(cancelled))));
            }
            let verdict = match self.jobs[index].current.clone() {
                Some(current) => match self.verdict(&current, ports) {
                    Some(verdict) => verdict,
                    None => return Ok(None),
                },
                // A rollout that an earlier control process began comes first.
                None if !item.is_about_others()
                    && self.world.rollout_of(item.service()).is_some() =>
                {
                    return Ok(None);
                }
                None if self.makes_way(index, &item, moved, ports)? => return Ok(None),
                None => match self.begin(index, &item, ports)? {
                    Some(verdict) => verdict,
                    None => {
                        *moved = true;
                        return Ok(None);
                    }
                },
            };
            let recycles = matches!(self.jobs[index].current, Some(Current::Recycling { .. }));
            if let (ItemOutcome::Failed(_, outcome, failure), true) = (&verdict, recycles) {
                let service = &outcome.service;
                let by = Actor::hornero(failure.reason.clone());
                self.end_recycling(service, by, ports)?;
            }
            let job = &mut self.jobs[index];
            job.current = None;
            job.items.pop_front();
            match verdict {
                ItemOutcome::Done(outcome) => job.done.push(outcome),
                ItemOutcome::Failed(kind, outcome, failure) => {
                    let service = outcome.service.clone();
                    job.done.push(outcome);
                    return Ok(Some((kind, Some((service, failure)))));
                }
            }
        }
    }

    /// Begins an item: gives its verdict where there is nothing to wait for.
    #[allow(clippy::too_many_lines, reason = "one arm for each item")]
    fn begin(
        &mut self,
        index: usize,
        item: &Item,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        let by = self.jobs[index].by.clone();
        let begun = match item {
            Item::Apply(spec) => match Target::of(&self.world, &self.facts, spec) {
                Target::Repair(_) if planted(Bug::AnswersBeforeRepair) => {
                    return Ok(Some(ItemOutcome::Done(self.outcome(&spec.name, None, None))));
                }
                Target::Unchanged(_) => {
                    self.own(index, &spec.name, ports)?;
                    return Ok(Some(ItemOutcome::Done(self.outcome(&spec.name, None, None))));
                }
                Target::Repair(_) if self.facts.held.contains(&spec.name) => {
                    return Ok(Some(self.held(&spec.name)));
                }
                Target::Repair(_) => {
                    self.own(index, &spec.name, ports)?;
                    self.begin_repair(index, &spec.name);
                    return Ok(None);
                }
                Target::Again(_) | Target::New(_) => {
                    if let Some(verdict) = self.failed_before(index, spec) {
                        return Ok(Some(verdict));
                    }
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
            Item::Preview(service, preview) => {
                return self.begin_preview(index, service, preview, ports);
            }
            Item::Rollback(service, to) => {
                let tail = &mut || ports.random_tail();
                start_rollback(&self.world, &self.facts, service, *to, &by, tail)
            }
            Item::Down(service) => {
                let runs = self.world.services.get(service).is_some_and(|of| !of.removed);
                if !runs && self.is_known(service) {
                    return Ok(Some(ItemOutcome::Done(self.outcome(service, None, None))));
                }
                start_down(&self.world, &self.facts, service, &by)
            }
            Item::Recycle(service, instance) => {
                return self.begin_recycling(index, service, instance.as_ref(), ports);
            }
            Item::Cancel(service) => return Ok(self.cancel(index, service)),
            Item::Steer(service, steer) => return self.steer(index, service, *steer, ports),
        };
        match begun {
            Ok(step) => {
                let current = match step.begins_rollout() {
                    true => Current::Rollout(self.world.next_rollout()),
                    false => self.adjustment(item.service(), &step),
                };
                let Step { mut records } = step;
                if matches!(item, Item::Apply(_)) {
                    records.extend(self.owned(index, item.service()));
                }
                self.jobs[index].current = Some(current);
                let persisted = self.persist(records, ports);
                if persisted.is_err() {
                    self.jobs[index].current = None;
                }
                persisted.map(|()| None)
            }
            Err(error) => Ok(Some(self.refused(item.service(), &error))),
        }
    }

    fn verdict(&mut self, current: &Current, ports: &mut dyn Ports) -> Option<ItemOutcome> {
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
                Some(_) | None => OutcomeKind::Failed,
            },
            Phase::Finished | Phase::Removed => return ItemOutcome::Done(outcome),
            Phase::Preparing
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
