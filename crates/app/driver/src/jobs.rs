//! The queue of requests: taken, and moved on one rollout after the other.

use std::collections::{BTreeSet, VecDeque};

use hornero_model::{Actor, ServiceName, ServiceSpec};
use hornero_rollout::{
    Bug, GuardOccasion, RolloutFailure, Step, Target, TestRun, down_order, planted, rule_steps,
    start_down, start_forward, start_rollback,
};

use crate::{
    Driver, DriverError, Outcome, OutcomeKind, Ports, Progress, Request, RequestKind,
    job::{Current, End, Item, ItemOutcome, Job},
    previews,
};

/// Requests that may wait; a client that asks for more is answered at once that it failed.
const JOBS: usize = 64;

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
            overridden: request.overridden,
            rulings: request.rulings,
        };
        self.jobs.insert(place, job);
    }

    /// Lets nothing of a service wait, until it is gone.
    fn force(&mut self, service: &ServiceName) {
        if self.world.services.get(service).is_none_or(|known| known.removed) {
            return;
        }
        self.facts.forced.insert(service.clone());
        self.attention.look_at(service);
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
                None => match self.begin_overriding(index, &item, ports)? {
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

    /// Begins an item, whatever the guards say that its job overrides.
    fn begin_overriding(
        &mut self,
        index: usize,
        item: &Item,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        // What guards said before is no answer to what is asked for now.
        let surplus = GuardOccasion::Surplus(item.service().clone());
        self.facts.guards.remove(&surplus);
        self.facts.overridden = self.jobs[index].overridden.clone();
        self.facts.rulings = self.jobs[index].rulings.clone();
        let begun = self.begin(index, item, ports);
        self.facts.overridden.clear();
        self.facts.rulings.clear();
        begun
    }

    /// Begins an item: gives its verdict where there is nothing to wait for.
    fn begin(
        &mut self,
        index: usize,
        item: &Item,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        let by = self.jobs[index].by.clone();
        let begun = match item {
            Item::Apply(spec) => {
                if let Some(begun) = self.begin_in_place(index, spec, ports)? {
                    return Ok(begun);
                }
                let tail = &mut || ports.random_tail();
                start_forward(&self.world, &self.facts, spec, &by, tail)
            }
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
            Ok(step) => self.follow(index, item, step, ports),
            Err(error) => Ok(Some(self.refused(item.service(), &error))),
        }
    }

    /// Brings up what is there already, or must not be tried: gives what [`Self::begin`] does then, and none where a rollout
    /// has to.
    fn begin_in_place(
        &mut self,
        index: usize,
        spec: &ServiceSpec,
        ports: &mut dyn Ports,
    ) -> Result<Option<Option<ItemOutcome>>, DriverError> {
        let name = &spec.name;
        let verdict = match Target::of(&self.world, &self.facts, spec) {
            Target::Repair(_) if planted(Bug::AnswersBeforeRepair) => {
                Some(ItemOutcome::Done(self.outcome(name, None, None)))
            }
            Target::Unchanged(_) => {
                self.own(index, name, ports)?;
                let by = &self.jobs[index].by;
                let ruled = rule_steps(&self.world, &self.facts, name, by);
                if !ruled.is_empty() {
                    self.persist(ruled, ports)?;
                }
                Some(ItemOutcome::Done(self.outcome(name, None, None)))
            }
            Target::Repair(_) if self.facts.held.contains(name) => Some(self.held(name)),
            Target::Repair(_) => {
                self.own(index, name, ports)?;
                self.begin_repair(index, name);
                None
            }
            Target::Again(_) | Target::New(_) => {
                if let Some(verdict) = self.failed_before(index, spec) {
                    return Ok(Some(Some(verdict)));
                }
                // A run of this image's tests that failed is not held against it twice.
                let failed = |run: &TestRun| run.results.iter().any(|result| !result.passed);
                if self.facts.tests.get(&spec.image).is_some_and(failed) {
                    self.facts.tests.remove(&spec.image);
                }
                return Ok(None);
            }
        };
        Ok(Some(verdict))
    }

    /// Records how an item begins, and has its job wait for the end of that.
    fn follow(
        &mut self,
        index: usize,
        item: &Item,
        step: Step,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
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
}
