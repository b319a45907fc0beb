//! Histories by chance by every strategy, in which people keep, send on and end rollouts while everything else happens as well.

use std::collections::{BTreeMap, BTreeSet};

use hornero_driver::RequestKind;
use hornero_model::{
    CanaryPolicy, EventBody, ExitCause, Millis, OnInconclusive, ReplacePolicy, RollingPolicy,
    RolloutId, ServiceName, ServiceSpec, Steer, Strategy,
};
use hornero_rollout::Rollout;
use hornero_sim::{
    Behaviour, Faults, Random, SERVER_BYTES, SimMemory, Simulation, Trouble, service,
};

/// Seeds of one run of this test; more in a long run by `HORNERO_SIM_SEEDS`.
const SEEDS: u64 = 120;

const STEERS: [Steer; 5] =
    [Steer::Pause, Steer::Resume, Steer::Promote, Steer::PromoteFully, Steer::Abort];

/// How a release takes over, as chance has it.
fn strategy(random: &mut Random) -> Strategy {
    match random.between(0, 5) {
        4 | 5 => {
            let hold = Millis(random.between(0, 20_000));
            Strategy::Replace(ReplacePolicy::holding(hold, 1_000))
        }
        0 => Strategy::BlueGreen,
        1 | 2 => Strategy::Rolling(RollingPolicy {
            max_surge: random.chance(50).then(|| u32::try_from(random.between(1, 3)).unwrap()),
        }),
        _ => Strategy::Canary(CanaryPolicy {
            steps: vec![2_000, 6_000],
            step_timeout: Millis(random.between(500, 4_000)),
            on_inconclusive: *random.choose(&[
                OnInconclusive::Abort,
                OnInconclusive::Promote,
                OnInconclusive::Wait,
            ]),
            sticky: None,
            judge: None,
            probe: None,
        }),
    }
}

fn release(simulation: &mut Simulation, random: &mut Random, name: &str) -> ServiceSpec {
    let behaviour = match random.between(0, 9) {
        0 => Behaviour::with(Trouble::Errs),
        1..=3 => Behaviour::any(random),
        _ => Behaviour::GOOD,
    };
    let image = simulation.host.scenario.image(behaviour);
    let mut spec = service(name, image, u32::try_from(random.between(1, 4)).unwrap());
    spec.rollout.strategy = strategy(random);
    if matches!(spec.rollout.strategy, Strategy::Rolling(_) | Strategy::Replace(_)) {
        spec.rollout.keep_warm = Millis(0);
    }
    spec
}

fn happens(simulation: &mut Simulation, random: &mut Random) {
    let name = *random.choose(&["api", "site"]);
    let service = ServiceName::new(name).unwrap();
    match random.between(0, 15) {
        0..=5 => {
            let spec = release(simulation, random, name);
            simulation.request(RequestKind::Apply { services: vec![spec] });
        }
        6..=9 => {
            let steer = *random.choose(&STEERS);
            simulation.request(RequestKind::Steer { service, steer });
        }
        10 => drop(simulation.request(RequestKind::Rollback { service, to: None })),
        11 => drop(simulation.request(RequestKind::Down { services: vec![service] })),
        12 => {
            let ids = simulation.host.engine.ids();
            if let Some(victim) = (!ids.is_empty()).then(|| random.choose(&ids).clone()) {
                simulation.crash_instance(&victim, ExitCause::Signal(9));
            }
        }
        13 => simulation.kill_control(random.between(0, 2_000)),
        14 => simulation.restart_host(random.between(0, 2_000)),
        _ => {
            let (after, lasts) = (random.between(0, 1_000), random.between(50, 1_500));
            simulation.disturb_edge(after, lasts, random.chance(50));
        }
    }
}

/// Nothing waits for people any more: what is paused is resumed, what waits for a verdict is promoted.
fn send_on(simulation: &mut Simulation) {
    /// Steps of a canary and what precedes them, and the requests that were queued behind it.
    const TRIES: usize = 400;
    for _ in 0..TRIES {
        let rollouts = simulation.driver.as_ref().map(|driver| driver.steerable());
        if rollouts.is_some_and(|rollouts| rollouts.is_empty()) && simulation.driver().is_idle() {
            return;
        }
        for service in ["api", "site"].map(|name| ServiceName::new(name).unwrap()) {
            simulation.request(RequestKind::Steer { service, steer: Steer::Promote });
        }
        simulation.run(2_500);
    }
}

fn history(seed: u64) {
    let mut random = Random::new(seed ^ 0x3A15);
    let mut simulation = Simulation::new(seed);
    simulation.host.trace.whole = std::env::var_os("HORNERO_SIM_TRACE").is_some();
    if random.chance(70) {
        simulation.host.faults = Faults {
            unanswered_starts: 0,
            doubled: random.between(0, 20),
            late: random.between(0, 30),
            failed: random.between(0, 8),
            belated: random.between(0, 8),
            unanswered: random.between(0, 8).saturating_sub(6),
        };
    }
    let mut memory = Random::new(seed ^ 0x4007);
    if memory.chance(40) {
        let (bytes, is_limit) = (SERVER_BYTES * memory.between(9, 14), memory.chance(50));
        simulation.host.memory = Some(SimMemory { bytes, is_limit });
    }
    for _ in 0..random.between(6, 18) {
        happens(&mut simulation, &mut random);
        simulation.run(random.between(0, 3_000));
    }
    simulation.run(3_000);
    simulation.host.faults = Faults::default();
    send_on(&mut simulation);
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn every_history_ends_whole() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("HORNERO_SIM_FIRST").unwrap_or(0);
    for seed in first..first + number("HORNERO_SIM_SEEDS").unwrap_or(SEEDS) {
        history(seed);
    }
}

