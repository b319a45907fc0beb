//! The loop: take in an observation, decide, persist, check, perform.

use std::collections::{BTreeMap, BTreeSet};

use hornero_conservation::Churn;
use hornero_model::{
    Actor, Digest, EdgeRef, Event, EventBody, InstanceId, InstanceState, Millis, NewEvent, Receipt,
    RolloutId, ServiceName, Term, Timestamp,
};
use hornero_rollout::{
    Attention, EffectKey, Facts, Kind, Phase, Record, Rollout, TestOutcome, World, WorldError,
    step, wake,
};

use crate::{
    LedgerFailed, Observation, Ports, Progress,
    job::Job,
    pending::{Pending, Refused},
};

/// Steps that may follow one another without a new observation. Every phase of every service is far below it; more is
/// a machine that runs in circles.
const STEPS: usize = 10_000;

/// The production loop. One at a time owns a home.
#[derive(Debug)]
pub struct Driver {
    pub(crate) world: World,
    /// What the watchdog counts, from the same events.
    pub(crate) churn: Churn,
    pub(crate) facts: Facts,
    /// Which services have to be looked at: it is told of every event and every observation.
    pub(crate) attention: Attention,
    pub(crate) term: Term,
    pub(crate) last_effect: u64,
    pub(crate) pending: BTreeMap<EffectKey, Pending>,
    pub(crate) refused: BTreeSet<Refused>,
    /// The newest status of each edge so far, also of one that was lost: its process, generation and version.
    pub(crate) last_status: BTreeMap<EdgeRef, (u32, u64, u64)>,
    pub(crate) jobs: Vec<Job>,
    /// Rollouts that ended, for the jobs that wait for them.
    pub(crate) ended: BTreeMap<RolloutId, (Rollout, Option<Receipt>)>,
    /// Instances whose health the clients were told of.
    pub(crate) told_healthy: BTreeSet<InstanceId>,
    /// What clients were told that instances answered.
    pub(crate) told_probes: BTreeMap<InstanceId, BTreeSet<String>>,
    /// When it was last looked what memory there is.
    pub(crate) looked_for_room: Option<Timestamp>,
}

