//! The replacement of servers that can't run twice: requests wait while the old ones end and the new ones begin.

use std::collections::BTreeSet;

use hornero_model::{Admission, InstanceId, InstanceState, Millis, Timestamp};

use crate::{
    Facts, GuardRound, Phase, Replacing, ReplacingStage, Rollout, RolloutFailure, Switch, World,
    failing::{start_deadline, start_failure},
    preserving, quiescing,
    record::{Record, changed, created, new_ids},
    switch::{SWITCH_ALLOWANCE, with_old},
    view::{CUT_ALLOWANCE, Confirmed, View},
};

/// How long the servers that go may take beyond their grace before the others are started all the same.
const END_ALLOWANCE: Millis = Millis(120_000);
/// How long the old release may take to serve again before requests are let in to whatever of it is there.
const AGAIN_ALLOWANCE: Millis = Millis(180_000);

/// When time alone moves it on.
pub(crate) fn times(world: &World, facts: &Facts, rollout: &Rollout) -> Vec<Timestamp> {
    let since = rollout.since;
    let drain = world.release(&rollout.service, rollout.to_terms());
    let drain = drain.map(|release| release.spec.rollout.drain_timeout).unwrap_or_default();
    let deadlines = rollout.set.iter().map(|id| start_deadline(world, facts, id, since));
    let spans =
        [SWITCH_ALLOWANCE, drain, CUT_ALLOWANCE, end_allowance(world, rollout), AGAIN_ALLOWANCE];
    let held = rollout.switch.map(|switch| switch.at.after(drain));
    let quiesced = quiescing::until(world, rollout);
    let named = held.into_iter().chain(quiesced).chain([preserving::until(rollout)]);
    deadlines.chain(spans.map(|span| since.after(span))).chain(named).collect()
}

fn end_allowance(world: &World, rollout: &Rollout) -> Millis {
    let graces = [Some(rollout.to), rollout.from]
        .into_iter()
        .flatten()
        .filter_map(|number| Some(world.release(&rollout.service, number)?.spec.stop_grace().0));
    Millis(END_ALLOWANCE.0.saturating_add(graces.max().unwrap_or_default()))
}

impl Rollout {
    /// Whether requests of the service are let in.
    pub(crate) fn admission(&self) -> Admission {
        match &self.replacing {
            Some(Replacing { until, at_most, .. }) if self.replaces_now() => {
                Admission::Held { until: *until, at_most: *at_most }
            }
            Some(_) | None => Admission::Open,
        }
    }

    /// Whether its requests are held, or about to be, so that its servers may go.
    pub fn replaces_now(&self) -> bool {
        let is_quiet = |of: &Replacing| of.stage == ReplacingStage::Quiescing;
        self.phase == Phase::Replacing && !self.replacing.as_ref().is_some_and(is_quiet)
    }

    /// The run of the command that the servers that go were quiesced with; none before it is begun, and without one.
    pub fn quiesced_by(&self) -> Option<&InstanceId> {
        self.replacing.as_ref()?.quiesce.as_ref()
    }

    /// Whether it goes to the new release by replacing servers in their place.
    pub(crate) fn replaces_forward(&self) -> bool {
        self.replacing.as_ref().is_some_and(|replacing| !replacing.back)
    }

    /// The edge has confirmed that requests go to somebody since then.
    pub(crate) fn serves_again(&mut self, at: Timestamp) {
        if let Some(replacing) = &mut self.replacing
            && let Some(stopped) = replacing.stopped.take()
        {
            replacing.unavailable.0 += at.since(stopped).0;
        }
    }

    /// Servers of the old release that shall run while it is replaced: none but before that begins and on the way back.
    pub(crate) fn restored(&self, wanted: u32) -> u32 {
        let comes_back = |of: &Replacing| of.back && of.stage == ReplacingStage::Starting;
        let is_there = !self.replaces_now() || self.replacing.as_ref().is_some_and(comes_back);
        if is_there { wanted } else { 0 }
    }
}