#[test]
fn what_somebody_paused_stays_so_whenever_control_dies() {
    for point in 1..=6 {
        let mut simulation = Simulation::new(point);
        let image = simulation.host.scenario.image(Behaviour::GOOD);
        let mut spec = service("site", image, 2);
        let apply = |spec: &ServiceSpec| RequestKind::Apply { services: vec![spec.clone()] };
        simulation.ask(apply(&spec));
        spec.image = simulation.host.scenario.image(Behaviour::GOOD);
        spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
            steps: vec![2_000],
            step_timeout: Millis(3_000),
            on_inconclusive: OnInconclusive::Promote,
            sticky: None,
            judge: None,
            probe: None,
        });
        simulation.request(apply(&spec));
        simulation.run(100 * point);
        let steer =
            |steer| RequestKind::Steer { service: ServiceName::new("site").unwrap(), steer };
        simulation.ask(steer(Steer::Pause));
        simulation.kill_control(200 * point);
        simulation.run(60_000);
        assert_eq!(simulation.serving("site"), Some(1), "point {point}");
        let world = simulation.driver().world();
        let rollout = world.rollouts.values().next().expect("it waits");
        assert!(rollout.paused.is_some(), "point {point}");
        simulation.ask(steer(Steer::Resume));
        simulation.come_to_rest();
        simulation.check_whole();
        assert_eq!(simulation.serving("site"), Some(2), "point {point}");
    }
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// The releases of the site of which a server runs.
fn running(simulation: &Simulation) -> BTreeSet<String> {
    let engine = &simulation.host.engine;
    let running = engine.ids().into_iter().filter(|id| engine.runs(id));
    running.filter_map(|id| id.as_str().split('-').nth(1).map(str::to_owned)).collect()
}

#[test]
fn servers_that_cant_run_twice_never_do_whatever_dies() {
    for seed in 0..60 {
        let mut random = Random::new(seed ^ 0x0271);
        let mut simulation = Simulation::new(seed);
        let image = simulation.host.scenario.image(Behaviour::GOOD);
        let mut spec = service("site", image, 2);
        simulation.ask(apply(&spec));
        let (hold, hold_requests) = (Millis(30_000), 1_000);
        spec.rollout.strategy = Strategy::Replace(ReplacePolicy::holding(hold, hold_requests));
        spec.rollout.keep_warm = Millis(0);
        for _ in 0..4 {
            let behaviour = match random.chance(60) {
                true => Behaviour::GOOD,
                false => Behaviour::any(&mut random),
            };
            spec.image = simulation.host.scenario.image(behaviour);
            simulation.request(apply(&spec));
            match random.between(0, 3) {
                0 => simulation.kill_control(random.between(0, 3_000)),
                1 => simulation.disturb_edge(random.between(0, 2_000), 700, random.chance(50)),
                _ => {}
            }
            let end = simulation.host.now + random.between(500, 9_000);
            while simulation.host.now < end {
                simulation.step();
                let running = running(&simulation);
                assert!(running.len() <= 1, "seed {seed}: {running:?} run at the same time");
            }
        }
        simulation.come_to_rest();
        simulation.check_whole();
    }
}

/// Requests that rollouts cut off because they took too long, by the journal.
fn cut_off(simulation: &Simulation) -> u64 {
    let mut before: BTreeMap<RolloutId, Option<u64>> = BTreeMap::new();
    let mut sum = 0;
    for event in simulation.host.ledger.events() {
        let EventBody::RolloutStep { entry } = &event.body else { continue };
        let cut_off = Rollout::from_journal(&entry.state).unwrap().cut_off;
        if before.insert(entry.rollout, cut_off).flatten().is_none() {
            sum += cut_off.unwrap_or(0);
        }
    }
    sum
}

#[test]
fn requests_wait_for_what_is_replaced_in_its_place_and_none_is_lost() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        let image = simulation.host.scenario.image(Behaviour::GOOD);
        let mut spec = service("site", image, 2);
        simulation.ask(apply(&spec));
        let (hold, hold_requests) = (Millis(30_000), 10_000);
        spec.rollout.strategy = Strategy::Replace(ReplacePolicy::holding(hold, hold_requests));
        spec.rollout.keep_warm = Millis(0);
        // One that works takes over, one that does not start makes room again.
        for (behaviour, serving) in
            [(Behaviour::GOOD, 2), (Behaviour::with(Trouble::NotStarted), 2), (Behaviour::GOOD, 4)]
        {
            spec.image = simulation.host.scenario.image(behaviour);
            let outcome = simulation.ask(apply(&spec));
            let kind = outcome.result;
            simulation.come_to_rest();
            assert_eq!(simulation.serving("site"), Some(serving), "seed {seed}: {kind:?}");
            simulation.check_whole();
        }
        let cut_off = cut_off(&simulation);
        let failed: u64 = simulation.host.edge.failed.values().sum();
        assert!(failed <= cut_off, "seed {seed}: {failed} failed, {cut_off} were cut off");
    }
}
