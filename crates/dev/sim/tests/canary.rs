//! Canaries told step by step, some with a bad release planted.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{CanaryPolicy, Millis, OnInconclusive, ServiceName, ServiceSpec, Strategy};
use hornero_sim::{Behaviour, Simulation, Trouble, service};

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// A good release that serves, and a canary with this behaviour that waits for its verdict as long as it takes.
fn canary(seed: u64, steps: &[u32], behaviour: Behaviour) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let mut spec = service("site", image, 2);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    spec.image = simulation.host.scenario.image(behaviour);
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: steps.to_vec(),
        step_timeout: Millis(600_000),
        on_inconclusive: OnInconclusive::Wait,
        sticky: None,
        judge: None,
        probe: None,
    });
    (simulation, spec)
}

fn errors_of(simulation: &Simulation, release: u32) -> (u64, u64) {
    let counters = simulation.host.edge.counters();
    let of = counters.iter().find(|of| of.release.0 == release).unwrap();
    (of.server_errors, of.requests)
}

#[test]
fn one_that_errs_is_taken_back_within_seconds_and_a_good_one_never_is() {
    let mut slowest = 0;
    for seed in 0..20 {
        let (mut simulation, spec) = canary(seed, &[5_000], Behaviour::with(Trouble::Errs));
        let begun = simulation.host.now;
        let outcome = simulation.ask(apply(&spec));
        assert_eq!(outcome.result, OutcomeKind::RolledBack, "seed {seed}");
        let reason = outcome.failure.unwrap().1.reason;
        assert!(reason.starts_with("`site@2` does worse at 50%: "), "seed {seed}: {reason}");
        let taken = simulation.host.now - begun;
        slowest = slowest.max(taken);
        // 40 requests a second in all.
        assert!(taken < 30_000, "seed {seed}: {taken} ms, {:?}", errors_of(&simulation, 2));
        simulation.come_to_rest();
        simulation.check_whole();
        assert_eq!(simulation.serving("site"), Some(1), "seed {seed}");
    }
    println!("the slowest took {slowest} ms");
    for seed in 0..20 {
        let (mut simulation, spec) = canary(seed, &[5_000], Behaviour::GOOD);
        let outcome = simulation.ask(apply(&spec));
        assert_eq!(outcome.result, OutcomeKind::Done, "seed {seed}: {:?}", outcome.failure);
        simulation.come_to_rest();
        simulation.check_whole();
        assert_eq!(simulation.serving("site"), Some(2), "seed {seed}");
        // The drain is short: what it cut off is told, and nothing else failed.
        let cut_off = outcome.services[0].receipt.as_ref().unwrap().body.cut_off;
        let failed: u64 = simulation.host.edge.failed.values().sum();
        assert_eq!(failed, cut_off, "seed {seed}");
    }
}

#[test]
fn somebody_takes_back_what_waits_for_a_verdict() {
    let (mut simulation, spec) = canary(1, &[100], Behaviour::GOOD);
    simulation.load = false;
    let waiting = simulation.request(apply(&spec));
    simulation.run(20_000);
    assert!(!simulation.host.answers.contains_key(&waiting));
    let service = ServiceName::new("site").unwrap();
    assert_eq!(simulation.ask(RequestKind::Cancel { service }).result, OutcomeKind::Done);
    assert_eq!(simulation.answer(waiting, 5_000).unwrap().result, OutcomeKind::RolledBack);
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.serving("site"), Some(1));
}
