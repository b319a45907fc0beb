//! The transitions of a rollout: from its state, the world and the facts to its next state and what is recorded.

use hornero_model::{EventBody, ExitCause, InstanceId, InstanceState, Millis, Share};

use crate::planted::{Bug, planted};
use crate::{
    Facts, GuardRound, Instance, Kind, OpenRun, Phase, Rollout, RolloutFailure, World,
    failing::{ended, start_failure},
    one_off::ending,
    record::{Record, changed},
    switch::{SWITCH_ALLOWANCE, begin_switch},
    times::{
        CONFIRM_ALLOWANCE, FORCE_ALLOWANCE, PREPARE_ALLOWANCE, RETURN_ALLOWANCE, UNDO_ALLOWANCE,
        closed_at, empty_allowance, plus,
    },
    view::{Confirmed, View},
};

/// What a rollout says that ended without a receipt.
const UNCOUNTED: &str = "the edge could not be asked how the last requests on the old set ended";

/// The next transition of a rollout, as what to record; none while it has to wait.
pub(crate) fn advance(
    rollout: &Rollout,
    world: &World,
    facts: &Facts,
    tail: &mut dyn FnMut() -> String,
) -> Option<Vec<Record>> {
    let view = View { rollout, world, facts };
    match rollout.phase {
        Phase::Expanding => view.expanding(tail),
        Phase::Preparing => view.preparing(tail),
        Phase::Canary => view.canary(),
        Phase::Rolling => view.rolling(tail),
        Phase::Replacing => view.replacing(tail),
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

impl View<'_> {
    fn preparing(&self, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        // Servers that are kept waiting may be unknown for a moment, as when the edge is started again.
        let fails = if self.rollout.paused.is_some() { ended_of } else { start_failure_of };
        let failure = self.halt().or_else(|| self.first(fails)).or_else(|| self.failed_test());
        if let Some(failure) = failure.or_else(|| self.paused_for_too_long()) {
            return Some(self.undo(failure));
        }
        if self.rollout.paused.is_some() {
            return None;
        }
        if !self.is_ready() {
            let late = self.waited(PREPARE_ALLOWANCE);
            let failure =
                || RolloutFailure::of(format!("it was not ready within {PREPARE_ALLOWANCE}"));
            return late.then(|| self.undo(failure()));
        }
        if let Some(kept) = self.kept_back(GuardRound::First, |failure| self.undo(failure)) {
            return kept;
        }
        let mut records = self.test_records();
        records.extend(self.set_states(&self.rollout.set, InstanceState::Ready));
        if let Some(begun) = self.begin_quiescing(tail) {
            records.extend(begun);
            return Some(records);
        }
        let next = self.begin_canary().or_else(|| self.begin_rolling());
        let next = next.or_else(|| self.begin_replacing());
        let switch = || begin_switch(self.rollout, self.world, self.facts);
        records.push(self.enter(next.unwrap_or_else(switch)));
        Some(records)
    }

    /// Whether the new set is ready to take over, where it runs before it does.
    pub(crate) fn is_ready(&self) -> bool {
        let healthy = self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id))
            || planted(Bug::SwitchesHalfReady) && self.any_healthy(&self.rollout.set);
        self.rollout.paused.is_none()
            && (self.replaces() || !self.rollout.set.is_empty())
            && healthy
            && (self.tests_passed() || planted(Bug::SwitchesUntested))
    }

    fn switching(&self) -> Option<Vec<Record>> {
        if let Some(confirmed) = self.confirmed() {
            return Some(self.switched(confirmed));
        }
        let late = self.facts.now >= self.rollout.since.after(SWITCH_ALLOWANCE);
        let failure = self.halt().or_else(|| self.serving_failure()).or_else(|| {
            late.then(|| {
                RolloutFailure::of(format!(
                    "{} did not switch within {SWITCH_ALLOWANCE}",
                    self.facts.laggards()
                ))
            })
        })?;
        Some(self.go_back(failure))
    }

    fn switched(&self, confirmed: Confirmed) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Watching, self.facts.now);
        next.switch = Some(self.replaced(&confirmed).unwrap_or(confirmed.switch));
        next.serves_again(confirmed.switch.at);
        if self.rollout.replacing.is_none() && self.facts.switching_here.contains(&self.rollout.id)
        {
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
        let spec = self.spec()?;
        // A rollback's target was watched when it was proven.
        let watch = match self.rollout.kind {
            Kind::Forward if planted(Bug::ProvesUnwatched) => Millis(0),
            Kind::Forward => spec.rollout.watch,
            Kind::Rollback | Kind::Removal => Millis(0),
        };
        if self.facts.now < self.rollout.since.after(watch) {
            return None;
        }
        if !self.read_back() {
            let failure = || {
                RolloutFailure::of(format!(
                    "the edge did not tell within {CONFIRM_ALLOWANCE} that the new set serves"
                ))
            };
            let late = self.waited(plus(watch, CONFIRM_ALLOWANCE));
            return late.then(|| self.fail_after_switch(failure()));
        }
        let proven = &self.world.services[&self.rollout.service].proven;
        let mut records = Vec::new();
        if !proven.contains(&self.rollout.to_terms()) {
            records.push(self.event(EventBody::ReleaseProven {
                service: self.rollout.service.clone(),
                release: self.rollout.to_terms(),
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
            let allowance = plus(self.spec()?.rollout.drain_timeout, CONFIRM_ALLOWANCE);
            return self.waited(allowance).then(|| self.finish_uncounted());
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
        records.extend(self.finished(self.rollout.enter(Phase::Finished, self.facts.now)));
        records
    }

    /// Nobody knows how the old set's requests ended: there is no receipt.
    fn finish_uncounted(&self) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Finished, self.facts.now);
        next.failure = Some(RolloutFailure::of(UNCOUNTED));
        self.finished(next)
    }

    fn finished(&self, next: Rollout) -> Vec<Record> {
        let mut records = Vec::new();
        let keep_warm = self.spec().is_some_and(|spec| spec.rollout.keep_warm.0 > 0);
        if keep_warm && self.rollout.leaves_whole_set() {
            records.extend(self.set_states(&self.rollout.old, InstanceState::Ready));
        }
        records.push(self.enter(next));
        records
    }

    fn undoing(&self) -> Option<Vec<Record>> {
        let kept = self.world.kept(&self.rollout.service);
        let gone = self
            .rollout
            .set
            .iter()
            .all(|id| kept.contains(id) || !self.world.instances.contains_key(id));
        let running: Vec<&OpenRun> = ending(self.world, &self.rollout.service).collect();
        let long = self.facts.now >= self.rollout.since.after(UNDO_ALLOWANCE);
        // What comes next must not begin beside a step that still runs.
        let late = long && running.iter().all(|open| self.facts.now >= open.due());
        (gone && running.is_empty() || late || self.forced())
            .then(|| vec![self.enter(self.rollout.enter(Phase::Failed, self.facts.now))])
    }

    fn returning(&self) -> Option<Vec<Record>> {
        if let Some(confirmed) = self.confirmed() {
            let mut next = self.rollout.enter(Phase::Clearing, self.facts.now);
            next.returned = Some(confirmed.switch);
            next.serves_again(confirmed.switch.at);
            let mut records = self.set_states(&self.rollout.old, InstanceState::Serving);
            records.push(self.enter(next));
            return Some(records);
        }
        // The switch may have happened just before the way back was decided. With nothing to go back to, what is
        // healthy of the new set serves on, as after a failed watch.
        let whole = [Share::whole(self.rollout.to)];
        let switched = self.rollout.switch.is_some() || self.confirmed_as(&whole).is_some();
        let (set, old) = (&self.rollout.set, &self.rollout.old);
        let stays = switched && self.any_healthy(set) && !self.any_healthy(old);
        let late = self.forced() || self.facts.now >= self.rollout.since.after(RETURN_ALLOWANCE);
        let nowhere = self.rollout.from.is_none() && stays;
        (nowhere || late).then(|| {
            let mut next = self.rollout.enter(Phase::Failed, self.facts.now);
            next.stays = stays;
            vec![self.enter(next)]
        })
    }

    fn clearing(&self) -> Option<Vec<Record>> {
        let returned = self.rollout.returned?;
        if !self.caught_up(Some(returned)) {
            let allowance = plus(self.spec()?.rollout.drain_timeout, CONFIRM_ALLOWANCE);
            let over = || self.enter(self.rollout.enter(Phase::Failed, self.facts.now));
            return self.waited(allowance).then(|| vec![over()]);
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

    /// What is closed as a guard has it: nothing, until the guards have passed.
    fn guarded_closing(&self) -> Option<Vec<Record>> {
        if let Some(failure) = self.halt().filter(|_| !self.forced()) {
            return Some(self.stay_open(failure));
        }
        let stay_open = |failure| self.stay_open(failure);
        if let Some(kept) = self.kept_back(GuardRound::First, stay_open) {
            return kept;
        }
        let mut next = self.rollout.enter(Phase::Closing, self.facts.now);
        next.guarding = false;
        Some(vec![self.enter(next)])
    }

    fn closing(&self) -> Option<Vec<Record>> {
        if self.rollout.guarding {
            return self.guarded_closing();
        }
        if let (Some(failure), false) = (self.cancelled(), self.forced()) {
            // A table on its way may still close them; it must not do so to a service that shall serve on.
            let settled = self.facts.unsettled.is_empty() || self.lasted(CONFIRM_ALLOWANCE);
            return settled.then(|| self.stay_open(failure));
        }
        // A status from before the table counts requests that it could still let in.
        let closed = self.confirmed().filter(|closed| self.caught_up(Some(closed.switch)));
        let unasked = planted(Bug::EmptiesUnclosed);
        if closed.is_none() && (self.forced() || unasked) {
            let emptying = || self.enter(self.rollout.enter(Phase::Emptying, self.facts.now));
            return (unasked || self.lasted(FORCE_ALLOWANCE)).then(|| vec![emptying()]);
        }
        if closed.is_none() {
            return self.lasted(CONFIRM_ALLOWANCE).then(|| self.stay_open(self.unclosed()));
        }
        let left = self.left_of_all();
        if self.is_closed()
            && let Some(kept) = self.kept_back(GuardRound::Last, |failure| self.stay_open(failure))
        {
            return kept;
        }
        if left > 0 && !self.cut_is_over() {
            return self.cut(closed_at(self.world, self.rollout, self.facts), left);
        }
        Some(vec![self.enter(self.rollout.enter(Phase::Emptying, self.facts.now))])
    }

    /// Requests in flight on whatever of the service has some.
    fn left_of_all(&self) -> u64 {
        let service = &self.rollout.service;
        self.facts
            .edge
            .iter()
            .flat_map(|edge| &edge.counters)
            .fold(0, |sum, of| sum + if self.world.counts(service, of) { of.in_flight } else { 0 })
    }

    /// Whether nobody is let in to what goes down, and those who are in had their time; what is cut off passed its guards.
    pub(crate) fn is_closed(&self) -> bool {
        let closed = self.confirmed().filter(|closed| self.caught_up(Some(closed.switch)));
        let begun = closed_at(self.world, self.rollout, self.facts);
        closed.is_some()
            && self.rollout.cut_off.is_none()
            && (self.left_of_all() == 0 || self.drained(begun))
    }

    fn unclosed(&self) -> RolloutFailure {
        let why = self.halt().map(|failure| format!(": {}", failure.reason)).unwrap_or_default();
        let service = &self.rollout.service;
        RolloutFailure::of(format!(
            "the edge did not close the ways into `{service}` within {CONFIRM_ALLOWANCE}{why}"
        ))
    }

    /// The removal is given up: the service is as it was before.
    fn stay_open(&self, failure: RolloutFailure) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Failed, self.facts.now);
        next.failure = Some(failure);
        vec![self.enter(next)]
    }

    fn emptying(&self) -> Option<Vec<Record>> {
        let service = &self.rollout.service;
        let left: Vec<&Instance> = self.world.instances.of(service).collect();
        let allowance = empty_allowance(self.world, service);
        let runs = ending(self.world, service).next().is_some();
        if (runs || !left.is_empty()) && !self.lasted(allowance) {
            return None;
        }
        let mut next = self.rollout.enter(Phase::Removed, self.facts.now);
        let mut records = Vec::new();
        if !left.is_empty() {
            // What the engine has and the ledger no longer knows of is ended as nobody's.
            let names: Vec<String> = left.iter().map(|of| format!("`{}`", of.id)).collect();
            next.failure = Some(RolloutFailure::of(format!(
                "{} could not be ended within {allowance}; that is tried on",
                names.join(", ")
            )));
        }
        for instance in left {
            let over = matches!(instance.state, InstanceState::Failed | InstanceState::Stopped);
            let states = [(!over).then_some(InstanceState::Stopped), Some(InstanceState::Archived)];
            let by = &self.rollout.by;
            records.extend(
                states.into_iter().flatten().map(|state| changed(by, instance, state, None)),
            );
        }
        records.push(self.enter(next));
        records.push(self.event(EventBody::ServiceRemoved { service: service.clone() }));
        Some(records)
    }

    pub(crate) fn undo(&self, failure: RolloutFailure) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Undoing, self.facts.now);
        next.failure = Some(failure);
        let mut records = self.test_records();
        records.push(self.enter(next));
        records
    }

    pub(crate) fn go_back(&self, failure: RolloutFailure) -> Vec<Record> {
        if self.rollout.replaces_forward() {
            return self.replace_back(failure);
        }
        let mut next = self.rollout.enter(Phase::Returning, self.facts.now);
        next.failure = Some(failure);
        next.cut_off = None;
        let mut records = self.set_states(&self.rollout.set, InstanceState::Draining);
        records.push(self.enter(next));
        records
    }

    /// Back to the old set where one of it is healthy. Where there is nothing to go back to, what is healthy of the
    /// new set serves on: taking it away would only cost more requests.
    fn fail_after_switch(&self, failure: RolloutFailure) -> Vec<Record> {
        if self.is_past_return() {
            let kept = "; it serves on, because no release before it can read its data";
            let reason = format!("{}{kept}", failure.reason);
            return self.stay(RolloutFailure { reason, ..failure });
        }
        if self.rollout.replaces_forward() {
            return self.replace_back(failure);
        }
        // Both sets ended with the host: of two that have to be made anew, the proven one is.
        let proven = &self.world.services[&self.rollout.service].proven;
        let with_host = failure.cause == Some(ExitCause::HostRestarted);
        if with_host && self.rollout.from_terms().is_some_and(|from| proven.contains(&from)) {
            return self.go_back(failure);
        }
        let stay = !self.any_healthy(&self.rollout.old)
            && (self.rollout.from.is_some() || self.any_healthy(&self.rollout.set))
            || planted(Bug::StaysWithTheSick);
        if !stay {
            return self.go_back(failure);
        }
        self.stay(failure)
    }

    /// It failed, and the new set serves.
    pub(crate) fn stay(&self, failure: RolloutFailure) -> Vec<Record> {
        let mut next = self.rollout.enter(Phase::Failed, self.facts.now);
        next.failure = Some(failure);
        next.stays = true;
        vec![self.enter(next)]
    }
}

fn ended_of(view: &View<'_>, id: &InstanceId) -> Option<RolloutFailure> {
    ended(view.world, view.facts, id)
}

fn start_failure_of(view: &View<'_>, id: &InstanceId) -> Option<RolloutFailure> {
    start_failure(view.world, view.facts, id, view.rollout.since)
}
