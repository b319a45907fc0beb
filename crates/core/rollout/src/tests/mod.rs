//! A small world to test in: one service `site`, its ledger in memory, facts set by hand.

mod adjustments;
mod attention;
mod bounds;
mod canary;
mod deciding;
mod edges;
mod failed;
mod fold;
mod glass;
mod guarding;
mod journal;
mod leases;
mod migrating;
mod orders;
mod preserving;
mod previews;
mod quarantining;
mod quiescing;
mod recycling;
mod repairing;
mod replacing;
mod retention;
mod rolling;
mod room;
mod routes;
mod scaling;
mod steering;
mod transitions;
mod unheard;
mod unsettled;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use hornero_model::{
    Actor, BackendStatus, Check, Digest, EdgeName, EdgeStatus, Event, EventBody, ExitCause, Health,
    HealthContract, ImageName, InstanceHandle, InstanceId, Location, Millis, Place, Port, PortName,
    Protocol, ReleaseCounters, ReleaseNumber, Resources, RolloutPolicy, Route, RouteTable, RunEnd,
    ServiceName, ServiceSpec, Strategy, TakenSnapshot, TcpCheck, Timestamp,
};

use crate::{
    Attention, Effect, Exit, Facts, GuardsSeen, KnownEdge, Phase, Record, Running, TestOutcome,
    TestRun, World, WorldError, start_forward, step, wake, wanted,
};

pub(crate) fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

pub(crate) fn spec(image: &str, instances: u32) -> ServiceSpec {
    let http = PortName::new("http").unwrap();
    let resources = Resources { memory_bytes: 1 << 26, cpu_millis: 1_000, pids: 100 };
    let image_name = ImageName::new("site").unwrap();
    ServiceSpec {
        instances,
        ports: vec![Port::new(http.clone(), 80, Protocol::Http)],
        health: Some(HealthContract {
            check: Check::Tcp(TcpCheck { port: 80 }),
            interval: Millis(100),
            timeout: Millis(100),
            unhealthy_after: 2,
            healthy_after: 1,
            start_timeout: Millis(5_000),
        }),
        routes: vec![Route::new(8000, http, Protocol::Http)],
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(2_000),
            keep_warm: Millis(60_000),
            watch: Millis(1_000),
        },
        egress: true,
        ..ServiceSpec::of_image(site(), image_name, Digest::of(image.as_bytes()), resources)
    }
}

pub(crate) fn root() -> Actor {
    Actor { who: "root".to_owned(), why: "test".to_owned(), commit: None }
}

/// Every backend of a table, found healthy.
pub(crate) fn all_healthy(table: &RouteTable) -> Vec<BackendStatus> {
    let backends = table.pools.iter().flat_map(|pool| {
        pool.backends.iter().map(|of| BackendStatus {
            pool: pool.name.clone(),
            instance: of.instance.clone(),
            release: of.release,
            health: Health::Healthy,
            last_error: None,
        })
    });
    backends.collect()
}

/// A world, what is seen of it, and everything that was recorded.
#[derive(Clone)]
pub(crate) struct Bench {
    pub world: World,
    pub facts: Facts,
    pub log: Vec<String>,
    tails: u32,
}

impl Bench {
    /// An empty world with a blank edge.
    pub fn new() -> Self {
        let mut facts = Facts { now: Timestamp(1_000_000), ..Facts::default() };
        facts.addresses = BTreeMap::from([(site(), IpAddr::from([10, 8, 0, 1]))]);
        facts.edges.insert(EdgeName::default(), KnownEdge::default());
        let mut bench = Self { world: World::default(), facts, log: Vec::new(), tails: 0 };
        bench.see(EdgeStatus { pid: 1, ..EdgeStatus::default() });
        bench
    }

    /// Changes what is known of the one edge.
    pub fn edge<T>(&mut self, change: impl FnOnce(&mut KnownEdge) -> T) -> T {
        let changed = change(self.facts.edges.get_mut(&EdgeName::default()).unwrap());
        let now = self.facts.now;
        self.facts.here.gather(now);
        changed
    }

