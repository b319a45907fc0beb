//! Histories by chance: requests, bad images, crashes of everything, late and doubled news, failing effects.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    CanaryPolicy, CanaryProbe, CronLine, Directory, EdgeName, ExitCause, Millis, MissedTimes,
    OnInconclusive, Preview, PreviewName, Protocol, ReleaseNumber, Route, Scale, ScheduleAction,
    ScheduleName, ScheduleSpec, ServiceName, ServiceSpec, Strategy, Timestamp, ToZero,
};

use crate::{
    Behaviour, Faults, Random, SERVER_BYTES, SimMemory, Simulation, Trouble, service, stateful,
};

/// The services of a history.
const NAMES: [&str; 2] = ["api", "site"];

/// Seeds from here on are histories of hosts with memory for few servers.
const LITTLE_MEMORY: u64 = 1_000_000;

/// Seeds from here on are histories of services whose number of servers follows from their load.
const SCALED: u64 = 2_000_000;
/// Seeds from here on are histories of services with volumes.
const VOLUMES: u64 = 3_000_000;

/// Seeds from here on are histories with previews as well.
const PREVIEWS: u64 = 4_000_000;

/// Seeds from here on are histories of several edges, which come and go one by one.
const EDGES: u64 = 5_000_000;
/// Seeds from here on are histories of services of which nothing has to run.
const ASLEEP: u64 = 6_000_000;
/// Seeds from here on are histories with schedules, rehearsals, canaries that the edge probes, an edge that is away for long,
/// and an engine that often says nothing of a start.
const BESIDE: u64 = 7_000_000;

/// How long a canary is probed at each step: some hundred times.
const PROBED_FOR: Millis = Millis(12_000);

/// A history that one seed decides.
#[derive(Debug)]
struct History {
    has_volumes: bool,
    simulation: Simulation,
    random: Random,
    images: Vec<hornero_model::Digest>,
    is_scaled: bool,
    may_sleep: bool,
    /// What is drawn for schedules, rehearsals and probes, in histories that have them.
    beside: Option<Random>,
}

/// Runs the history of a seed to its end, where everything is whole; `traced` keeps every line of it.
///
/// # Panics
/// Where an invariant is broken, or it does not come to rest; the message says what and the last that happened.
pub fn history(seed: u64, traced: bool) -> Simulation {
    let mut random = Random::new(seed ^ 0x5EED);
    let mut edges = ((EDGES..ASLEEP).contains(&seed)).then(|| Random::new(seed ^ 0xED6E));
    let mut simulation = match &mut edges {
        Some(random) => {
            let others = ["east", "west"];
            let count = if random.chance(50) { 1 } else { 2 };
            Simulation::with_edges(seed, &others[..count])
        }
        None => Simulation::new(seed),
    };
    simulation.host.trace.whole = traced;
    if random.chance(70) {
        simulation.host.faults = Faults {
            doubled: random.between(0, 20),
            late: random.between(0, 30),
            failed: random.between(0, 8),
            // Drawn apart, so that what a seed is otherwise stays.
            belated: Random::new(seed ^ 0xB31A7ED).between(0, 8),
            unanswered: Random::new(seed ^ 0xA45E4).between(0, 8).saturating_sub(6),
            unanswered_starts: 0,
        };
    }
    let mut beside = (seed >= BESIDE).then(|| Random::new(seed ^ 0xBE51DE));
    if let Some(random) = &mut beside {
        simulation.host.faults.unanswered_starts = random.between(0, 20);
        simulation.hears_again = true;
    }
    let has_volumes = (VOLUMES..PREVIEWS).contains(&seed);
    if (LITTLE_MEMORY..SCALED).contains(&seed) {
        let mut memory = Random::new(seed ^ 0x4007);
        let (bytes, is_limit) = (SERVER_BYTES * memory.between(8, 10), memory.chance(50));
        simulation.host.memory = Some(SimMemory { bytes, is_limit });
    }
    // Drawn apart, as above.
    let mut pauses = Random::new(seed ^ 0x5709);
    let mut previews = (PREVIEWS..EDGES).contains(&seed).then(|| Random::new(seed ^ 0x9E71));
    let images = vec![simulation.host.scenario.image(Behaviour::GOOD)];
    let may_sleep = (ASLEEP..BESIDE).contains(&seed);
    let is_scaled = (SCALED..VOLUMES).contains(&seed) || may_sleep;
    let mut history =
        History { has_volumes, simulation, random, images, is_scaled, may_sleep, beside };
    for _ in 0..history.random.between(4, 14) {
        history.act();
        if history.is_scaled {
            history.simulation.host.edge.rush = *history.random.choose(&[0, 0, 1, 3]);
            history.silence();
        }
        if let Some(random) = previews.as_mut() {
            history.preview(random);
        }
        if let Some(random) = edges.as_mut() {
            history.trouble_an_edge(random);
        }
        history.go_beside();
        if pauses.chance(4) {
            let (after, lasts) = (pauses.between(0, 2_000), pauses.between(500, 4_000));
            history.simulation.pause_control(after, lasts);
        }
        history.goes_on();
    }
    history.end()
}