/// Why the driver could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The ledger took nothing. Nothing was done either; the same is tried again with the next observation.
    #[error("the ledger refused an append")]
    Ledger(#[source] LedgerFailed),
    /// The ledger gave back what can't follow from what was there. Load the world anew.
    #[error("the ledger and the driver disagree")]
    World(#[source] WorldError),
    /// The machine does not come to rest; a mistake in Hornero.
    #[error("no end of decisions after {STEPS} steps")]
    Restless,
}

impl Driver {
    /// Takes in one observation and does everything that follows from it.
    ///
    /// # Errors
    /// See [`DriverError`]. After an error what was observed is kept; nothing was done that is not recorded.
    pub fn handle(
        &mut self,
        observation: Observation,
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        self.look_at_clock(ports);
        self.gather();
        self.heed(&observation);
        let of_edges = observation.is_of_edges();
        self.observe(observation, ports);
        if !of_edges || self.room_is_old() {
            self.look_for_room(&*ports);
        }
        self.settle(ports)
    }

    /// Takes in what time it is, and looks at those whose time has come.
    pub(crate) fn look_at_clock(&mut self, ports: &dyn Ports) {
        self.facts.now = self.facts.now.max(ports.now());
        self.attention.rouse(self.facts.now);
    }

    /// Records a run of an image's tests that somebody asked for outside of a rollout. While a rollout to that image is
    /// under way, its own run is what counts, and nothing is recorded.
    ///
    /// # Errors
    /// As [`Driver::handle`]; then nothing was recorded.
    pub fn record_tests(
        &mut self,
        by: &Actor,
        image: Digest,
        results: &[TestOutcome],
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        let goes_there = |rollout: &Rollout| {
            let release = self.world.release(&rollout.service, rollout.to);
            release.is_some_and(|release| release.spec.image == image)
        };
        if results.is_empty() || self.world.rollouts.values().any(goes_there) {
            return Ok(());
        }
        self.look_at_clock(ports);
        let record = |of: &TestOutcome| {
            let (test, passed, detail) = (of.test.clone(), of.passed, of.detail.clone());
            Record::Event(by.clone(), EventBody::ImageTested { image, test, passed, detail })
        };
        self.persist(results.iter().map(record).collect(), ports)?;
        // A rollout that comes later goes by the newest results.
        self.facts.tests.remove(&image);
        Ok(())
    }

    /// Records what happened outside of any rollout and follows from nothing that this driver decides, such as one-off
    /// work. What can't follow from the world is not for it to find out.
    ///
    /// # Errors
    /// As [`Driver::handle`]; then nothing was recorded.
    pub fn record(
        &mut self,
        by: &Actor,
        body: EventBody,
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        self.look_at_clock(ports);
        self.persist(vec![Record::Event(by.clone(), body)], ports)
    }

    /// The longest time to wait for the next observation before handing in a [`Observation::Tick`].
    pub fn next_tick(&self) -> Millis {
        /// With nothing due: a look now and then, should the host's clock have jumped.
        const IDLE: Millis = Millis(60_000);
        let now = self.facts.now;
        let retries = self.pending.values().filter_map(|pending| pending.due(now));
        let wake = wake(&self.world, &self.facts, &self.attention).into_iter().chain(retries).min();
        wake.map_or(IDLE, |at| Millis(at.since(self.facts.now).0.clamp(1, IDLE.0)))
    }

    /// Whether nothing is under way: no rollout, no request, no effect.
    pub fn is_idle(&self) -> bool {
        self.world.rollouts.is_empty() && self.jobs.is_empty() && self.pending.is_empty()
    }

    pub(crate) fn settle(&mut self, ports: &mut dyn Ports) -> Result<(), DriverError> {
        for _ in 0..STEPS {
            let mut moved = self.advance_jobs(ports)?;
            let tail = &mut || ports.random_tail();
            let step = step(&self.world, &self.facts, &self.attention, tail);
            if !step.records.is_empty() {
                self.persist(step.records, ports)?;
                moved = true;
            }
            if !moved && !self.perform(ports)? {
                self.prune();
                self.attention.rest(&self.world, &self.facts);
                return Ok(());
            }
        }
        Err(DriverError::Restless)
    }

    /// Appends records in one write and folds what came back into the world.
    pub(crate) fn persist(
        &mut self,
        records: Vec<Record>,
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        let events = self.signed(records, ports);
        let events = ports.append(events).map_err(DriverError::Ledger)?;
        let mut receipts = BTreeMap::new();
        for event in &events {
            self.world.apply(event).map_err(DriverError::World)?;
            self.churn.apply(event);
            self.attention.took_in(&self.world, event);
            self.take_in(event, &mut receipts, ports);
        }
        self.hold_after(&events);
        Ok(())
    }

    /// What follows at once from an event that was recorded: what clients are told, and what is no longer held on to.
    fn take_in(
        &mut self,
        event: &Event,
        receipts: &mut BTreeMap<RolloutId, Receipt>,
        ports: &mut dyn Ports,
    ) {
        match &event.body {
            EventBody::Switched { receipt } => {
                receipts.insert(receipt.body.id, (**receipt).clone());
            }
            EventBody::RolloutStep { entry } => {
                if let Some(rollout) = Rollout::from_journal(&entry.state) {
                    let receipt = receipts.remove(&rollout.id);
                    self.entered(rollout, receipt, ports);
                }
            }
            EventBody::InstanceChanged { instance, state: InstanceState::Archived, .. } => {
                self.facts.archived(instance);
            }
            EventBody::InstanceChanged { .. } => self.tell_event(event, ports),
            EventBody::RecycleSet { service, instances } => {
                self.tell_recycling(service, instances, &event.by, ports);
            }
            EventBody::Scaled { service, from, to } => {
                self.tell_scaled(service, (*from, *to), &event.by, ports);
            }
            EventBody::ServiceAdjusted { service, .. } => {
                self.facts.unadjusted.remove(service);
                self.tell_adjusted(service, &event.by, ports);
            }
            // Nothing else is told of, or known beside the ledger.
            _ => {}
        }
    }

    /// What the ledger is asked to take: receipts are signed.
    fn signed(&self, records: Vec<Record>, ports: &mut dyn Ports) -> Vec<NewEvent> {
        let time = self.facts.now;
        let event = |record| match record {
            Record::Event(by, body) => NewEvent { time, by, body },
            Record::Receipt(body) => {
                let by = body.by.clone();
                let receipt = Box::new(ports.sign(*body));
                NewEvent { time, by, body: EventBody::Switched { receipt } }
            }
        };
        records.into_iter().map(event).collect()
    }

    /// A rollout entered a phase.
    fn entered(&mut self, rollout: Rollout, receipt: Option<Receipt>, ports: &mut dyn Ports) {
        if rollout.phase == Phase::Switching {
            self.facts.switching_here.insert(rollout.id);
        }
        self.tell_phase(&rollout, receipt.as_ref(), ports);
        self.tell_serves(&rollout, ports);
        if rollout.phase.finished() {
            self.facts.halted.remove(&rollout.id);
            self.facts.cancelled.remove(&rollout.id);
            self.facts.switching_here.remove(&rollout.id);
            self.facts.forgiven.remove(&rollout.service);
            if rollout.kind == Kind::Removal {
                self.facts.forced.remove(&rollout.service);
            }
            if self.jobs.iter().any(|job| job.waits_for(rollout.id)) {
                self.ended.insert(rollout.id, (rollout, receipt));
            }
        }
    }

    /// Forgets what was observed of instances that are gone.
    fn prune(&mut self) {
        self.forget_answers();
        self.facts.snapshots.retain(|id, _| self.world.rollouts.contains_key(id));
        self.facts.restored.retain(|id, _| self.world.rollouts.contains_key(id));
        self.facts.run_ends.retain(|id, _| self.world.runs.contains_key(id));
        self.ended.retain(|id, _| self.jobs.iter().any(|job| job.waits_for(*id)));
        let gone: Vec<InstanceId> = self
            .facts
            .removed
            .iter()
            .filter(|id| !self.world.instances.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.facts.removed.remove(&id);
            self.facts.abandoned.remove(&id);
            self.facts.running.remove(&id);
            self.facts.starting.remove(&id);
            self.facts.exited.remove(&id);
            self.facts.stopped.remove(&id);
            self.facts.frozen.remove(&id);
            self.facts.unhealthy_since.remove(&id);
            self.facts.forget_leaving(&id);
            self.told_healthy.remove(&id);
            self.told_probes.remove(&id);
        }
    }

    /// Tells that another number of servers is wanted.
    fn tell_scaled(
        &self,
        service: &ServiceName,
        (from, to): (u32, u32),
        by: &Actor,
        ports: &mut dyn Ports,
    ) {
        ports.progress(Progress::Step {
            request: self.request_for(service),
            service: service.clone(),
            rollout: None,
            phase: "scaling",
            message: format!("from {from} to {to} servers: {}", by.why),
            instance: None,
        });
    }

    /// The term of this control.
    pub fn term(&self) -> Term {
        self.term
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.facts.now
    }

    pub(crate) fn tell_event(&self, event: &Event, ports: &mut dyn Ports) {
        let EventBody::InstanceChanged { instance, service, state, .. } = &event.body else {
            return;
        };
        if self.tell_recycled(instance, *state, ports) {
            return;
        }
        let news = matches!(
            state,
            InstanceState::Created | InstanceState::Serving | InstanceState::Failed
        );
        // What happens to a rollout's instances, the rollout tells.
        if event.by.who != "hornero" || !news || self.world.rollout_of(service).is_some() {
            return;
        }
        ports.progress(Progress::Step {
            request: self.request_for(service),
            service: service.clone(),
            rollout: None,
            phase: "repairing",
            message: format!("instance `{instance}` is {state}: {}", event.by.why),
            instance: Some(instance.clone()),
        });
    }
}
