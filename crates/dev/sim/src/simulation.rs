//! One history: the production driver on a simulated host, step by step, with its invariants checked.

mod whole;

use std::collections::{BTreeMap, BTreeSet};

use hornero_driver::{
    Driver, DriverError, Observation, Outcome, Outside, Request, RequestId, RequestKind, Starting,
};
use hornero_model::{
    Actor, EdgeName, EdgeRef, GuardName, InstanceId, InstanceState, RegionName, ServiceName,
    StepName, StepRuling,
};
use hornero_rollout::{RepairState, Service};

use crate::{CrashPoint, Host, host::Happening, keepers::SimKeepers, trace::observed};

/// Steps of the edge, in milliseconds of virtual time.
const EDGE_TICK_MS: u64 = 25;
/// How often control looks at schedules and rehearsals.
const LOOK_EVERY_TICKS: u64 = 40;
/// How often the edge's status is sent without a change.
const STATUS_EVERY_TICKS: u64 = 20;

/// Whether a serving set is neither on its way to other terms nor larger than they say.
fn is_settled(service: &Service) -> bool {
    let serving = service.serving.as_ref().zip(service.serving_release());
    serving.is_none_or(|(set, release)| {
        set.leaving.is_none() && set.instances.len() <= service.size_by(&release.spec) as usize
    })
}

/// A driver, its host, and their history.
#[derive(Debug)]
pub struct Simulation {
    /// The host.
    pub host: Host,
    /// The control process's driver; none while it is dead.
    pub driver: Option<Driver>,
    /// The driver of a control that has stopped and will go on.
    pub(crate) older: Option<Driver>,
    /// What control does beside its driver.
    pub(crate) keepers: SimKeepers,
    /// Whether clients send requests through the edge.
    pub load: bool,
    /// Whether those who ask for something want releases tried again that failed.
    pub retry_failed: bool,
    /// Whether control hears again and again that it can't reach the edge, as it does; else once.
    pub(crate) hears_again: bool,
    /// Data guards that they override.
    pub overridden: BTreeSet<GuardName>,
    /// What whoever asks decides about schema steps.
    pub rulings: BTreeMap<StepName, StepRuling>,
    seed: u64,
    ticks: u64,
    last_version: u64,
    last_request: u64,
    happened: u64,
}

impl Simulation {
    /// A host with an empty home, on which control has just started.
    pub fn new(seed: u64) -> Self {
        let mut simulation = Self::without_control(seed);
        simulation.begin();
        simulation
    }

    pub(crate) fn without_control(seed: u64) -> Self {
        Self {
            host: Host::new(seed),
            driver: None,
            older: None,
            keepers: SimKeepers::default(),
            load: true,
            retry_failed: false,
            hears_again: false,
            overridden: BTreeSet::new(),
            rulings: BTreeMap::new(),
            seed,
            ticks: 0,
            last_version: 0,
            last_request: 0,
            happened: 0,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.host.schedule(0, Happening::EdgeTick);
        self.start_control();
    }

    /// Asks control for something; it is lost where control is dead.
    pub fn request(&mut self, kind: RequestKind) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        if let RequestKind::End { service } = &kind {
            self.host.force(service);
        }
        self.host.checks.asks(id, kind.clone());
        let by = Actor { who: "root".to_owned(), why: "test".to_owned(), commit: None };
        self.handle(Observation::Request(Request {
            id,
            by,
            kind,
            retry_failed: self.retry_failed,
            overridden: self.overridden.clone(),
            rulings: self.rulings.clone(),
        }));
        id
    }

    /// Lets go on what a limit of churn stopped; gives how many limits those were.
    pub fn resume(&mut self, service: Option<&ServiceName>) -> usize {
        let by = Actor { who: "root".to_owned(), why: "looked at".to_owned(), commit: None };
        let driver = self.driver.as_mut().expect("control is alive");
        match driver.resume_churn(&by, service, &mut self.host) {
            Ok(stopped) => {
                self.after(Ok(()));
                stopped.len()
            }
            Err(error) => self.fail(&format!("resume: {error}")),
        }
    }

