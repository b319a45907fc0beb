//! The transitions of a rollout: from its state, the world and the facts to its next state and what is recorded.

use std::collections::BTreeSet;

use hornero_model::{
    EventBody, Health, InstanceId, InstanceState, Millis, ReceiptBody, ReleaseNumber, Timestamp,
};

use crate::{
    Baseline, Facts, Failure, Kind, Phase, Rollout, Switch, TestOutcome, World,
    repair::PATIENCE,
    step::{Record, changed},
};

/// How long an instance may take from the decision to a running command, beyond which its start counts as failed:
/// verification of a large image and a busy host fit, a hung start does not hold a rollout for ever.
pub(crate) const START_ALLOWANCE: Millis = Millis(60_000);
/// How long the edge may take to confirm a switch before the rollout goes back.
const SWITCH_ALLOWANCE: Millis = Millis(30_000);
/// How long cut requests may take to leave the edge's counters; the rollout ends without them after it.
const CUT_ALLOWANCE: Millis = Millis(10_000);
/// How long stopping an undone set may hold up the answer; it goes on behind it.
const UNDO_ALLOWANCE: Millis = Millis(60_000);
/// How long a way back may wait for a healthy instance to go back to.
const RETURN_ALLOWANCE: Millis = Millis(120_000);
/// The test recorded as passed of an image that declares none, so that it need not be asked again.
const NO_TESTS: &str = "no tests declared";
/// Start timeout of an instance whose service declares no health contract; it is healthy once it runs.
const DEFAULT_START_TIMEOUT: Millis = Millis(60_000);

/// The next transition of a rollout, as what to record; none while it has to wait.
pub(crate) fn advance(rollout: &Rollout, world: &World, facts: &Facts) -> Option<Vec<Record>> {
    let view = View { rollout, world, facts };
    match rollout.phase {
        Phase::Preparing => view.preparing(),
        Phase::Switching => view.switching(),
        Phase::Watching => view.watching(),
        Phase::Draining => view.draining(),
        Phase::Undoing => view.undoing(),
        Phase::Returning => view.returning(),
        Phase::Clearing => view.clearing(),
        Phase::Closing => view.closing(),
        Phase::Emptying => view.emptying(),
        Phase::Finished | Phase::Failed | Phase::RolledBack | Phase::Removed => None,
    }
}

/// When an instance that shall become healthy is given up.
pub(crate) fn start_deadline(
    world: &World,
    facts: &Facts,
    id: &InstanceId,
    decided: Timestamp,
) -> Timestamp {
    let timeout = world
        .spec_of(id)
        .and_then(|spec| spec.health.as_ref())
        .map_or(DEFAULT_START_TIMEOUT, |health| health.start_timeout);
    match facts.running.get(id) {
        Some(running) => running.since.max(decided).after(timeout),
        None => decided.after(START_ALLOWANCE),
    }
}

/// Why an instance on its way up has failed, if it has.
pub(crate) fn start_failure(
    world: &World,
    facts: &Facts,
    id: &InstanceId,
    decided: Timestamp,
) -> Option<Failure> {
    if let Some(failure) = ended(world, facts, id) {
        return Some(failure);
    }
    if facts.healthy(world, id) || facts.now < start_deadline(world, facts, id, decided) {
        return None;
    }
    let reason = if facts.running.contains_key(id) {
        let seen = facts.edge.as_ref().and_then(|edge| {
            edge.backends.iter().find(|backend| backend.instance == *id)?.last_error.clone()
        });
        let seen = seen.unwrap_or_else(|| "the edge has not checked it".to_owned());
        format!("instance `{id}` did not become healthy in time: {seen}")
    } else {
        format!("instance `{id}` was not started within {START_ALLOWANCE}")
    };
    Some(Failure { instance: Some(id.clone()), ..Failure::of(reason) })
}