    /// Changes what the edge said last.
    pub fn status<T>(&mut self, change: impl FnOnce(&mut EdgeStatus) -> T) -> T {
        self.edge(|edge| change(Arc::make_mut(edge.status.as_mut().unwrap())))
    }

    /// The edge is as it says, whatever table it was seen to have before.
    pub fn see(&mut self, status: EdgeStatus) {
        self.edge(|edge| edge.status = Some(Arc::new(status)));
    }

    /// The edge can't be reached; gives what it said last.
    pub fn lose_edge(&mut self) -> EdgeStatus {
        self.edge(|edge| Arc::unwrap_or_clone(edge.status.take().unwrap()))
    }

    pub fn sent(&mut self, table: &RouteTable) {
        self.edge(|edge| edge.sent(table));
    }

    pub fn confirmed(&mut self, table: RouteTable, counters: Vec<ReleaseCounters>) {
        let now = self.facts.now;
        self.edge(|edge| edge.confirmed(table, 1.0, counters, now));
    }

    pub fn saw_generation(&mut self, generation: u64) {
        let now = self.facts.now;
        self.edge(|edge| edge.saw_generation(generation, now));
    }

    /// A world in which `site@1` serves with `instances`, proven.
    pub fn serving(instances: u32) -> Self {
        let mut bench = Self::new();
        bench.forward(&spec("one", instances));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        assert_eq!(bench.world.services[&site()].proven.len(), 1);
        bench.log.clear();
        bench
    }

    /// A world in which `site@2` is being prepared over `site@1`.
    pub fn preparing() -> Self {
        let mut bench = Self::serving(2);
        bench.forward(&spec("two", 2));
        bench.log.clear();
        bench
    }

    /// The same, brought to a phase in the ordinary way; the old set has `in_flight` requests.
    pub fn at(phase: Phase, in_flight: u64) -> Self {
        let mut bench = Self::preparing();
        while bench.phase() != Some(phase) {
            let before = bench.log.len();
            match bench.phase() {
                Some(Phase::Preparing) => bench.comply_once(),
                Some(Phase::Switching) => {
                    bench.comply_once();
                    bench.in_flight(1, in_flight);
                }
                Some(Phase::Watching) => bench.pass(Millis(1_000)),
                other => panic!("no way from {other:?} to {phase:?}"),
            }
            bench.one_step();
            assert!(bench.log.len() > before || bench.phase() == Some(Phase::Preparing));
        }
        bench.log.clear();
        bench
    }

    pub fn forward(&mut self, spec: &ServiceSpec) {
        let (world, facts) = (self.world.clone(), self.facts.clone());
        let begun = start_forward(&world, &facts, spec, &root(), &mut || self.tail()).unwrap();
        self.record(begun.records);
    }

    pub fn tail(&mut self) -> String {
        self.tails += 1;
        format!("t{}", self.tails)
    }

    pub fn record(&mut self, records: Vec<Record>) {
        for record in records {
            let (by, body) = match record {
                Record::Event(by, body) => (by, body),
                Record::Receipt(body) => {
                    let by = body.by.clone();
                    let receipt = hornero_model::Receipt {
                        body: *body,
                        signature: String::new(),
                        key: String::new(),
                    };
                    (by, EventBody::Switched { receipt: Box::new(receipt) })
                }
            };
            self.log.push(describe(&body));
            self.append(by, body).unwrap();
        }
    }

    pub fn append(&mut self, by: Actor, body: EventBody) -> Result<(), WorldError> {
        let zero = Digest::from_bytes([0; 32]);
        let event = Event {
            sequence: self.world.last_sequence + 1,
            time: self.facts.now,
            by,
            body,
            previous: zero,
            hash: zero,
        };
        self.world.apply(&event)
    }

