//! The simulated host: everything outside the driver, behind its ports, in virtual time.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_driver::{
    EffectId, LedgerFailed, Observation, Outcome, OutcomeKind, Ports, Progress, RequestId,
};
use hornero_model::{
    BootId, Digest, EdgeName, Event, EventBody, ExitCause, InstanceId, InstanceState, NewEvent,
    Receipt, ReceiptBody, RegionName, ReleaseRef, Room, RunEnd, ServiceName, StepName, Term,
    Timestamp,
};
use hornero_rollout::{Effect, Instance};

use crate::{
    Behaviour, Random, SERVER_BYTES, Scenario, SimEdge, SimEngine, SimLedger, SimMemory, Trace,
    checks::Checks,
    others::Others,
    trace::{self, recorded},
};

/// How often it is told that a verification goes on.
const VERIFICATION_NEWS_MS: u64 = 1_000;

/// What goes wrong on the way, in percent of cases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Observations that arrive twice.
    pub doubled: u64,
    /// Observations that arrive up to 300 ms late, and so out of order.
    pub late: u64,
    /// Effects that fail.
    pub failed: u64,
    /// Effects on the edge that are said to have failed, and that it does up to two seconds later all the same: it hung.
    pub belated: u64,
    /// Effects, but for tests, that are done and of which nothing is told.
    pub unanswered: u64,
    /// The same of starts alone, beside those.
    pub unanswered_starts: u64,
}

/// When control is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Just before the append with this number: what was dispatched before it may still have been done.
    Before(u64),
    /// Just after it is durable, before anything follows from it.
    After(u64),
}

/// What happens at a moment.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Deliver {
        run: u64,
        observation: Box<Observation>,
    },
    Perform {
        run: u64,
        id: EffectId,
        effect: Effect,
    },
    /// The edge does what it was given when it hung; nobody waits for the answer any more.
    Belated {
        edge: u32,
        id: EffectId,
        effect: Effect,
    },
    /// What a control asked for that stopped and went on.
    Older {
        id: EffectId,
        effect: Effect,
    },
    PauseControl,
    WakeControl,
    Crash {
        instance: InstanceId,
        cause: ExitCause,
    },
    EdgeTick,
    EdgeDown {
        edge: EdgeName,
        restart: bool,
    },
    EdgeUp {
        edge: EdgeName,
    },
    Tick {
        run: u64,
    },
    KillControl,
    StartControl,
    RestartHost,
}

/// What is known of the control that stopped.
#[derive(Debug, Default)]
pub(crate) struct Older {
    /// What its threads were about to do when it stopped.
    pub(crate) asleep: Vec<(EffectId, Effect)>,
    /// Whether a newer control has begun since it stopped.
    pub(crate) is_over: bool,
    /// Whether it is the one that asks at this moment.
    pub(crate) speaks: bool,
    /// Whether it was refused anything.
    pub(crate) refused: bool,
    /// How often it was let to go on.
    pub(crate) steps: u32,
}

/// Everything outside the driver.
#[derive(Debug)]
pub struct Host {
    /// Virtual time in milliseconds.
    pub now: u64,
    /// The ledger.
    pub ledger: SimLedger,
    /// The engine.
    pub engine: SimEngine,
    /// The edge; the first one where there are several.
    pub edge: SimEdge,
    /// The other edges.
    pub others: Others,
    /// The addresses that services have, as they are recorded.
    pub addresses: BTreeMap<ServiceName, IpAddr>,
    /// The images.
    pub scenario: Scenario,
    /// What goes wrong.
    pub faults: Faults,
    /// Memory for servers; none for as much as anybody wants.
    pub memory: Option<SimMemory>,
    /// How much longer than usual what the edge is given takes to come to it, in milliseconds.
    pub edge_delay_ms: u64,
    /// When control is killed next.
    pub crash: Option<CrashPoint>,
    /// Whether the host loses its power together with control.
    pub crash_takes_host: bool,
    /// Whether it was, and has to be started again.
    pub crashed: bool,
    /// Answers to requests.
    pub answers: BTreeMap<RequestId, Outcome>,
    /// What happened, a line each.
    pub trace: Trace,
    /// Tests that were run, by image.
    pub tests_run: u64,
    /// One-off work that was begun, and when it ends.
    pub(crate) work: BTreeMap<InstanceId, u64>,
    pub(crate) ended_work: BTreeMap<InstanceId, RunEnd>,
    /// Schema steps whose command was begun, in order.
    pub steps_begun: Vec<(ReleaseRef, StepName)>,
    pub(crate) checks: Checks,
    pub(crate) random: Random,
    pub(crate) queue: BTreeMap<(u64, u64), Happening>,
    pub(crate) run: u64,
    /// The control that stopped, and whether a newer one has begun since.
    pub(crate) older: Older,
    /// Whether what is done at this moment is told to nobody.
    pub(crate) mute: bool,
    /// Starts of the host.
    pub(crate) boots: u64,
    counter: u64,
}