/// How an instance ended, if it did.
pub(crate) fn ended(world: &World, facts: &Facts, id: &InstanceId) -> Option<Failure> {
    if let Some(exit) = facts.exited.get(id) {
        return Some(Failure {
            reason: format!("instance `{id}` {}", exit.cause),
            instance: Some(id.clone()),
            cause: Some(exit.cause.clone()),
            log_tail: exit.log_tail.clone(),
            refused: None,
        });
    }
    let gone = match world.instances.get(id) {
        None => true,
        Some(instance) => {
            matches!(instance.state, InstanceState::Failed | InstanceState::Stopped)
                || facts.stopped.contains(id)
        }
    };
    gone.then(|| Failure {
        instance: Some(id.clone()),
        ..Failure::of(format!("instance `{id}` is gone"))
    })
}

struct View<'a> {
    rollout: &'a Rollout,
    world: &'a World,
    facts: &'a Facts,
}

impl View<'_> {
    fn preparing(&self) -> Option<Vec<Record>> {
        if let Some(failure) = self.halt().or_else(|| self.first(start_failure_of)) {
            return Some(self.undo(failure));
        }
        if let Some(failure) = self.failed_test() {
            return Some(self.undo(failure));
        }
        let ready = !self.rollout.set.is_empty()
            && self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id))
            && self.tests_passed();
        if !ready {
            return None;
        }
        let mut records = self.test_records();
        records.extend(self.set_states(&self.rollout.set, InstanceState::Ready));
        records.push(self.enter(begin_switch(self.rollout, self.world, self.facts)));
        Some(records)
    }

    fn switching(&self) -> Option<Vec<Record>> {
        if let Some(confirmed) = self.confirmed(Some(self.rollout.to)) {
            return Some(self.switched(confirmed));
        }
        let late = self.facts.now >= self.rollout.since.after(SWITCH_ALLOWANCE);
        let failure = self.halt().or_else(|| self.serving_failure()).or_else(|| {
            late.then(|| Failure::of(format!("the edge did not switch within {SWITCH_ALLOWANCE}")))
        })?;
        Some(self.go_back(failure))
    }

    fn switched(&self, confirmed: Confirmed) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Watching, self.facts.now);
        next.switch = Some(confirmed.switch);
        if self.facts.switching_here.contains(&self.rollout.id) {
            next.baseline = confirmed.baseline;
        }
        let mut records = self.set_states(&self.rollout.set, InstanceState::Serving);
        records.extend(self.set_states(&self.rollout.old, InstanceState::Draining));
        records.push(self.enter(next));
        records
    }

    fn watching(&self) -> Option<Vec<Record>> {
        if let Some(failure) = self.halt().or_else(|| self.serving_failure()) {
            return Some(self.fail_after_switch(failure));
        }
        let spec = &self.world.release(&self.rollout.service, self.rollout.to)?.spec;
        // A rollback's target was watched when it was proven.
        let watch = match self.rollout.kind {
            Kind::Forward => spec.rollout.watch,
            Kind::Rollback | Kind::Removal => Millis(0),
        };
        if self.facts.now < self.rollout.since.after(watch) || !self.read_back() {
            return None;
        }
        let proven = &self.world.services[&self.rollout.service].proven;
        let mut records = Vec::new();
        if !proven.contains(&self.rollout.to) {
            records.push(self.event(EventBody::ReleaseProven {
                service: self.rollout.service.clone(),
                release: self.rollout.to,
            }));
        }
        if self.left(self.rollout.from) == 0 {
            records.extend(self.finish());
        } else {
            records.push(self.enter(self.rollout.enter(Phase::Draining, self.facts.now)));
        }
        Some(records)
    }

    fn draining(&self) -> Option<Vec<Record>> {
        if !self.caught_up(self.rollout.switch) {
            return None;
        }
        let left = self.left(self.rollout.from);
        if left == 0 || self.cut_is_over() {
            return Some(self.finish());
        }
        self.cut(self.rollout.switch?.at, left)
    }

    fn finish(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(switch) = self.rollout.switch {
            let (from, to) = (self.rollout.from, self.rollout.to);
            records.extend(self.receipt(switch, from, to));
        }
        let keep_warm = self
            .world
            .release(&self.rollout.service, self.rollout.to)
            .is_some_and(|release| release.spec.rollout.keep_warm.0 > 0);
        if keep_warm {
            records.extend(self.set_states(&self.rollout.old, InstanceState::Ready));
        }
        records.push(self.enter(self.rollout.enter(Phase::Finished, self.facts.now)));
        records
    }

    fn undoing(&self) -> Option<Vec<Record>> {
        let kept = self.world.kept(&self.rollout.service);
        let gone = self
            .rollout
            .set
            .iter()
            .all(|id| kept.contains(id) || !self.world.instances.contains_key(id));
        let late = self.facts.now >= self.rollout.since.after(UNDO_ALLOWANCE);
        (gone || late).then(|| vec![self.enter(self.rollout.enter(Phase::Failed, self.facts.now))])
    }

    fn returning(&self) -> Option<Vec<Record>> {
        if let Some(confirmed) = self.confirmed(self.rollout.from) {
            let mut next = self.rollout.enter(Phase::Clearing, self.facts.now);
            next.returned = Some(confirmed.switch);
            let mut records = self.set_states(&self.rollout.old, InstanceState::Serving);
            records.push(self.enter(next));
            return Some(records);
        }
        if self.facts.now < self.rollout.since.after(RETURN_ALLOWANCE) {
            return None;
        }
        let mut next = self.rollout.enter(Phase::Failed, self.facts.now);
        next.stays = self.any_healthy(&self.rollout.set) && self.rollout.switch.is_some();
        Some(vec![self.enter(next)])
    }

    fn clearing(&self) -> Option<Vec<Record>> {
        let returned = self.rollout.returned?;
        if !self.caught_up(Some(returned)) {
            return None;
        }
        let left = self.left(Some(self.rollout.to));
        if left > 0 && !self.cut_is_over() {
            return self.cut(returned.at, left);
        }
        let (Some(from), Some(_)) = (self.rollout.from, self.rollout.switch) else {
            // Nothing had been switched, or there was nothing to go back to.
            return Some(vec![self.enter(self.rollout.enter(Phase::Failed, self.facts.now))]);
        };
        let mut records: Vec<Record> =
            self.receipt(returned, Some(self.rollout.to), from).into_iter().collect();
        records.push(self.enter(self.rollout.enter(Phase::RolledBack, self.facts.now)));
        Some(records)
    }

    fn closing(&self) -> Option<Vec<Record>> {
        let closed = self.confirmed(None)?;
        // A status from before the table counts requests that it could still let in.
        if !self.caught_up(Some(closed.switch)) {
            return None;
        }
        let service = &self.rollout.service;
        let left: u64 =
            self.facts.edge.iter().flat_map(|edge| &edge.counters).fold(0, |sum, of| {
                sum + if of.pool.service == *service { of.in_flight } else { 0 }
            });
        if left > 0 && !self.cut_is_over() {
            return self.cut(self.rollout.since, left);
        }
        Some(vec![self.enter(self.rollout.enter(Phase::Emptying, self.facts.now))])
    }

    fn emptying(&self) -> Option<Vec<Record>> {
        let service = &self.rollout.service;
        if self.world.instances.values().any(|instance| instance.service == *service) {
            return None;
        }
        Some(vec![
            self.enter(self.rollout.enter(Phase::Removed, self.facts.now)),
            self.event(EventBody::ServiceRemoved { service: service.clone() }),
        ])
    }

    // Leaves.

    fn event(&self, body: EventBody) -> Record {
        Record::Event(self.rollout.by.clone(), body)
    }

    fn enter(&self, next: Rollout) -> Record {
        self.event(EventBody::RolloutStep { entry: Box::new(next.entry()) })
    }

    fn first(&self, failure: impl Fn(&Self, &InstanceId) -> Option<Failure>) -> Option<Failure> {
        self.rollout.set.iter().find_map(|id| failure(self, id))
    }

    fn halt(&self) -> Option<Failure> {
        self.facts.halted.get(&self.rollout.id).cloned()
    }

    /// Why the new set is not fit to serve, by what is positively known.
    fn serving_failure(&self) -> Option<Failure> {
        self.first(|view, id| {
            ended(view.world, view.facts, id).or_else(|| {
                let long = |since: &Timestamp| view.facts.now >= since.after(PATIENCE);
                let unhealthy = view.facts.health(view.world, id) == Health::Unhealthy
                    || view.facts.unhealthy_since.get(id).is_some_and(long);
                if !unhealthy {
                    return None;
                }
                let seen = view.facts.edge.as_ref().and_then(|edge| {
                    edge.backends.iter().find(|of| of.instance == *id)?.last_error.clone()
                });
                let seen = seen.map(|seen| format!(": {seen}")).unwrap_or_default();
                Some(Failure {
                    instance: Some(id.clone()),
                    ..Failure::of(format!("instance `{id}` became unhealthy{seen}"))
                })
            })
        })
    }

    fn undo(&self, failure: Failure) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Undoing, self.facts.now);
        next.failure = Some(failure);
        let mut records = self.test_records();
        records.push(self.enter(next));
        records
    }

    fn go_back(&self, failure: Failure) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Returning, self.facts.now);
        next.failure = Some(failure);
        next.cut_off = None;
        let mut records = self.set_states(&self.rollout.set, InstanceState::Draining);
        records.push(self.enter(next));
        records
    }

    /// Back to the old set where one of it is healthy. Where there is nothing to go back to, what is healthy of the
    /// new set serves on: taking it away would only cost more requests.
    fn fail_after_switch(&self, failure: Failure) -> Vec<Record> {
        let stay = !self.any_healthy(&self.rollout.old)
            && (self.rollout.from.is_some() || self.any_healthy(&self.rollout.set));
        if !stay {
            return self.go_back(failure);
        }
        let mut next = self.rollout.enter(Phase::Failed, self.facts.now);
        next.failure = Some(failure);
        next.stays = true;
        vec![self.enter(next)]
    }

    fn any_healthy(&self, set: &BTreeSet<InstanceId>) -> bool {
        set.iter().any(|id| self.facts.healthy(self.world, id))
    }

    fn failed_test(&self) -> Option<Failure> {
        let image = self.world.release(&self.rollout.service, self.rollout.to)?.spec.image;
        let run = self.facts.tests.get(&image)?;
        let failed = run.results.iter().find(|result| !result.passed)?;
        Some(Failure {
            log_tail: run.log_tail.clone(),
            ..Failure::of(format!(
                "test `{}` of image `{}` failed: {}",
                failed.test,
                image.short(),
                failed.detail
            ))
        })
    }

    fn tests_passed(&self) -> bool {
        let Some(release) = self.world.release(&self.rollout.service, self.rollout.to) else {
            return false;
        };
        self.rollout.kind == Kind::Rollback
            || self.world.image_passed(&release.spec.image)
            || self
                .facts
                .tests
                .get(&release.spec.image)
                .is_some_and(|run| run.results.iter().all(|result| result.passed))
    }

    /// The test results that are not in the ledger yet.
    fn test_records(&self) -> Vec<Record> {
        let Some(release) = self.world.release(&self.rollout.service, self.rollout.to) else {
            return Vec::new();
        };
        let image = release.spec.image;
        if self.world.image_passed(&image) {
            return Vec::new();
        }
        let Some(run) = self.facts.tests.get(&image) else { return Vec::new() };
        let tested = |test: &str, passed, detail: &str| {
            let (test, detail) = (test.to_owned(), detail.to_owned());
            self.event(EventBody::ImageTested { image, test, passed, detail })
        };
        if run.results.is_empty() {
            return vec![tested(NO_TESTS, true, "")];
        }
        let record = |of: &TestOutcome| tested(&of.test, of.passed, &of.detail);
        run.results.iter().map(record).collect()
    }

    /// Records that a set enters a state, leaving out what is in it or has ended.
    fn set_states(&self, set: &BTreeSet<InstanceId>, state: InstanceState) -> Vec<Record> {
        set.iter()
            .filter_map(|id| {
                let instance = self.world.instances.get(id)?;
                let wrong = match state {
                    InstanceState::Draining => instance.state == InstanceState::Serving,
                    InstanceState::Ready | InstanceState::Serving => {
                        instance.state != state
                            && !matches!(
                                instance.state,
                                InstanceState::Failed | InstanceState::Stopped
                            )
                            && !(state == InstanceState::Ready
                                && instance.state == InstanceState::Serving)
                    }
                    InstanceState::Created
                    | InstanceState::Starting
                    | InstanceState::Probing
                    | InstanceState::Stopped
                    | InstanceState::Failed
                    | InstanceState::Archived => false,
                };
                wrong.then(|| changed(&self.rollout.by, instance, state, None))
            })
            .collect()
    }

    /// Whether the edge confirmed a table in which this service's traffic goes to `active`.
    fn confirmed(&self, active: Option<ReleaseNumber>) -> Option<Confirmed> {
        let (service, from, to) = (&self.rollout.service, self.rollout.from, Some(self.rollout.to));
        let lost = if active == to { from } else { to };
        // A table on its way may undo what the one in force says.
        if self.facts.applying.is_some() {
            return None;
        }
        let Some(in_force) = &self.facts.in_force else {
            // Without ports there is nothing for the edge to switch; without a table it routes to nobody.
            let blank = self.facts.edge.as_ref().is_some_and(|edge| edge.generation == 0);
            return (self.has_no_ports() || (active.is_none() && blank)).then(|| Confirmed {
                switch: Switch {
                    generation: self.facts.generation(),
                    at: self.facts.now,
                    switch_ms: 0.0,
                    in_flight: 0,
                },
                baseline: self.rollout.baseline,
            });
        };
        let agrees = in_force
            .table
            .pools
            .iter()
            .filter(|pool| pool.name.service == *service)
            .all(|pool| pool.active == active);
        // The table must also know the set: one from before the service had pools agrees with anything.
        let knows = active.is_none()
            || self.has_no_ports()
            || in_force.table.pools.iter().any(|pool| pool.name.service == *service);
        let sum = |release: Option<ReleaseNumber>| {
            in_force
                .counters
                .iter()
                .filter(|of| of.pool.service == *service && Some(of.release) == release)
                .fold((0, 0), |sum, of| (sum.0 + of.in_flight, sum.1 + of.failed))
        };
        (agrees && knows).then(|| Confirmed {
            switch: Switch {
                generation: in_force.table.generation,
                at: in_force.at.max(self.rollout.since),
                switch_ms: in_force.switch_ms,
                in_flight: sum(lost).0,
            },
            baseline: Baseline { failed_from: sum(from).1, failed_to: sum(to).1 },
        })
    }

    fn has_no_ports(&self) -> bool {
        [self.rollout.from, Some(self.rollout.to)].into_iter().flatten().all(|number| {
            self.world
                .release(&self.rollout.service, number)
                .is_some_and(|release| release.spec.ports.is_empty())
        })
    }

    /// Whether a status read after the switch shows its table in force and the whole new set healthy.
    fn read_back(&self) -> bool {
        self.caught_up(self.rollout.switch)
            && self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id))
    }

    fn caught_up(&self, switch: Option<Switch>) -> bool {
        self.has_no_ports()
            || self.facts.edge.as_ref().is_some_and(|edge| {
                switch.is_some_and(|switch| edge.generation >= switch.generation)
            })
    }

    /// Requests in flight on a release by the edge's last status.
    fn left(&self, release: Option<ReleaseNumber>) -> u64 {
        let (Some(edge), Some(release)) = (&self.facts.edge, release) else { return 0 };
        edge.totals(&self.rollout.service, release).0
    }

    fn cut(&self, begun: Timestamp, left: u64) -> Option<Vec<Record>> {
        let spec = &self.world.release(&self.rollout.service, self.rollout.to)?.spec;
        let due = self.facts.now >= begun.after(spec.rollout.drain_timeout);
        if !due || self.rollout.cut_off.is_some() {
            return None;
        }
        let mut next = self.rollout.enter(self.rollout.phase, self.facts.now);
        next.cut_off = Some(left);
        Some(vec![self.enter(next)])
    }

    fn cut_is_over(&self) -> bool {
        self.rollout.cut_off.is_some() && self.facts.now >= self.rollout.since.after(CUT_ALLOWANCE)
    }

    /// The receipt of a switch, once it is final.
    fn receipt(
        &self,
        switch: Switch,
        from: Option<ReleaseNumber>,
        to: ReleaseNumber,
    ) -> Option<Record> {
        let rollout = self.rollout;
        let image = |number| Some(self.world.release(&rollout.service, number)?.spec.image);
        let failed = |release: Option<ReleaseNumber>, before: u64| {
            let edge = self.facts.edge.as_ref()?;
            Some(edge.totals(&rollout.service, release?).1.saturating_sub(before))
        };
        let cut_off = rollout.cut_off.unwrap_or(0);
        Some(Record::Receipt(Box::new(ReceiptBody {
            id: rollout.id,
            service: rollout.service.clone(),
            from,
            to,
            from_image: from.and_then(image),
            to_image: image(to)?,
            generation: switch.generation,
            switched: switch.at,
            switch_ms: switch.switch_ms,
            #[allow(clippy::cast_precision_loss)] // A rollout does not last 2^53 milliseconds.
            total_ms: switch.at.since(rollout.requested).0 as f64,
            drained: switch.in_flight.saturating_sub(cut_off),
            cut_off,
            requests_failed: failed(rollout.from, rollout.baseline.failed_from).unwrap_or(0)
                + failed(Some(rollout.to), rollout.baseline.failed_to).unwrap_or(0),
            warm: rollout.warm,
            by: rollout.by.clone(),
        })))
    }
}

