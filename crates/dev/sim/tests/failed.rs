//! Releases that failed, through the production driver: refused until somebody wants them, and not blamed for what they
//! share with the one that serves.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{ExitCause, ServiceName, ServiceSpec};
use hornero_rollout::RepairState;
use hornero_sim::{Behaviour, Simulation, Trouble, service};

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// A good release that serves, and a spec whose servers end at their start.
fn serving(seed: u64) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let good = simulation.host.scenario.image(Behaviour::GOOD);
    let bad = simulation.host.scenario.image(Behaviour::with(Trouble::CrashAtStart));
    let spec = service("site", good, 2);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    let bad = ServiceSpec { image: bad, ..spec };
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Failed);
    simulation.come_to_rest();
    (simulation, bad)
}

#[test]
fn a_failed_release_is_tried_again_by_a_word_alone() {
    let (mut simulation, bad) = serving(41);
    let made = simulation.host.ledger.appends;
    let outcome = simulation.ask(apply(&bad));
    assert_eq!(outcome.result, OutcomeKind::Refused);
    let failure = outcome.failure.unwrap().1;
    assert_eq!(failure.refused.as_deref(), Some("failed-release"));
    assert!(failure.reason.starts_with("`site@2` failed at "), "{}", failure.reason);
    assert_eq!(simulation.host.ledger.appends, made, "nothing was begun");
    // Control that was started anew knows as well.
    simulation.kill_control(0);
    simulation.run(10_000);
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Refused);
    simulation.retry_failed = true;
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Failed);
    simulation.retry_failed = false;
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Refused);
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn what_serves_is_replaced_no_more_once_it_fails_as_the_new_release_did() {
    let (mut simulation, bad) = serving(43);
    let ids = simulation.host.engine.ids();
    simulation.crash_instance(&ids[0], ExitCause::Code(1));
    simulation.run(100_000);
    assert_eq!(simulation.driver().repair_state(&site()), Some(RepairState::Held));
    assert_eq!(simulation.host.engine.ids(), ids[1..], "what runs is kept");
    // The new release is not held responsible, and the old one is not made anew by an `up` that changes nothing.
    let good = simulation.driver().world().services[&site()].serving_release().unwrap();
    let good = good.spec.clone();
    let outcome = simulation.ask(apply(&good));
    assert_eq!(outcome.result, OutcomeKind::Refused);
    let failure = outcome.failure.unwrap().1;
    assert_eq!(failure.refused.as_deref(), Some("shared-failure"));
    assert!(failure.reason.contains("`site@1` fails as `site@2` did"), "{}", failure.reason);
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Failed, "it may be tried");
    assert_eq!(simulation.resume(Some(&site())), 1);
    simulation.come_to_rest();
    simulation.check_whole();
}