    /// Runs until a request is answered; none if control died on the way or the time is over.
    pub fn answer(&mut self, id: RequestId, within_ms: u64) -> Option<Outcome> {
        let (end, run) = (self.host.now + within_ms, self.host.run);
        while self.host.now < end && self.host.run == run {
            if let Some(outcome) = self.host.answers.get(&id) {
                return Some(outcome.clone());
            }
            self.step();
        }
        self.host.answers.get(&id).cloned()
    }

    /// Asks, and runs until it is answered.
    pub fn ask(&mut self, kind: RequestKind) -> Outcome {
        let id = self.request(kind);
        match self.answer(id, 120_000) {
            Some(outcome) => outcome,
            None => self.fail(&format!("request {} was never answered", id.0)),
        }
    }

    /// Runs for a while.
    pub fn run(&mut self, ms: u64) {
        let end = self.host.now + ms;
        while self.host.now < end {
            self.step();
        }
    }

    /// Runs until nothing is under way; fails the test if that never comes.
    pub fn come_to_rest(&mut self) {
        /// Longer than every allowance and backoff together.
        const LIMIT_MS: u64 = 900_000;
        let end = self.host.now + LIMIT_MS;
        let mut idle_since = None;
        while self.host.now < end {
            self.step();
            let idle = self.driver.as_ref().is_some_and(|driver| {
                driver.is_idle()
                    && driver.world().services.keys().all(|service| {
                        !matches!(driver.repair_state(service), Some(RepairState::Repairing { .. }))
                    })
                    && driver.world().services.values().all(is_settled)
                    // What is more than wanted drains without anything being under way.
                    && driver.world().instances.values().all(|of| of.state != InstanceState::Stopped)
            });
            if !idle {
                idle_since = None;
            } else if self.host.now >= *idle_since.get_or_insert(self.host.now) + 1_000 {
                return;
            }
        }
        self.fail("it never comes to rest");
    }

    /// Kills control soon.
    pub fn kill_control(&mut self, after_ms: u64) {
        self.host.schedule(after_ms, Happening::KillControl);
    }

    /// Cuts the host's power soon; it is started again at once.
    pub fn restart_host(&mut self, after_ms: u64) {
        self.host.schedule(after_ms, Happening::RestartHost);
    }

    /// Makes the edge unreachable soon, and reachable again later; with `restart` it dies in between.
    pub fn disturb_edge(&mut self, after_ms: u64, for_ms: u64, restart: bool) {
        self.disturb(&EdgeName::default(), after_ms, for_ms, restart);
    }

    /// Ends an instance by a fault of its own.
    pub fn crash_instance(&mut self, instance: &InstanceId, cause: hornero_model::ExitCause) {
        if let Some(seen) = self.host.engine.crash(instance, cause, self.host.now) {
            self.host.observe(seen);
        }
    }

    /// Control, which must be alive.
    pub fn driver(&self) -> &Driver {
        self.driver.as_ref().expect("control is alive")
    }