    /// Decides once. False when there was nothing to decide.
    pub fn one_step(&mut self) -> bool {
        let (world, facts) = (self.world.clone(), self.facts.clone());
        let all = Attention::to_all(&world, &facts);
        let step = step(&world, &facts, &all, &mut || self.tail());
        let moved = !step.records.is_empty();
        self.record(step.records);
        moved
    }

    /// Decides until there is nothing to decide.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            if !self.one_step() {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.log);
    }

    pub fn wake(&self) -> Option<Timestamp> {
        let all = Attention::to_all(&self.world, &self.facts);
        wake(&self.world, &self.facts, &all)
    }

    pub fn wanted(&self) -> Vec<Effect> {
        let mut all = Attention::to_all(&self.world, &self.facts);
        wanted(&self.world, &self.facts, &mut all)
    }

    /// Does every effect that is wanted, each as well as can be.
    pub fn comply_once(&mut self) {
        for effect in self.wanted() {
            self.done(effect);
        }
    }

    /// Decides and does until nothing is wanted.
    pub fn comply(&mut self) {
        for _ in 0..100 {
            self.settle();
            let effects = self.wanted();
            if effects.is_empty() {
                return;
            }
            self.comply_once();
        }
        panic!("it never comes to rest: {:?}", self.log);
    }

    /// An effect was done.
    #[allow(clippy::too_many_lines, reason = "one arm for each effect")]
    pub fn done(&mut self, effect: Effect) {
        match effect {
            Effect::StartInstance { instance, .. } => {
                let last = u8::try_from(self.facts.running.len() + 1).unwrap();
                let address = Ipv4Addr::new(10, 9, 0, last).into();
                let handle = InstanceHandle::new("1");
                let location = Location { address, place: Place::local(), handle };
                let running = Running { location, since: self.facts.now };
                self.facts.running.insert(instance, running);
            }
            Effect::FreezeInstance { instance, .. } => {
                self.facts.frozen.insert(instance, true);
            }
            Effect::StopInstance { instance, .. } => {
                self.facts.running.remove(&instance);
                self.facts.stopped.insert(instance);
            }
            Effect::RemoveInstance { instance, .. } => {
                self.facts.removed.insert(instance);
            }
            Effect::RunTests { image, .. } => self.tested(image, true),
            Effect::PrepareRoutes { .. } => panic!("one edge is not asked to prepare: {effect}"),
            Effect::ApplyRoutes { table, .. } => {
                let backends = all_healthy(&table);
                let counters = self.status(|edge| {
                    assert!(edge.backends.len() <= 20);
                    edge.generation = table.generation;
                    edge.backends = backends;
                    edge.counters.clone()
                });
                self.confirmed(*table, counters);
            }
            Effect::CutInFlight { release, .. } => self.in_flight(release.0, 0),
            Effect::TakeSnapshots { rollout, volumes, .. } => {
                let taken = |(volume, _)| TakenSnapshot { volume, snapshot: 3 };
                self.facts.snapshots.insert(rollout, volumes.into_iter().map(taken).collect());
            }
            Effect::RestoreSnapshots { rollout, snapshots, .. } => {
                let restored = snapshots.into_iter().map(|(of, _)| (of, 4)).collect();
                self.facts.restored.insert(rollout, Ok(restored));
            }
            Effect::AskGuards { occasion, round, .. } => {
                let (begun, answers) = (self.facts.now, Vec::new());
                let seen = GuardsSeen { round, begun, at: begun, answers };
                self.facts.guards.insert(occasion, seen);
            }
            Effect::CarryOut { run, .. } => self.run_ended(&run.id, ExitCause::Code(0)),
            Effect::EndRun { run, .. } => self.run_ended(&run.id, ExitCause::Signal(15)),
            Effect::GiveAddress { service, .. } => {
                let last = u8::try_from(self.facts.addresses.len() + 1).unwrap();
                self.facts.addresses.insert(service, IpAddr::from([10, 8, 0, last]));
            }
            Effect::TakeAddress { service, .. } => {
                self.facts.addresses.remove(&service);
            }
        }
    }

    /// One-off work ended.
    pub fn run_ended(&mut self, id: &InstanceId, cause: ExitCause) {
        let end = RunEnd { id: id.clone(), cause, cut_off: None, duration: Millis(70) };
        self.facts.run_ends.insert(id.clone(), end);
    }

    pub fn tested(&mut self, image: Digest, passed: bool) {
        let detail = if passed { "" } else { "status 500" }.to_owned();
        let results = vec![TestOutcome { test: "serves".to_owned(), passed, detail }];
        self.facts.tests.insert(image, TestRun { results, not_run: None, log_tail: Vec::new() });
    }

    pub fn in_flight(&mut self, release: u32, in_flight: u64) {
        let pool =
            hornero_model::PoolName { service: site(), port: PortName::new("http").unwrap() };
        let counters = |edge: &mut Vec<ReleaseCounters>| {
            edge.retain(|of| of.release.0 != release);
            edge.push(ReleaseCounters {
                requests: 100,
                in_flight,
                ..ReleaseCounters::new(pool.clone(), ReleaseNumber(release))
            });
        };
        self.status(|edge| counters(&mut edge.counters));
        self.edge(|edge| {
            if let Some(in_force) = &mut edge.in_force {
                counters(&mut Arc::make_mut(in_force).counters);
            }
        });
    }

    pub fn health(&mut self, instance: &InstanceId, health: Health) {
        self.status(|edge| {
            for backend in edge.backends.iter_mut().filter(|of| of.instance == *instance) {
                backend.health = health;
                backend.last_error = Some("connection refused".to_owned());
            }
        });
    }

    pub fn exit(&mut self, instance: &InstanceId) {
        self.facts.running.remove(instance);
        let log_tail = vec!["panic: no config".to_owned()];
        self.facts.exited.insert(instance.clone(), Exit { cause: ExitCause::Code(3), log_tail });
    }

    pub fn pass(&mut self, span: Millis) {
        self.facts.now = self.facts.now.after(span);
    }

    pub fn phase(&self) -> Option<Phase> {
        self.world.rollout_of(&site()).map(|rollout| rollout.phase)
    }

    /// An instance of a release.
    pub fn instance(&self, release: u32) -> InstanceId {
        let of = self.world.instances.values().find(|of| of.release.0 == release);
        of.unwrap().id.clone()
    }
}