impl History {
    /// Without any more faults everything comes to rest, whole, and one good release of each service comes up.
    fn end(mut self) -> Simulation {
        self.simulation.run(3_000);
        if self.simulation.host.edges().count() > 1 || self.beside.is_some() {
            // Until the last of them is back.
            self.simulation.run(45_000);
        }
        self.simulation.remove_schedules();
        self.simulation.host.faults = Faults::default();
        self.simulation.host.edge.rush = 0;
        self.simulation.host.edge.idle.silent.clear();
        self.simulation.come_to_rest();
        self.simulation.check_whole();
        for name in NAMES {
            let image = self.simulation.host.scenario.image(Behaviour::GOOD);
            let mut spec = service(name, image, 2);
            if self.has_volumes {
                spec = stateful(spec);
            }
            self.comes_up(&spec);
            // And goes on by other terms, with the servers that it has.
            spec.instances = if self.has_volumes { 1 } else { 3 };
            let (listen, port) = (spec.routes[0].listen + 100, spec.ports[0].name.clone());
            spec.routes.push(Route::new(listen, port, Protocol::Http));
            self.comes_up(&spec);
        }
        // Until what was kept warm has had its time.
        self.simulation.run(12_000);
        self.simulation.come_to_rest();
        self.simulation.check_whole();
        self.simulation
    }

    fn comes_up(&mut self, spec: &ServiceSpec) {
        let services = vec![spec.clone()];
        let outcome = self.simulation.ask(RequestKind::Apply { services });
        if outcome.result != OutcomeKind::Done {
            let why = outcome.failure.map(|(_, failure)| failure.reason).unwrap_or_default();
            self.simulation.fail(&format!("good servers of `{}` don't come up: {why}", spec.name));
        }
    }

    /// A while in which nobody does anything.
    fn goes_on(&mut self) {
        let is_long = self.is_scaled || self.beside.is_some();
        let pause = self.random.between(0, if is_long { 12_000 } else { 3_000 });
        self.simulation.run(pause);
    }

    /// One thing that somebody asks for, or that goes wrong.
    fn act(&mut self) {
        match self.random.between(0, 14) {
            0..=5 => self.apply(),
            6 | 7 => {
                let service = self.name();
                let to = self
                    .random
                    .chance(30)
                    .then(|| ReleaseNumber(u32::try_from(self.random.between(1, 4)).unwrap_or(1)));
                self.simulation.request(RequestKind::Rollback { service, to });
            }
            8 => {
                let services = if self.random.chance(50) { Vec::new() } else { vec![self.name()] };
                self.simulation.request(RequestKind::Down { services });
            }
            9 => self.trouble_an_instance(),
            10 => {
                let after = self.random.between(0, 2_000);
                self.simulation.kill_control(after);
            }
            11 => {
                let after = self.random.between(0, 2_000);
                self.simulation.restart_host(after);
            }
            13 | 14 => {
                let service = self.name();
                self.simulation.request(RequestKind::Cancel { service });
            }
            _ => {
                let restart = self.random.chance(50);
                let after = self.random.between(0, 1_000);
                let lasts = self.random.between(50, 1_500);
                self.simulation.disturb_edge(after, lasts, restart);
            }
        }
    }

    fn name(&mut self) -> ServiceName {
        ServiceName::new(*self.random.choose(&NAMES)).expect("a valid name")
    }

    fn apply(&mut self) {
        let mut services: Vec<ServiceSpec> = Vec::new();
        for name in NAMES {
            if self.random.chance(60) {
                services.push(self.spec(name));
            }
        }
        self.simulation.request(RequestKind::Apply { services });
    }