    /// The next thing that happens.
    pub fn step(&mut self) {
        let Some(((at, _), happening)) = self.host.queue.pop_first() else {
            self.fail("nothing is left to happen");
        };
        self.host.now = self.host.now.max(at);
        self.happened += 1;
        self.note(&happening);
        match happening {
            Happening::Deliver { run, observation } if run == self.host.run => {
                self.handle(*observation);
            }
            Happening::Perform { run, id, effect } if run == self.host.run => {
                self.host.perform(id, effect);
            }
            Happening::Belated { edge, id, effect } => self.host.perform_late(edge, id, effect),
            Happening::Older { id, effect } => self.host.perform_older(id, &effect),
            Happening::PauseControl => self.control_pauses(),
            Happening::WakeControl => self.control_wakes(),
            Happening::Tick { run } if run == self.host.run => self.handle(Observation::Tick),
            Happening::Deliver { .. } | Happening::Perform { .. } | Happening::Tick { .. } => {}
            Happening::Crash { instance, cause } => self.crash_instance(&instance, cause),
            Happening::EdgeTick => self.edge_tick(),
            Happening::EdgeDown { edge, restart } => {
                self.host.edge_goes(&edge, restart);
                let edge = EdgeRef { edge, ..EdgeRef::default() };
                self.host.observe(Observation::EdgeLost { edge });
            }
            Happening::EdgeUp { edge } => {
                self.host.edge_comes(&edge);
                let own = self.host.edge_at_mut(&edge);
                // Whoever watches the edge tells it the term as soon as it is there again.
                if let Some(driver) = &self.driver {
                    own.obey(driver.term());
                }
                let (edge, status) = (EdgeRef { edge, ..EdgeRef::default() }, own.status());
                self.host.observe(Observation::EdgeStatus { edge, status });
            }
            Happening::KillControl => {
                if self.driver.is_some() {
                    self.lose_control();
                }
            }
            Happening::StartControl => self.start_control(),
            Happening::RestartHost => {
                if self.driver.is_some() {
                    self.lose_control();
                }
                self.older = None;
                self.host.restart();
            }
        }
        let violated = self.host.edges().find_map(|(_, edge)| edge.violations.first().cloned());
        if let Some(violation) = violated {
            self.fail(&violation);
        }
    }

    /// How much happened so far: everything that a moment of virtual time was given to.
    pub fn happened(&self) -> u64 {
        self.happened
    }

    fn note(&mut self, happening: &Happening) {
        let (now, run) = (self.host.now, self.host.run);
        let trace = &mut self.host.trace;
        match happening {
            Happening::Deliver { run: of, observation } if *of == run => {
                trace.note(now, "observed", || observed(observation));
            }
            Happening::Deliver { .. }
            | Happening::Perform { .. }
            | Happening::Belated { .. }
            | Happening::Older { .. }
            | Happening::Tick { .. }
            | Happening::EdgeTick => {}
            Happening::PauseControl
            | Happening::WakeControl
            | Happening::Crash { .. }
            | Happening::EdgeDown { .. }
            | Happening::EdgeUp { .. }
            | Happening::KillControl
            | Happening::StartControl
            | Happening::RestartHost => trace.note(now, "happens", || format!("{happening:?}")),
        }
    }

    /// The release of a service that serves.
    pub fn serving(&self, service: &str) -> Option<u32> {
        let name = ServiceName::new(service).ok()?;
        Some(self.driver().world().services.get(&name)?.serving.as_ref()?.terms.0)
    }

    /// Ends the test, with everything needed to see why.
    pub fn fail(&self, what: &str) -> ! {
        let trace = &self.host.trace;
        let last = trace.last(if trace.whole { usize::MAX } else { 40 }).join("\n  ");
        let driver = self.driver.as_ref().map_or_else(String::new, Driver::under_way);
        panic!(
            "last news:\n  {last}\nunder way: {driver}\nseed {}: at {} ms: {what}",
            self.seed, self.host.now
        );
    }

    fn edge_tick(&mut self) {
        self.ticks += 1;
        let host = &mut self.host;
        host.edge.tick(&host.engine, &mut host.random, host.now, self.load);
        let status = host.edge.status();
        let news = status.version != self.last_version || host.edge.inactive_in_flight() > 0;
        if host.edge.reachable && (news || self.ticks.is_multiple_of(STATUS_EVERY_TICKS)) {
            self.last_version = status.version;
            let edge = EdgeRef::default();
            host.observe(Observation::EdgeStatus { edge, status });
        }
        let is_due = self.hears_again && self.ticks.is_multiple_of(STATUS_EVERY_TICKS);
        if is_due && !host.edge.reachable {
            host.observe(Observation::EdgeLost { edge: EdgeRef::default() });
        }
        for edge in host.tick_others(self.load, self.ticks.is_multiple_of(STATUS_EVERY_TICKS)) {
            let status = host.edge_at(&edge).status();
            let edge = EdgeRef { edge, ..EdgeRef::default() };
            host.observe(Observation::EdgeStatus { edge, status });
        }
        host.schedule(EDGE_TICK_MS, Happening::EdgeTick);
        self.judge_edge();
        if self.ticks.is_multiple_of(LOOK_EVERY_TICKS) {
            self.look_beside();
        }
    }

