//! A control that stopped and goes on after a newer one has taken over changes nothing.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_sim::{Behaviour, Simulation, service};

#[test]
fn a_control_that_goes_on_after_a_newer_one_began_changes_nothing() {
    let mut refused = 0;
    for wait in (0..2_000).step_by(40) {
        let mut simulation = Simulation::new(wait);
        let image = simulation.host.scenario.image(Behaviour::GOOD);
        let mut spec = service("site", image, 2);
        let apply = |spec: &_| RequestKind::Apply { services: vec![Clone::clone(spec)] };
        assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
        spec.image = simulation.host.scenario.image(Behaviour::GOOD);
        simulation.request(apply(&spec));
        simulation.pause_control(wait, 1_500);
        simulation.run(wait + 10_000);
        refused += u32::from(simulation.refused_the_older());
        simulation.come_to_rest();
        simulation.check_whole();
        assert_eq!(simulation.serving("site"), Some(2), "after {wait} ms");
    }
    assert!(refused > 10, "an older control asked for something {refused} times");
}

#[test]
fn each_start_takes_the_next_term() {
    let mut simulation = Simulation::new(1);
    for term in 1..4 {
        assert_eq!(simulation.driver().term().0, term);
        simulation.kill_control(0);
        simulation.run(1_000);
    }
    // A ledger from before was put back: engine and edge have heard of more than it says.
    simulation.host.engine.obey(hornero_model::Term(9));
    simulation.kill_control(0);
    simulation.run(1_000);
    assert_eq!(simulation.driver().term().0, 10);
}
