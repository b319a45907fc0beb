//! Control is killed, or the host's power cut, at every append of a rollout, a rollback, a failed rollout, a
//! removal, and of rollouts that are cancelled.

use hornero_driver::RequestKind;
use hornero_model::{CanaryPolicy, Millis, OnInconclusive, ServiceName, ServiceSpec, Strategy};
use hornero_sim::{Behaviour, Simulation, Trouble, service};

/// Control is killed, or everything on the host, at each append of what is asked for; `check` says what it has to come to.
fn at_every_append(
    prepare: impl Fn(&mut Simulation) -> RequestKind,
    check: impl Fn(&Simulation, &str),
) {
    for seed in 0..2 {
        let appends = hornero_sim::at_every_append(seed, &prepare, &check);
        assert!(appends >= 2, "there is something to be killed at");
    }
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn serving(simulation: &mut Simulation) -> ServiceSpec {
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = service("site", image, 3);
    simulation.ask(apply(&spec));
    assert_eq!(simulation.serving("site"), Some(1));
    spec
}

fn upgrade(simulation: &mut Simulation, behaviour: Behaviour) -> RequestKind {
    let spec = serving(simulation);
    let image = simulation.host.scenario.image(behaviour);
    apply(&ServiceSpec { image, ..spec })
}

/// The same with a canary, which gets half of the requests.
fn canary(
    simulation: &mut Simulation,
    behaviour: Behaviour,
    on_inconclusive: OnInconclusive,
) -> RequestKind {
    let mut spec = serving(simulation);
    spec.image = simulation.host.scenario.image(behaviour);
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: vec![2_000, 5_000],
        step_timeout: Millis(1_500),
        on_inconclusive,
        sticky: None,
        judge: None,
        probe: None,
    });
    apply(&spec)
}

#[test]
fn of_a_first_rollout() {
    at_every_append(
        |simulation| {
            let image = simulation.host.scenario.image(Behaviour::GOOD);
            apply(&service("site", image, 2))
        },
        |simulation, when| {
            let serving = simulation.serving("site");
            assert!(serving == Some(1) || serving.is_none(), "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_forward_rollout() {
    at_every_append(
        |simulation| upgrade(simulation, Behaviour::GOOD),
        |simulation, when| {
            let serving = simulation.serving("site");
            assert!(matches!(serving, Some(1 | 2)), "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_canary() {
    at_every_append(
        |simulation| canary(simulation, Behaviour::GOOD, OnInconclusive::Promote),
        |simulation, when| {
            let serving = simulation.serving("site");
            assert!(matches!(serving, Some(1 | 2)), "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_canary_that_is_taken_back() {
    at_every_append(
        |simulation| canary(simulation, Behaviour::with(Trouble::Errs), OnInconclusive::Abort),
        |simulation, when| assert_eq!(simulation.serving("site"), Some(1), "{when}"),
    );
}

#[test]
fn of_a_rollback() {
    at_every_append(
        |simulation| {
            let forward = upgrade(simulation, Behaviour::GOOD);
            simulation.ask(forward);
            RequestKind::Rollback { service: ServiceName::new("site").unwrap(), to: None }
        },
        |simulation, when| {
            let serving = simulation.serving("site");
            assert!(matches!(serving, Some(1 | 2)), "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_cold_rollback() {
    at_every_append(
        |simulation| {
            let forward = upgrade(simulation, Behaviour::GOOD);
            simulation.ask(forward);
            simulation.run(20_000);
            RequestKind::Rollback { service: ServiceName::new("site").unwrap(), to: None }
        },
        |simulation, when| {
            let serving = simulation.serving("site");
            assert!(matches!(serving, Some(1 | 2)), "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_rollout_that_fails_before_the_switch() {
    at_every_append(
        |simulation| upgrade(simulation, Behaviour::with(Trouble::CrashAtStart)),
        |simulation, when| assert_eq!(simulation.serving("site"), Some(1), "{when}"),
    );
}

#[test]
fn of_a_rollout_whose_test_fails() {
    at_every_append(
        |simulation| upgrade(simulation, Behaviour::with(Trouble::TestFails)),
        |simulation, when| assert_eq!(simulation.serving("site"), Some(1), "{when}"),
    );
}

#[test]
fn of_a_rollout_that_fails_after_the_switch() {
    at_every_append(
        |simulation| upgrade(simulation, Behaviour::with(Trouble::SickLater)),
        |simulation, when| {
            // Killed late enough, control finds the release proven before it turns sick; then it stays.
            let serving = simulation.serving("site");
            let proven =
                &simulation.driver().world().services[&ServiceName::new("site").unwrap()].proven;
            assert!(serving == Some(1) || proven.len() == 2, "{when}: {serving:?}");
        },
    );
}

#[test]
fn of_a_removal() {
    at_every_append(
        |simulation| {
            serving(simulation);
            RequestKind::Down { services: Vec::new() }
        },
        |simulation, when| {
            let serving = simulation.serving("site");
            let left = simulation.host.engine.ids().len();
            assert!(
                (serving.is_none() && left == 0) || (serving == Some(1) && left == 3),
                "{when}: {serving:?}, {left} instances"
            );
        },
    );
}

/// Appends that a rollout, of which nothing is cancelled, makes before it is in this phase.
fn begun(simulation: &mut Simulation, phase: &str) {
    let forward = upgrade(simulation, Behaviour::GOOD);
    simulation.request(forward);
    let is_there = |simulation: &Simulation| {
        let mut rollouts = simulation.driver().world().rollouts.values();
        rollouts.any(|rollout| rollout.phase.name() == phase)
    };
    while !is_there(simulation) {
        simulation.step();
    }
}

#[test]
fn of_a_rollout_that_is_cancelled() {
    for phase in ["preparing", "switching", "watching"] {
        at_every_append(
            |simulation| {
                begun(simulation, phase);
                RequestKind::Cancel { service: ServiceName::new("site").unwrap() }
            },
            |simulation, when| {
                // Killed before the cancel was written, it was never acknowledged, and the rollout goes on.
                let serving = simulation.serving("site");
                let expected = if when.contains("Before(1)") { vec![1, 2] } else { vec![1] };
                assert!(
                    serving.is_some_and(|release| expected.contains(&release)),
                    "{phase}, {when}: {serving:?}"
                );
            },
        );
    }
}