    /// Holds what the edge did in its last step against what is recorded.
    fn judge_edge(&mut self) {
        let host = &mut self.host;
        for (instance, service, release, left) in host.edge.take_stopped() {
            let world = host.ledger.current();
            let receipt = world.services.get(&service).and_then(|of| of.last_receipt.as_ref());
            let told = receipt.is_some_and(|receipt| {
                receipt.body.switched.0 >= left
                    && receipt.body.from == Some(world.terms(&service, release))
            });
            if told {
                host.edge.violations.push(format!(
                    "no-lost-request: `{instance}` was stopped with a request that a receipt says had ended"
                ));
            }
        }
        let looks_on = self.driver.is_some() && host.edge.reachable;
        let wrong = host.checks.unserved(
            host.ledger.current(),
            &host.edge,
            &host.engine,
            host.now,
            looks_on && self.load,
        );
        host.edge.violations.extend(wrong);
    }

    fn handle(&mut self, observation: Observation) {
        let Some(driver) = &mut self.driver else { return };
        let result = driver.handle(observation, &mut self.host);
        // After an error something is left to decide.
        let is_settled = result.is_ok() && !self.host.crashed;
        if let Some(overlooked) = is_settled.then(|| driver.overlooked()).flatten() {
            self.fail(&format!("a service was overlooked: {overlooked}"));
        }
        self.after(result);
    }

    pub(crate) fn after(&mut self, result: Result<(), DriverError>) {
        if self.host.crashed {
            self.lose_control();
            return;
        }
        if let Err(error) = result {
            self.fail(&format!("{error}: {:?}", std::error::Error::source(&error)));
        }
        let Some(driver) = &self.driver else { return };
        let (after, run) = (driver.next_tick().0, self.host.run);
        self.host.queue.retain(|_, of| !matches!(of, Happening::Tick { .. }));
        self.host.schedule(after, Happening::Tick { run });
    }

    fn lose_control(&mut self) {
        self.driver = None;
        self.keepers.lose();
        self.host.crashed = false;
        self.host.crash = None;
        self.host.lose_control();
        if std::mem::take(&mut self.host.crash_takes_host) {
            self.older = None;
            self.host.restart();
        }
    }

    fn start_control(&mut self) {
        if self.driver.is_some() {
            return;
        }
        let outside = Outside {
            instances: self.host.engine.list(),
            addresses: self.host.addresses.clone(),
            edges: self
                .host
                .edges()
                .map(|(name, edge)| (name, edge.reachable.then(|| edge.status())))
                .collect(),
            term: self.host.engine.term(),
        };
        let outside = BTreeMap::from([(RegionName::default(), outside)]);
        let (world, churn) = (self.host.ledger.world(), self.host.ledger.churn());
        let boot = self.host.boot();
        let starting = Starting { version: "sim", boot: &boot };
        match Driver::resume(world, churn, outside, starting, &mut self.host) {
            Ok(driver) => {
                self.driver = Some(driver);
                self.after(Ok(()));
            }
            Err(error) if self.host.crashed => {
                drop(error);
                self.lose_control();
            }
            Err(error) => {
                self.fail(&format!("resume: {error}: {:?}", std::error::Error::source(&error)));
            }
        }
    }

    /// Sets when control is killed, counted from the appends there are now.
    pub fn crash_at(&mut self, point: CrashPoint) {
        let so_far = self.host.ledger.appends;
        self.host.crash = Some(match point {
            CrashPoint::Before(number) => CrashPoint::Before(so_far + number),
            CrashPoint::After(number) => CrashPoint::After(so_far + number),
        });
    }
}
