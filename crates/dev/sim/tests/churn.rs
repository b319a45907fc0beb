//! Limits of churn, reached by the production driver: what stops, what goes on, and who lets it.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    Budget, ChurnScope, EventBody, ExitCause, Millis, RolloutPolicy, ServiceName, ServiceSpec,
};
use hornero_rollout::RepairState;
use hornero_sim::{Behaviour, Simulation, service};

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

/// A service of two that serves and may be made anew four times.
fn serving() -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(31);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = service("site", image, 2);
    let rollout = RolloutPolicy { keep_warm: Millis(0), ..spec.rollout.clone() };
    let budget = Some(Budget { per_hour: 4, per_day: 4 });
    let spec = ServiceSpec { budget, rollout, ..spec };
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    (simulation, spec)
}

/// Ends one instance after the other, each when the one before was replaced, until nothing is replaced any more.
fn use_up(simulation: &mut Simulation) -> u32 {
    let mut replaced = 0;
    loop {
        simulation.come_to_rest();
        if simulation.driver().repair_state(&site()) == Some(RepairState::Held) {
            return replaced - 1;
        }
        let victim = simulation.host.engine.ids().remove(0);
        simulation.crash_instance(&victim, ExitCause::Code(1));
        replaced += 1;
        assert!(replaced < 20, "nothing stops it");
    }
}

fn stops(simulation: &Simulation) -> usize {
    let events = simulation.host.ledger.events().iter();
    events.filter(|event| matches!(event.body, EventBody::ChurnStopped { .. })).count()
}

#[test]
fn a_budget_that_is_used_up_stops_repair_and_nothing_else() {
    let (mut simulation, spec) = serving();
    assert_eq!(use_up(&mut simulation), 4);
    assert_eq!(stops(&simulation), 1);
    // Control may die: it holds all the same, and for ever.
    simulation.kill_control(0);
    simulation.run(10_000);
    simulation.run(200_000);
    assert_eq!(simulation.driver().repair_state(&site()), Some(RepairState::Held));
    let stopped = simulation.driver().churn().stopped(&site()).unwrap();
    assert_eq!((stopped.breach.made, stopped.breach.limit), (4, 4));
    assert_eq!(stopped.breach.scope, ChurnScope::Unrequested);
    assert_eq!(simulation.host.engine.ids().len(), 1, "what runs is kept, and serves");
    // What does not change is refused with a word; what does goes on.
    let outcome = simulation.ask(apply(&spec));
    assert_eq!(outcome.result, OutcomeKind::Refused);
    let failure = outcome.failure.unwrap().1;
    assert_eq!(failure.refused.as_deref(), Some("bounded-churn"));
    assert!(failure.reason.contains("and 4 may be"), "{}", failure.reason);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let fixed = ServiceSpec { image, ..spec };
    assert_eq!(simulation.ask(apply(&fixed)).result, OutcomeKind::Done);
    assert_eq!(simulation.serving("site"), Some(2));
    assert_eq!(simulation.ask(apply(&fixed)).result, OutcomeKind::Done);
    // The new release stands under the same limit until somebody lets it go on.
    let victim = simulation.host.engine.ids().pop().unwrap();
    simulation.crash_instance(&victim, ExitCause::Code(1));
    simulation.run(60_000);
    assert_eq!(simulation.driver().repair_state(&site()), Some(RepairState::Held));
    assert_eq!(simulation.resume(Some(&site())), 1);
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.resume(Some(&site())), 0, "nothing is stopped any more");
    assert_eq!(use_up(&mut simulation), 3, "one of four was made already");
}

#[test]
fn a_service_that_is_stopped_can_be_taken_down_and_comes_back_stopped() {
    let (mut simulation, spec) = serving();
    use_up(&mut simulation);
    let down = RequestKind::Down { services: Vec::new() };
    assert_eq!(simulation.ask(down).result, OutcomeKind::Done);
    simulation.come_to_rest();
    assert!(simulation.host.engine.ids().is_empty());
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    assert!(simulation.driver().churn().stopped(&site()).is_some());
    assert_eq!(simulation.resume(None), 1);
    simulation.come_to_rest();
    simulation.check_whole();
}