impl Host {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: 1_000_000,
            ledger: SimLedger::default(),
            engine: SimEngine::default(),
            edge: SimEdge::new(),
            others: Others::default(),
            addresses: BTreeMap::new(),
            scenario: Scenario::default(),
            faults: Faults::default(),
            memory: None,
            edge_delay_ms: 0,
            crash: None,
            crash_takes_host: false,
            crashed: false,
            answers: BTreeMap::new(),
            trace: Trace::default(),
            tests_run: 0,
            work: BTreeMap::new(),
            ended_work: BTreeMap::new(),
            steps_begun: Vec::new(),
            checks: Checks::default(),
            random: Random::new(seed),
            queue: BTreeMap::new(),
            run: 0,
            older: Older::default(),
            mute: false,
            boots: 1,
            counter: 0,
        }
    }

    pub(crate) fn boot(&self) -> BootId {
        BootId::new(format!("boot-{}", self.boots))
    }

    pub(crate) fn schedule(&mut self, after: u64, happening: Happening) {
        self.counter += 1;
        self.queue.insert((self.now + after, self.counter), happening);
    }

    /// Hands an observation to whatever control runs now; to none if it dies on the way.
    pub(crate) fn observe(&mut self, observation: Observation) {
        if self.mute {
            return;
        }
        let mut delay = self.random.between(0, 3);
        if self.random.chance(self.faults.late) {
            delay += self.random.between(0, 300);
        }
        let (run, observation) = (self.run, Box::new(observation));
        if self.random.chance(self.faults.doubled) {
            let again = delay + self.random.between(0, 500);
            let observation = observation.clone();
            self.schedule(again, Happening::Deliver { run, observation });
        }
        self.schedule(delay, Happening::Deliver { run, observation });
    }

    /// What is wrong with servers that a rollout decided on just now: with those that are there they are more than there is
    /// memory for. Repair brings back what had its place already.
    fn over_room(&self, decided: &[Event]) -> Option<String> {
        let memory = self.memory?;
        let world = self.ledger.current();
        let is_of_rollout = |event: &Event| match &event.body {
            EventBody::InstanceChanged { instance, service, state, .. } => {
                *state == InstanceState::Created
                    && world.rollout_of(service).is_some_and(|of| of.set.contains(instance))
            }
            EventBody::Scaled { from, to, .. } => from < to,
            _ => false,
        };
        let takes = |of: &&Instance| {
            let comes = of.state == InstanceState::Created && !self.engine.has_ended(&of.id);
            comes || self.engine.runs(&of.id)
        };
        let taken = SERVER_BYTES * world.instances.values().filter(takes).map(|_| 1).sum::<u64>();
        (decided.iter().any(is_of_rollout) && taken > memory.bytes).then(|| {
            let (taken, all) = (taken / SERVER_BYTES, memory.bytes / SERVER_BYTES);
            format!("capacity: {taken} servers, and memory for {all}")
        })
    }

    /// Schedules the news of an image's verification, and returns how long it takes.
    fn verify(&mut self, image: Digest) -> u64 {
        let Behaviour { verified_for_ms: takes, tells_verification, .. } =
            self.scenario.behaviour(&image);
        let news = if tells_verification { takes / VERIFICATION_NEWS_MS } else { 0 };
        for number in 1..=news {
            let observation = Box::new(Observation::StartsGoOn { image });
            let happening = Happening::Deliver { run: self.run, observation };
            self.schedule(number * VERIFICATION_NEWS_MS, happening);
        }
        takes
    }

    /// Control dies: what its threads were doing is done now or never, what was on its way to it is lost.
    pub(crate) fn lose_control(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        self.run += 1;
        for (key, happening) in queue {
            match happening {
                Happening::Perform { id, effect, .. } => {
                    if self.random.chance(50) {
                        self.perform(id, effect);
                    }
                }
                Happening::Deliver { .. } | Happening::Tick { .. } | Happening::Belated { .. } => {}
                Happening::Older { .. }
                | Happening::PauseControl
                | Happening::WakeControl
                | Happening::Crash { .. }
                | Happening::EdgeTick
                | Happening::EdgeDown { .. }
                | Happening::EdgeUp { .. }
                | Happening::KillControl
                | Happening::RestartHost
                | Happening::StartControl => {
                    self.queue.insert(key, happening);
                }
            }
        }
        // What those effects would have reported has nobody to hear it.
        self.queue.retain(|_, happening| !matches!(happening, Happening::Deliver { .. }));
        let delay = self.random.between(1, 400);
        self.schedule(delay, Happening::StartControl);
    }
}

impl Host {
    /// Holds what a client is told against the edges that can be reached.
    fn answered_well(&mut self, request: RequestId, outcome: &Outcome) {
        let world = self.ledger.current();
        let wrong: Vec<String> = self
            .edges()
            .filter(|(name, _)| !self.is_away(name))
            .filter_map(|(_, edge)| {
                let seen = (edge, &self.engine);
                self.checks.answered(request, outcome, world, seen, self.now)
            })
            .collect();
        self.edge.violations.extend(wrong);
    }
}