/// The rollout as it enters the switch: what serves now is from here on the old set.
pub(crate) fn begin_switch(rollout: &Rollout, world: &World, facts: &Facts) -> Rollout {
    let mut next = rollout.enter(Phase::Switching, facts.now);
    let serving = world.services.get(&rollout.service).and_then(|of| of.serving.as_ref());
    next.from = serving.map(|set| set.release);
    next.old = serving.map(|set| set.instances.clone()).unwrap_or_default();
    let failed = |release: ReleaseNumber| {
        facts.edge.as_ref().map_or(0, |edge| edge.totals(&rollout.service, release).1)
    };
    next.baseline =
        Baseline { failed_from: next.from.map_or(0, failed), failed_to: failed(rollout.to) };
    next
}

fn start_failure_of(view: &View<'_>, id: &InstanceId) -> Option<Failure> {
    start_failure(view.world, view.facts, id, view.rollout.since)
}

/// A switch that the edge confirmed, and the counters at that moment.
struct Confirmed {
    switch: Switch,
    baseline: Baseline,
}

/// Moments at which time alone may move a rollout on.
pub(crate) fn times(rollout: &Rollout, world: &World, facts: &Facts) -> Vec<Timestamp> {
    let Some(release) = world.release(&rollout.service, rollout.to) else { return Vec::new() };
    let policy = &release.spec.rollout;
    let since = rollout.since;
    match rollout.phase {
        Phase::Preparing => {
            let deadline = |id| start_deadline(world, facts, id, since);
            rollout.set.iter().map(deadline).collect()
        }
        Phase::Switching => vec![since.after(SWITCH_ALLOWANCE)],
        Phase::Watching => vec![since.after(policy.watch)],
        Phase::Draining | Phase::Clearing => {
            let begun = rollout.returned.or(rollout.switch).map_or(since, |switch| switch.at);
            vec![begun.after(policy.drain_timeout), since.after(CUT_ALLOWANCE)]
        }
        Phase::Undoing => vec![since.after(UNDO_ALLOWANCE)],
        Phase::Returning => vec![since.after(RETURN_ALLOWANCE)],
        Phase::Closing => {
            vec![since.after(policy.drain_timeout), since.after(CUT_ALLOWANCE)]
        }
        Phase::Emptying | Phase::Finished | Phase::Failed | Phase::RolledBack | Phase::Removed => {
            Vec::new()
        }
    }
}