    fn spec(&mut self, name: &str) -> ServiceSpec {
        let random = &mut self.random;
        if random.chance(70) {
            let errs = random.chance(10);
            let any = Behaviour::any(random);
            let behaviour = if errs { Behaviour::with(Trouble::Errs) } else { any };
            self.images.push(self.simulation.host.scenario.image(behaviour));
        }
        let image = *random.choose(&self.images);
        let instances = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let mut spec = service(name, image, instances);
        if random.chance(40) {
            spec.rollout.strategy = Strategy::Canary(canary(random));
        }
        if let (Strategy::Canary(policy), Some(random)) =
            (&mut spec.rollout.strategy, &mut self.beside)
        {
            probed(policy, random);
        }
        if self.is_scaled && random.chance(80) {
            let minimum = u32::try_from(random.between(1, 2)).unwrap_or(1);
            (spec.instances, spec.scale) = (minimum, Some(scale(minimum)));
            if self.may_sleep && random.chance(80) {
                let to_zero =
                    ToZero { idle: Millis(3_000), hold: Millis(20_000), hold_requests: 500 };
                let scale = Scale { minimum: 0, to_zero: Some(to_zero), ..scale(1) };
                (spec.instances, spec.scale) = (1, Some(scale));
            }
        }
        if self.has_volumes { stateful(spec) } else { spec }
    }

    /// Something of what control does beside its driver, or that an edge is away for long.
    fn go_beside(&mut self) {
        let Some(mut random) = self.beside.take() else { return };
        let silent = NAMES.into_iter().filter(|_| random.chance(40));
        let silent = silent.filter_map(|name| ServiceName::new(name).ok()).collect();
        self.simulation.host.edge.idle.silent = silent;
        let service = ServiceName::new(*random.choose(&NAMES)).expect("a valid name");
        match random.between(0, 8) {
            0 => self.declare_schedule(&service, &mut random),
            6 => self.rehearse_twice(&service, &mut random),
            1 => {
                let (takes_ms, works) = (random.between(200, 5_000), random.chance(50));
                self.simulation.rehearse(&service, takes_ms, works);
            }
            2 | 3 | 7 => {
                let image = self.simulation.host.scenario.image(Behaviour::any(&mut random));
                let mut spec = crate::service(service.as_str(), image, 2);
                spec.require_fresh_rollback = Some(Millis(random.between(60_000, 240_000)));
                let rehearsal = (random.between(200, 5_000), random.chance(60));
                self.simulation.bring_carefully(&spec, rehearsal);
            }
            4 => {
                let lasts = random.between(4_000, 40_000);
                self.simulation.disturb_edge(random.between(0, 1_000), lasts, random.chance(30));
            }
            8 => self.take_down_what_lacks_a_server(service, &mut random),
            _ => self.bring_one_that_errs(&service),
        }
        self.beside = Some(random);
    }

    /// Two releases come one after the other, it is seen that the service could go back, and then perhaps that it could not.
    fn rehearse_twice(&mut self, service: &ServiceName, random: &mut Random) {
        let mut spec = crate::service(service.as_str(), self.images[0], 2);
        spec.require_fresh_rollback = Some(Millis(120_000));
        for _ in 0..2 {
            spec.image = self.simulation.host.scenario.image(Behaviour::GOOD);
            self.simulation.request(RequestKind::Apply { services: vec![spec.clone()] });
            self.simulation.run(random.between(3_000, 6_000));
        }
        for works in [true, random.chance(50)] {
            self.simulation.rehearse(service, random.between(100, 500), works);
            self.simulation.run(random.between(2_000, 4_000));
        }
        spec.image = self.simulation.host.scenario.image(Behaviour::GOOD);
        self.simulation.bring_carefully(&spec, (random.between(200, 5_000), true));
    }

    /// A server dies, and its service is taken down while another one starts.
    fn take_down_what_lacks_a_server(&mut self, service: ServiceName, random: &mut Random) {
        let Some(driver) = &self.simulation.driver else { return };
        let serving = driver.world().services.get(&service).and_then(|of| of.serving.as_ref());
        let victim = serving.and_then(|set| set.instances.first().cloned());
        if let Some(victim) = victim {
            self.simulation.crash_instance(&victim, ExitCause::Signal(9));
            self.simulation.run(random.between(100, 2_000));
            self.simulation.request(RequestKind::Down { services: vec![service] });
        }
    }