impl Ports for Host {
    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn random_tail(&mut self) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..6).map(|_| char::from(*self.random.choose(letters))).collect()
    }

    fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerFailed> {
        if self.crashed {
            return Err(LedgerFailed("control is dead".to_owned()));
        }
        if self.older.speaks {
            self.older.refused = true;
            return Err(LedgerFailed("another control has appended".to_owned()));
        }
        let number = self.ledger.appends + 1;
        if self.crash == Some(CrashPoint::Before(number)) {
            self.crashed = true;
            return Err(LedgerFailed("killed before the append".to_owned()));
        }
        for event in &events {
            let (before, seen) = (self.ledger.current(), (&self.scenario, &self.engine));
            let wrong = self.checks.recorded(event, before, seen, self.now);
            self.edge.violations.extend(wrong);
            let asleep = self.edge.idle.too_early(&event.body, before, self.now);
            let unheeded = self.edge.unheeded(&event.body, before);
            let blamed = self.blamed(&event.body, before);
            self.edge.violations.extend(asleep.into_iter().chain(unheeded).chain(blamed));
            if let EventBody::Switched { receipt } = &event.body
                && let Some(wrong) = self.contradiction(&receipt.body)
            {
                let text = format!("receipt {}: {wrong}", receipt.body.id);
                self.edge.violations.push(text);
            }
        }
        let appended = self.ledger.append(events);
        let over = self.over_room(&appended);
        self.edge.violations.extend(over);
        for event in &appended {
            self.trace.note(self.now, "recorded", || recorded(event));
        }
        if self.crash == Some(CrashPoint::After(number)) {
            self.crashed = true;
            return Err(LedgerFailed("killed after the append".to_owned()));
        }
        Ok(appended)
    }

    fn begins(&mut self, term: Term) {
        self.older.is_over = true;
        self.engine.obey(term);
        for edge in self.edges_mut().filter(|edge| edge.reachable) {
            edge.obey(term);
        }
    }

    fn sign(&self, body: ReceiptBody) -> Receipt {
        Receipt { body, signature: "00".to_owned(), key: "00".to_owned() }
    }

    fn dispatch(&mut self, id: EffectId, effect: Effect) {
        if self.crashed {
            return;
        }
        self.trace.note(self.now, "asked for", || trace::effect(id, &effect));
        if self.older.speaks {
            self.schedule(1, Happening::Older { id, effect });
            return;
        }
        let takes = match &effect {
            Effect::PrepareRoutes { .. }
            | Effect::ApplyRoutes { .. }
            | Effect::CutInFlight { .. } => self.random.between(1, 5) + self.edge_delay_ms,
            Effect::StartInstance { spec, .. } => {
                self.random.between(1, 80) + self.verify(spec.image)
            }
            Effect::StopInstance { .. }
            | Effect::FreezeInstance { .. }
            | Effect::RemoveInstance { .. } => self.random.between(1, 200),
            Effect::RunTests { .. } => self.random.between(10, 600),
            Effect::GiveAddress { .. }
            | Effect::TakeAddress { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::AskGuards { .. }
            | Effect::TakeSnapshots { .. }
            | Effect::RestoreSnapshots { .. } => self.random.between(1, 20),
        };
        let run = self.run;
        self.schedule(takes, Happening::Perform { run, id, effect });
    }

    fn room(&self, _: &RegionName) -> Option<Room> {
        /// More than any history needs.
        const PLENTY: u64 = 1 << 40;
        let SimMemory { bytes, is_limit } = self.memory?;
        let left = bytes.saturating_sub(self.engine.running() * SERVER_BYTES);
        Some(Room {
            available_bytes: if is_limit { PLENTY } else { left },
            limit_bytes: is_limit.then_some(bytes),
        })
    }

    fn log_tail(&mut self, instance: &InstanceId) -> Vec<String> {
        vec![format!("{instance}: last words")]
    }

    fn progress(&mut self, progress: Progress) {
        // The clients of the older control are not those of this history.
        if self.older.speaks {
            return;
        }
        match progress {
            Progress::Step { service, rollout, phase, message, .. } => {
                let rollout = rollout.map_or_else(|| "-".to_owned(), |id| id.to_string());
                let line = format!("{service} {rollout} {phase}: {message}");
                self.trace.told(self.now, &line);
            }
            // It is judged as an answer is: whoever leaves now has been told the same.
            Progress::Serves { request, services } => {
                let outcome = Outcome { result: OutcomeKind::Done, services, failure: None };
                self.answered_well(request, &outcome);
            }
            Progress::Finished { request, outcome } => {
                self.answered_well(request, &outcome);
                if self.answers.insert(request, outcome).is_some() {
                    let text = format!("request {} was answered twice", request.0);
                    self.edge.violations.push(text);
                }
            }
        }
    }
}
