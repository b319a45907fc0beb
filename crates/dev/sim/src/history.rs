//! Histories by chance: requests, bad images, crashes of everything, late and doubled news, failing effects.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    CanaryPolicy, EdgeName, ExitCause, Millis, OnInconclusive, Preview, PreviewName, Protocol,
    ReleaseNumber, Route, Scale, ServiceName, ServiceSpec, Strategy, Timestamp, ToZero,
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

/// A history that one seed decides.
#[derive(Debug)]
struct History {
    has_volumes: bool,
    simulation: Simulation,
    random: Random,
    images: Vec<hornero_model::Digest>,
    is_scaled: bool,
    may_sleep: bool,
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
        };
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
    let may_sleep = seed >= ASLEEP;
    let is_scaled = (SCALED..VOLUMES).contains(&seed) || may_sleep;
    let mut history = History { has_volumes, simulation, random, images, is_scaled, may_sleep };
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
        if pauses.chance(4) {
            let (after, lasts) = (pauses.between(0, 2_000), pauses.between(500, 4_000));
            history.simulation.pause_control(after, lasts);
        }
        let pause = history.random.between(0, if history.is_scaled { 12_000 } else { 3_000 });
        history.simulation.run(pause);
    }
    history.end()
}

impl History {
    /// Without any more faults everything comes to rest, whole, and one good release of each service comes up.
    fn end(mut self) -> Simulation {
        self.simulation.run(3_000);
        if self.simulation.host.edges().count() > 1 {
            // Until the last of them is back.
            self.simulation.run(45_000);
        }
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