    /// A release of which only requests show that it is a bad one, and which comes where nothing can be said.
    fn bring_one_that_errs(&mut self, service: &ServiceName) {
        let image = self.simulation.host.scenario.image(Behaviour::with(Trouble::Errs));
        let mut spec = crate::service(service.as_str(), image, 2);
        spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
            steps: vec![1_000],
            step_timeout: PROBED_FOR,
            on_inconclusive: OnInconclusive::Promote,
            sticky: None,
            judge: None,
            probe: Some(probe()),
        });
        self.simulation.request(RequestKind::Apply { services: vec![spec] });
    }

    fn declare_schedule(&mut self, service: &ServiceName, random: &mut Random) {
        let directory = Directory::new("/srv/shop").expect("an absolute path");
        let when = CronLine { line: "* * * * *".to_owned(), timezone: "UTC".to_owned() };
        let schedule = ScheduleSpec {
            name: ScheduleName::new(*random.choose(&["fresh", "often"])).expect("a valid name"),
            action: ScheduleAction::Recycle,
            when,
            services: vec![service.clone()],
            missed: *random.choose(&[MissedTimes::Skip, MissedTimes::CatchUp]),
        };
        self.simulation.declare_schedule(&directory, schedule);
    }

    /// No requests come to some services for a while.
    fn silence(&mut self) {
        if !self.may_sleep {
            return;
        }
        let silent = NAMES.into_iter().filter(|_| self.random.chance(60));
        let silent = silent.filter_map(|name| ServiceName::new(name).ok()).collect();
        self.simulation.host.edge.idle.silent = silent;
    }

    /// Somebody asks for a preview, or removes one.
    fn preview(&mut self, random: &mut Random) {
        let service = ServiceName::new(*random.choose(&NAMES)).expect("a valid name");
        let name = PreviewName::new(*random.choose(&["new", "old"])).expect("a valid name");
        match random.between(0, 3) {
            0 | 1 => {
                let image = self.simulation.host.scenario.image(Behaviour::any(random));
                let spec = crate::service(service.as_str(), image, 2);
                let share = *random.choose(&[0, 500, 2_500]);
                let lasts = Millis(random.between(500, 30_000));
                let until = Timestamp(self.simulation.host.now).after(lasts);
                let preview = Preview { name, service, release: None, share, until };
                let previews = vec![(preview, spec)];
                self.simulation.request(RequestKind::Preview { previews });
            }
            2 => {
                if let Ok(runs_as) = ServiceName::of_preview(&name, &service) {
                    let services = vec![runs_as];
                    self.simulation.request(RequestKind::Down { services });
                }
            }
            _ => {}
        }
    }

    /// One of several edges is cut off from control, for a moment or for long, or dies.
    fn trouble_an_edge(&mut self, random: &mut Random) {
        if !random.chance(30) {
            return;
        }
        let names: Vec<EdgeName> = self.simulation.host.edges().map(|(name, _)| name).collect();
        let name = random.choose(&names).clone();
        let (after, restart) = (random.between(0, 1_500), random.chance(40));
        let lasts = if random.chance(60) {
            random.between(50, 1_500)
        } else {
            random.between(5_000, 40_000)
        };
        self.simulation.disturb(&name, after, lasts, restart);
    }

    fn trouble_an_instance(&mut self) {
        let ids = self.simulation.host.engine.ids();
        if ids.is_empty() {
            return;
        }
        let victim = self.random.choose(&ids).clone();
        if self.random.chance(50) {
            self.simulation.crash_instance(&victim, ExitCause::Signal(9));
        } else {
            let now = self.simulation.host.now;
            self.simulation.host.engine.sicken(&victim, now);
        }
    }
}

/// A quick scale, so that it moves within a history.
fn scale(minimum: u32) -> Scale {
    Scale {
        minimum,
        maximum: 4,
        in_flight: Some(3),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(4_000),
        to_zero: None,
    }
}

/// The same with requests of the edge's own, for long enough that something can be said by them alone.
fn probed(policy: &mut CanaryPolicy, random: &mut Random) {
    if random.chance(70) {
        policy.probe = Some(probe());
        policy.step_timeout = PROBED_FOR;
    }
}

fn probe() -> CanaryProbe {
    CanaryProbe { port: None, path: "/".to_owned(), interval: Millis(25) }
}

/// A canary that is over soon, whatever becomes of it.
fn canary(random: &mut Random) -> CanaryPolicy {
    let on_inconclusive = [OnInconclusive::Abort, OnInconclusive::Promote];
    CanaryPolicy {
        steps: vec![2_000, 6_000],
        step_timeout: Millis(random.between(500, 4_000)),
        on_inconclusive: *random.choose(&on_inconclusive),
        sticky: None,
        judge: None,
        probe: None,
    }
}
