//! What a rollout sees of world and facts: the leaves of its transitions.

use std::collections::BTreeSet;

use hornero_model::{
    Admission, EventBody, Health, InstanceId, InstanceState, Intervention, Millis, ReceiptBody,
    ReleaseNumber, ServiceSpec, Share, Steer, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{
    Baseline, Facts, Kind, Rollout, RolloutFailure, Switch, TestOutcome, World,
    failing::{PATIENCE, ended},
    record::{Record, changed},
    routes::admission,
    stage::named,
    switch::held,
};

/// How long cut requests may take to leave the edge's counters; the rollout ends without them after it.
pub(crate) const CUT_ALLOWANCE: Millis = Millis(10_000);
/// The test recorded as passed of an image that declares none, so that it need not be asked again.
const NO_TESTS: &str = "no tests declared";

/// A rollout, and what it decides by.
pub(crate) struct View<'a> {
    pub rollout: &'a Rollout,
    pub world: &'a World,
    pub facts: &'a Facts,
}

/// A switch that the edge confirmed, and the counters at that moment.
pub(crate) struct Confirmed {
    pub switch: Switch,
    pub baseline: Baseline,
}

impl View<'_> {
    /// The spec by which the new set serves.
    pub(crate) fn spec(&self) -> Option<&ServiceSpec> {
        let release = self.world.release(&self.rollout.service, self.rollout.to_terms());
        release.map(|release| &release.spec)
    }

    pub(crate) fn event(&self, body: EventBody) -> Record {
        Record::Event(self.rollout.by.clone(), body)
    }

    pub(crate) fn enter(&self, mut next: Rollout) -> Record {
        // The step that ends it is the deed of whoever ended it.
        let ends = self.rollout.failure.is_none() && next.failure.is_some();
        let by = self.facts.cancelled.get(&self.rollout.id).filter(|_| ends);
        if let Some(by) = by.filter(|_| self.rollout.kind != Kind::Removal) {
            let phase = self.rollout.phase.name();
            let abort = Intervention::of(Steer::Abort, by, phase, self.facts.now);
            next.interventions.push(abort);
        }
        let body = EventBody::RolloutStep { entry: Box::new(next.entry()) };
        Record::Event(by.unwrap_or(&self.rollout.by).clone(), body)
    }

    pub(crate) fn first(
        &self,
        failure: impl Fn(&Self, &InstanceId) -> Option<RolloutFailure>,
    ) -> Option<RolloutFailure> {
        self.rollout.set.iter().find_map(|id| failure(self, id))
    }

    /// Whether the phase has lasted this long while this process looked on, or nobody wants to wait.
    pub(crate) fn waited(&self, allowance: Millis) -> bool {
        self.forced() || self.lasted(allowance)
    }

    /// Whether the phase has lasted this long while this process looked on.
    pub(crate) fn lasted(&self, allowance: Millis) -> bool {
        self.facts.now >= self.rollout.since.max(self.facts.begun).after(allowance)
    }

    pub(crate) fn forced(&self) -> bool {
        self.facts.forced.contains(&self.rollout.service)
    }

    pub(crate) fn halt(&self) -> Option<RolloutFailure> {
        self.cancelled().or_else(|| self.facts.halted.get(&self.rollout.id).cloned())
    }

    pub(crate) fn cancelled(&self) -> Option<RolloutFailure> {
        self.facts.cancelled.get(&self.rollout.id).map(RolloutFailure::cancelled)
    }

    /// Why the new set is not fit to serve, by what is positively known.
    pub(crate) fn serving_failure(&self) -> Option<RolloutFailure> {
        self.first(Self::unfit_to_serve)
    }

    /// Why a server that served is not fit to, by what is positively known.
    pub(crate) fn unfit_to_serve(&self, id: &InstanceId) -> Option<RolloutFailure> {
        ended(self.world, self.facts, id).or_else(|| {
            let long = |since: &Timestamp| self.facts.now >= since.after(PATIENCE);
            let unhealthy = self.facts.health(self.world, id) == Health::Unhealthy
                || self.facts.unhealthy_since.get(id).is_some_and(long);
            if !unhealthy {
                return None;
            }
            let seen = self.facts.edge.as_ref().and_then(|edge| {
                edge.backends.iter().find(|of| of.instance == *id)?.last_error.clone()
            });
            let seen = seen.map(|seen| format!(": {seen}")).unwrap_or_default();
            Some(RolloutFailure {
                instance: Some(id.clone()),
                of_release: true,
                ..RolloutFailure::of(format!("instance `{id}` became unhealthy{seen}"))
            })
        })
    }

    pub(crate) fn any_healthy(&self, set: &BTreeSet<InstanceId>) -> bool {
        set.iter().any(|id| self.facts.healthy(self.world, id))
    }

    pub(crate) fn failed_test(&self) -> Option<RolloutFailure> {
        let image = self.world.release(&self.rollout.service, self.rollout.to)?.spec.image;
        let run = self.facts.tests.get(&image)?;
        let failed = run.results.iter().find(|result| !result.passed)?;
        Some(RolloutFailure {
            log_tail: run.log_tail.clone(),
            of_release: run.not_run.is_none(),
            ..RolloutFailure::of(format!(
                "test `{}` of image `{}` failed: {}",
                failed.test,
                image.short(),
                failed.detail
            ))
        })
    }

    pub(crate) fn tests_passed(&self) -> bool {
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
    pub(crate) fn test_records(&self) -> Vec<Record> {
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
    pub(crate) fn set_states(
        &self,
        set: &BTreeSet<InstanceId>,
        state: InstanceState,
    ) -> Vec<Record> {
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

    /// Whether the edge confirmed a table in which this service's traffic goes where its phase wants it.
    pub(crate) fn confirmed(&self) -> Option<Confirmed> {
        self.confirmed_as(&self.rollout.traffic(self.world))
    }

    /// Whether the edge confirmed a table with this `traffic` of this service.
    pub(crate) fn confirmed_as(&self, traffic: &[Share]) -> Option<Confirmed> {
        let (service, from, to) = (&self.rollout.service, self.rollout.from, Some(self.rollout.to));
        let receives = |release| {
            traffic.iter().any(|share| Some(share.release) == release && share.weight > 0)
        };
        let held = self.rollout.admission() != Admission::Open && self.rollout.replaces_forward();
        let lost = if receives(to) || held { from } else { to };
        // A table on its way may undo what the one in force says.
        if !self.facts.unsettled.is_empty() {
            return None;
        }
        let Some(in_force) = &self.facts.in_force else {
            // Without ports there is nothing for the edge to switch; without a table it routes to nobody.
            return (self.has_no_ports() || (traffic.is_empty() && self.facts.is_blank())).then(
                || Confirmed {
                    switch: Switch {
                        generation: self.facts.generation(),
                        at: self.facts.now,
                        switch_ms: 0.0,
                        in_flight: 0,
                        spread: None,
                    },
                    baseline: self.rollout.baseline,
                },
            );
        };
        let admission = admission(self.world, service);
        let agrees = in_force
            .table
            .pools
            .iter()
            .filter(|pool| pool.name.service == *service)
            .all(|pool| pool.traffic == traffic && pool.admission == admission)
            || planted(Bug::SwitchesUnconfirmed);
        // The table must also know the set: one from before the service had pools agrees with anything.
        let knows = traffic.is_empty()
            || self.has_no_ports()
            || in_force.table.pools.iter().any(|pool| pool.name.service == *service);
        let sum = |release: Option<ReleaseNumber>| {
            in_force
                .counters
                .iter()
                .filter(|of| self.world.counts(service, of) && Some(of.release) == release)
                .fold((0, 0), |sum, of| (sum.0 + of.in_flight, sum.1 + of.failed))
        };
        (agrees && knows).then(|| Confirmed {
            switch: Switch {
                generation: in_force.table.generation,
                at: in_force.at.max(self.rollout.since),
                switch_ms: in_force.switch_ms,
                in_flight: sum(lost).0,
                spread: Some(in_force.spread),
            },
            baseline: Baseline {
                failed_from: sum(from).1,
                failed_to: sum(to).1,
                ..self.rollout.baseline
            },
        })
    }

    pub(crate) fn has_no_ports(&self) -> bool {
        [self.rollout.from, Some(self.rollout.to)].into_iter().flatten().all(|number| {
            self.world
                .release(&self.rollout.service, number)
                .is_some_and(|release| release.spec.ports.is_empty())
        })
    }

    /// Whether a status read after the switch shows its table in force and the whole new set healthy.
    pub(crate) fn read_back(&self) -> bool {
        self.caught_up(self.rollout.switch)
            && self.rollout.set.iter().all(|id| self.facts.healthy(self.world, id))
    }

    pub(crate) fn caught_up(&self, switch: Option<Switch>) -> bool {
        self.has_no_ports()
            || self.facts.edge.as_ref().is_some_and(|edge| {
                switch.is_some_and(|switch| edge.generation >= switch.generation)
            })
    }

    /// Requests in flight on a release by the edge's last status.
    pub(crate) fn left(&self, release: Option<ReleaseNumber>) -> u64 {
        let (Some(edge), Some(release)) = (&self.facts.edge, release) else { return 0 };
        edge.totals(&self.rollout.service, release).0
    }

    /// Whether requests in flight had as long as a drain takes.
    pub(crate) fn drained(&self, begun: Timestamp) -> bool {
        let at_once = self.forced() || planted(Bug::CutsAtOnce);
        let due = |spec: &ServiceSpec| self.facts.now >= begun.after(spec.rollout.drain_timeout);
        self.spec().is_some_and(|spec| at_once || due(spec))
    }

    pub(crate) fn cut(&self, begun: Timestamp, left: u64) -> Option<Vec<Record>> {
        if !self.drained(begun) || self.rollout.cut_off.is_some() {
            return None;
        }
        let mut next = self.rollout.enter(self.rollout.phase, self.facts.now);
        next.cut_off = Some(left);
        Some(vec![self.enter(next)])
    }

    pub(crate) fn cut_is_over(&self) -> bool {
        let over = || self.facts.now >= self.rollout.since.after(CUT_ALLOWANCE);
        self.rollout.cut_off.is_some() && (self.forced() || over())
    }

    /// The receipt of a switch, once it is final.
    pub(crate) fn receipt(
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
        let replacing = rollout.replacing.as_ref();
        let terms = |number| match Some(number) == rollout.from {
            true => rollout.from_terms().unwrap_or(number),
            false => rollout.to_terms(),
        };
        Some(Record::Receipt(Box::new(ReceiptBody {
            id: rollout.id,
            service: rollout.service.clone(),
            from: from.map(terms),
            to: terms(to),
            from_image: from.and_then(image),
            to_image: image(to)?,
            generation: switch.generation,
            switched: switch.at,
            switch_ms: switch.switch_ms,
            edges: switch.spread.map(|spread| spread.edges),
            skew_ms: switch.spread.map(|spread| spread.skew_ms),
            #[allow(clippy::cast_precision_loss)] // A rollout does not last 2^53 milliseconds.
            total_ms: switch.at.since(rollout.requested).0 as f64,
            drained: match planted(Bug::ReceiptCountsTwice) {
                true => switch.in_flight,
                false => switch.in_flight.saturating_sub(cut_off),
            },
            cut_off,
            requests_failed: failed(rollout.from, rollout.baseline.failed_from).unwrap_or(0)
                + failed(Some(rollout.to), rollout.baseline.failed_to).unwrap_or(0),
            warm: rollout.warm,
            canary: rollout.canary.iter().flat_map(|canary| canary.judged.clone()).collect(),
            interventions: rollout.interventions.clone(),
            held: replacing
                .map(|_| held(rollout, self.facts).saturating_sub(rollout.baseline.held)),
            #[allow(clippy::cast_precision_loss)] // As above.
            unavailable_ms: replacing.map(|of| of.unavailable.0 as f64),
            snapshot: replacing
                .filter(|of| !of.snapshots.is_empty())
                .map(|of| named(&of.snapshots)),
            batched: rollout.batched.clone(),
            taken_back: rollout
                .returned
                .and(rollout.failure.as_ref())
                .map(|failure| failure.reason.clone()),
            by: rollout.by.clone(),
        })))
    }
}