impl View<'_> {
    /// Whether its servers are only started when those that serve are gone.
    pub(crate) fn replaces(&self) -> bool {
        let serving = self.world.services.get(&self.rollout.service);
        let serving = serving.is_some_and(|service| service.serving.is_some());
        serving && self.world.replace_policy(self.rollout).is_some()
    }

    /// The rollout as requests begin to be held; none where nothing serves that would be in the way.
    pub(crate) fn begin_replacing(&self) -> Option<Rollout> {
        let policy = self.world.replace_policy(self.rollout).filter(|_| self.replaces())?;
        let mut next = with_old(self.rollout, Phase::Replacing, self.world, self.facts);
        next.replacing = Some(Replacing {
            quiesce: self.rollout.quiesced_by().cloned(),
            ..Replacing::at(
                ReplacingStage::Holding,
                self.facts.now.after(policy.hold),
                policy.hold_requests,
            )
        });
        Some(next)
    }

    pub(crate) fn replacing(&self, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        let replacing = self.rollout.replacing.as_ref()?;
        let halt = self.halt().filter(|_| !replacing.back);
        match (replacing.stage, halt) {
            // Nothing was taken away yet.
            (ReplacingStage::Quiescing | ReplacingStage::Holding, Some(failure)) => {
                Some(self.reopen(Some(failure)))
            }
            (_, Some(failure)) => Some(self.replace_back(failure)),
            (ReplacingStage::Quiescing, None) => self.quiescing(replacing),
            (ReplacingStage::Holding, None) => self.hold(replacing),
            (ReplacingStage::Stopping, None) => self.stop(replacing, tail),
            (ReplacingStage::Preserving, None) => self.preserving(replacing, tail),
            (ReplacingStage::Restoring, None) => self.restoring(replacing, tail),
            (ReplacingStage::Starting, None) if replacing.back => self.come_again(),
            (ReplacingStage::Starting, None) => self.come(),
        }
    }

    /// Once requests wait and none is in flight on the servers that go, these are stopped.
    fn hold(&self, replacing: &Replacing) -> Option<Vec<Record>> {
        let confirmed = self.confirmed().map(|confirmed| confirmed.switch);
        let Some(held) = confirmed.filter(|_| self.caught_up(confirmed)) else {
            let late = self.facts.now >= self.rollout.since.after(SWITCH_ALLOWANCE);
            return (late && self.rollout.cut_off.is_none()).then(|| self.unheld(replacing));
        };
        let left =
            self.left(if replacing.back { Some(self.rollout.to) } else { self.rollout.from });
        if self.is_quiet()
            && let Some(kept) =
                self.kept_back(GuardRound::Last, |failure| self.reopen(Some(failure)))
        {
            return kept;
        }
        if left > 0 && !self.cut_is_over() {
            // What is cut off was in flight at this hold; by the next table it may have ended.
            let mut rollout = self.rollout.clone();
            rollout.switch = rollout.switch.or((!replacing.back).then_some(held));
            return View { rollout: &rollout, ..*self }.cut(held.at, left);
        }
        let mut next = self.rollout.enter(Phase::Replacing, self.facts.now);
        next.switch = next.switch.or((!replacing.back).then_some(held));
        next.replacing = Some(self.ends(replacing));
        let gone = if replacing.back { &self.rollout.set } else { &self.rollout.old };
        let mut records = self.end_all(gone);
        records.push(self.enter(next));
        Some(records)
    }

    /// Whether requests are held on the way forward, and those in flight had their time; what is cut off passed its guards.
    pub(crate) fn is_quiet(&self) -> bool {
        let holding = |of: &Replacing| of.stage == ReplacingStage::Holding && !of.back;
        if !self.rollout.replacing.as_ref().is_some_and(holding) || self.rollout.cut_off.is_some() {
            return false;
        }
        let held = self.confirmed().map(|confirmed| confirmed.switch);
        let held = held.filter(|_| self.caught_up(held));
        held.is_some_and(|held| self.left(self.rollout.from) == 0 || self.drained(held.at))
    }

    /// The edge does not hold requests: forward nothing was done yet, and on the way back it must go on.
    fn unheld(&self, replacing: &Replacing) -> Vec<Record> {
        if !replacing.back {
            let why = format!("the edge did not hold its requests within {SWITCH_ALLOWANCE}");
            return self.reopen(Some(RolloutFailure::of(why)));
        }
        let mut next = self.rollout.enter(Phase::Replacing, self.facts.now);
        next.replacing = Some(self.ends(replacing));
        let mut records = self.end_all(&self.rollout.set);
        records.push(self.enter(next));
        records
    }

    /// The servers that go are told to stop: from here on nobody serves.
    fn ends(&self, replacing: &Replacing) -> Replacing {
        let stopped = replacing.stopped.or(Some(self.facts.now));
        Replacing { stage: ReplacingStage::Stopping, stopped, ..replacing.clone() }
    }

    fn end_all(&self, gone: &BTreeSet<InstanceId>) -> Vec<Record> {
        let running = gone
            .iter()
            .filter_map(|id| self.world.instances.get(id))
            .filter(|of| !matches!(of.state, InstanceState::Stopped | InstanceState::Failed));
        let by = &self.rollout.by;
        running.map(|of| changed(by, of, InstanceState::Stopped, None)).collect()
    }

    /// Once the servers that go are gone, those that come are started.
    fn stop(&self, replacing: &Replacing, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        let gone = |id: &InstanceId| {
            !self.facts.running.contains_key(id)
                && (!self.world.instances.contains_key(id)
                    || self.facts.stopped.contains(id)
                    || self.facts.exited.contains_key(id)
                    || self.facts.removed.contains(id))
        };
        let all_gone = self.rollout.old.iter().chain(&self.rollout.set).all(gone);
        if !all_gone {
            let late = self.lasted(end_allowance(self.world, self.rollout));
            let why = || RolloutFailure::of("the servers before it did not end");
            return match replacing.back {
                false => late.then(|| self.replace_back(why())),
                true => late.then(|| self.reopen(None)),
            };
        }
        let stage = if !replacing.back && self.preserves() {
            ReplacingStage::Preserving
        } else if self.restores(replacing) {
            ReplacingStage::Restoring
        } else {
            return Some(self.start_those_that_come(replacing.clone(), tail));
        };
        let mut next = self.rollout.enter(Phase::Replacing, self.facts.now);
        next.replacing = Some(Replacing { stage, ..replacing.clone() });
        Some(vec![self.enter(next)])
    }

    /// Servers of the new release, or on the way back those that repair makes of the old one.
    pub(crate) fn start_those_that_come(
        &self,
        replacing: Replacing,
        tail: &mut dyn FnMut() -> String,
    ) -> Vec<Record> {
        let back = replacing.back;
        let mut next = self.rollout.enter(Phase::Replacing, self.facts.now);
        next.replacing = Some(Replacing { stage: ReplacingStage::Starting, ..replacing });
        let count = match self.spec().filter(|_| !back) {
            Some(spec) => self.world.size_of(spec),
            None => 0,
        };
        let Rollout { service, to, by, .. } = self.rollout;
        let fresh = new_ids(self.world, service, *to, count as usize, tail);
        let fresh: BTreeSet<InstanceId> = fresh.into_iter().collect();
        next.set.extend(fresh.iter().cloned());
        let mut records = vec![self.enter(next)];
        records.extend(fresh.into_iter().map(|id| created(by, service, *to, id)));
        records
    }

    /// Once the new servers are healthy, requests are let in to them.
    fn come(&self) -> Option<Vec<Record>> {
        let unfit = |view: &Self, id: &InstanceId| {
            start_failure(view.world, view.facts, id, view.rollout.since)
        };
        if let Some(failure) = self.first(unfit) {
            return Some(self.replace_back(failure));
        }
        let ready = self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id));
        ready.then(|| {
            let mut records = self.set_states(&self.rollout.set, InstanceState::Ready);
            let mut next = self.rollout.enter(Phase::Switching, self.facts.now);
            next.replacing.iter_mut().for_each(|replacing| replacing.let_in = true);
            records.push(self.enter(next));
            records
        })
    }

    /// Once the old release is there again as a whole, requests are let in to it.
    fn come_again(&self) -> Option<Vec<Record>> {
        let serving = self.world.services[&self.rollout.service].serving.as_ref()?;
        let wanted = self.world.wanted_instances(&self.rollout.service) as usize;
        let healthy = serving.instances.iter().filter(|id| self.facts.healthy(self.world, id));
        let late = self.lasted(AGAIN_ALLOWANCE);
        (healthy.count() >= wanted || late).then(|| self.reopen(None))
    }

    /// Requests are let in to the old release, as it is.
    pub(crate) fn reopen(&self, failure: Option<RolloutFailure>) -> Vec<Record> {
        let mut next = with_old(self.rollout, Phase::Returning, self.world, self.facts);
        next.baseline = self.rollout.baseline;
        next.failure = failure.or(next.failure);
        next.cut_off = None;
        // Forward nothing was done yet but to hold requests.
        if self.rollout.replaces_forward() {
            next.switch = None;
        }
        vec![self.enter(next)]
    }

    /// It failed when the old servers were on their way out or gone: they come again once the new ones are gone.
    pub(crate) fn replace_back(&self, failure: RolloutFailure) -> Vec<Record> {
        let Some(replacing) = &self.rollout.replacing else { return Vec::new() };
        let hold =
            self.world.replace_policy(self.rollout).map(|policy| policy.hold).unwrap_or_default();
        let until = self.facts.now.after(hold);
        // Servers that are on their way out are waited for first.
        let is_stopping =
            self.rollout.phase == Phase::Replacing && replacing.stage == ReplacingStage::Stopping;
        let stage = if is_stopping { ReplacingStage::Stopping } else { ReplacingStage::Holding };
        let mut next = self.rollout.enter(Phase::Replacing, self.facts.now);
        next.replacing = Some(Replacing { until, back: true, stage, ..replacing.clone() });
        next.failure = Some(failure);
        next.cut_off = None;
        vec![self.enter(next)]
    }

    /// The switch of servers that were replaced in their place: from the hold on nobody was served.
    pub(crate) fn replaced(&self, confirmed: &Confirmed) -> Option<Switch> {
        let held = self.rollout.switch.filter(|_| self.rollout.replaces_forward())?;
        let at = confirmed.switch.at;
        #[allow(clippy::cast_precision_loss)] // No hold lasts 2^53 milliseconds.
        let switch_ms = at.since(held.at).0 as f64;
        Some(Switch { at, switch_ms, ..held })
    }
}