/// An event in a short line.
#[allow(clippy::too_many_lines, reason = "one arm for each event")]
pub(crate) fn describe(body: &EventBody) -> String {
    match body {
        EventBody::ReleaseCreated { release } => format!("created {}", release.reference()),
        EventBody::ReleaseProven { service, release } => format!("proven {service}@{release}"),
        EventBody::ImageTested { test, passed, .. } => format!("tested {test}: {passed}"),
        EventBody::InstanceChanged { instance, state, cause, .. } => match cause {
            Some(cause) => format!("{instance} {state}: {cause}"),
            None => format!("{instance} {state}"),
        },
        EventBody::RolloutStep { entry } => {
            let rollout = crate::Rollout::from_journal(&entry.state).unwrap();
            match rollout.failure {
                Some(failure) => {
                    format!("rollout {} {}: {}", entry.rollout, entry.phase, failure.reason)
                }
                None => format!("rollout {} {}", entry.rollout, entry.phase),
            }
        }
        EventBody::VolumeDeclared { volume, .. } => format!("volume {} declared", volume.name),
        EventBody::VolumeUndeclared { volume, .. } => format!("volume {volume} undeclared"),
        EventBody::VolumeChanged { volume, change } => format!("volume {volume}: {change:?}"),
        EventBody::VolumeLeased { volume, lease, instance, .. } => {
            format!("lease {lease} of {volume} to {instance}")
        }
        EventBody::VolumeReleased { volume, lease } => format!("lease {lease} of {volume} ended"),
        EventBody::Switched { receipt } => {
            let body = &receipt.body;
            let from = body.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
            format!(
                "receipt {from} to {}: drained {}, cut {}, failed {}, warm {}",
                body.to, body.drained, body.cut_off, body.requests_failed, body.warm
            )
        }
        EventBody::ServiceRemoved { service } => format!("removed {service}"),
        EventBody::EffectRefused { effect, .. } => format!("refused {effect}"),
        EventBody::ControlStarted { .. } => "control started".to_owned(),
        EventBody::HostStarted { .. } => "host started".to_owned(),
        EventBody::ListenerChanged { address, fault, .. } => match fault {
            Some(fault) => format!("listener {address}: {fault}"),
            None => format!("listener {address} is well again"),
        },
        EventBody::ServiceOwned { service, directory } => format!("{service} of {directory}"),
        EventBody::ChurnStopped { breach } => format!("churn stopped: {breach}"),
        EventBody::FailureShared { service, release, failed, failure } => {
            format!("{service}@{release} fails as {failed}: {failure}")
        }
        EventBody::RunStarted { run } => format!("run {} begun", run.id),
        EventBody::RunEnded { end } => format!("run {} {}", end.id, end.cause),
        EventBody::JobDeclared { job, .. } => format!("job {} declared", job.name),
        EventBody::JobRemoved { job } => format!("job {job} removed"),
        EventBody::FreezeDeclared { freeze, .. } => format!("freeze {} declared", freeze.name),
        EventBody::FreezeRemoved { freeze, .. } => format!("freeze {freeze} removed"),
        EventBody::FreezeOverridden { freeze, .. } => format!("freeze {freeze} overridden"),
        EventBody::PreviewDeclared { preview } => {
            format!("preview {} of {}", preview.name, preview.service)
        }
        EventBody::PreviewRemoved { preview, service } => {
            format!("preview {preview} of {service} removed")
        }
        EventBody::JobSkipped { job, .. } => format!("job {job} skipped"),
        EventBody::ScheduleDeclared { schedule, .. } => {
            format!("schedule {} declared", schedule.name)
        }
        EventBody::ScheduleRemoved { schedule, .. } => format!("schedule {schedule} removed"),
        EventBody::ScheduleBegun { schedule, .. } => format!("schedule {schedule} begun"),
        EventBody::ScheduleEnded { schedule, .. } => format!("schedule {schedule} ended"),
        EventBody::ScheduleSkipped { schedule, .. } => format!("schedule {schedule} skipped"),
        EventBody::Scaled { service, from, to } => format!("scaled {service} from {from} to {to}"),
        EventBody::RehearsalStarted { rehearsal } => format!("rehearsal {} started", rehearsal.id),
        EventBody::RehearsalEnded { end } => format!("rehearsal {} ended", end.id),
        EventBody::DataGuardOverridden { guard, .. } => format!("guard.{guard} overridden"),
        EventBody::StepRuled { step, ruling, .. } => format!("step {step} ruled {ruling:?}"),
        EventBody::GuardOverridden { guard, .. } => format!("{guard} overridden"),
        EventBody::InstanceQuarantined { instance, .. } => format!("{instance} quarantined"),
        EventBody::QuarantineEnded { instance, .. } => format!("{instance} released"),
        EventBody::GlassBroken { session } => format!("{} entered", session.instance),
        EventBody::GlassMended { end } => format!("{} left", end.instance),
        EventBody::BundleSealed { seal } => format!("bundle of {} sealed", seal.body.instance),
        EventBody::ChurnResumed { service } => format!("churn of {service:?} goes on"),
        EventBody::ServiceAdjusted { service, release } => format!("adjusted {service}@{release}"),
        EventBody::RecycleSet { instances, .. } => {
            let names: Vec<&str> = instances.iter().map(InstanceId::as_str).collect();
            format!("recycle {}", names.join(", "))
        }
    }
}
