//! Several edges before the same servers: one that refuses, one that is cut off, one that dies between the two steps.

use hornero_driver::{Outcome, OutcomeKind, RequestKind};
use hornero_model::{EdgeName, Receipt, ServiceSpec};
use hornero_sim::{Behaviour, Simulation, service};

fn apply(simulation: &mut Simulation, spec: &ServiceSpec) -> Outcome {
    simulation.ask(RequestKind::Apply { services: vec![spec.clone()] })
}

/// Three edges, behind which two servers of the site serve.
fn serving() -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::with_edges(7, &["east", "west"]);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = service("site", image, 2);
    assert_eq!(apply(&mut simulation, &spec).result, OutcomeKind::Done);
    (simulation, spec)
}

fn receipt(outcome: Outcome) -> Receipt {
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    outcome.services.into_iter().find_map(|service| service.receipt).expect("a switch")
}

/// The releases that get requests at each edge.
fn traffic(simulation: &Simulation) -> Vec<u32> {
    let first = |table: &hornero_model::RouteTable| table.pools[0].traffic[0].release.0;
    simulation.host.edges().map(|(_, edge)| first(edge.table())).collect()
}

#[test]
fn a_receipt_tells_over_how_many_edges_a_switch_was_made() {
    let (mut simulation, mut spec) = serving();
    spec.image = simulation.host.scenario.image(Behaviour::GOOD);
    let body = receipt(apply(&mut simulation, &spec)).body;
    assert_eq!(body.edges, Some(3));
    assert!(body.skew_ms.is_some_and(|skew| skew < 1_000.0), "{:?}", body.skew_ms);
    assert_eq!(traffic(&simulation), [2, 2, 2]);
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn an_edge_that_refuses_a_table_leaves_all_of_them_on_the_one_before() {
    let (mut simulation, mut spec) = serving();
    simulation.come_to_rest();
    let west = EdgeName::new("west").unwrap();
    spec.image = simulation.host.scenario.image(Behaviour::GOOD);
    simulation.host.refuse(&west, Some("it has no room for it"));
    let outcome = apply(&mut simulation, &spec);
    let reason = outcome.failure.expect("a failure").1.reason;
    assert_eq!(reason, "edge `west` refused the route table: it has no room for it");
    assert_eq!(traffic(&simulation), [1, 1, 1]);
    simulation.host.refuse(&west, None);
    simulation.retry_failed = true;
    receipt(apply(&mut simulation, &spec));
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn an_edge_that_is_cut_off_holds_nobody_up_for_long_and_loses_no_server() {
    let (mut simulation, mut spec) = serving();
    simulation.come_to_rest();
    let east = EdgeName::new("east").unwrap();
    simulation.disturb(&east, 0, 120_000, false);
    simulation.run(100);
    spec.image = simulation.host.scenario.image(Behaviour::GOOD);
    let asked = simulation.host.now;
    let body = receipt(apply(&mut simulation, &spec)).body;
    assert_eq!(body.edges, Some(2));
    let took = simulation.host.now - asked;
    assert!(took < 30_000, "{took} ms");
    assert_eq!(traffic(&simulation), [2, 1, 2], "it serves on by its last table");
    // Its clients are served for all that time: a server that is stopped under it breaks an invariant.
    simulation.run(60_000);
    assert_eq!(traffic(&simulation), [2, 1, 2]);
    simulation.run(70_000);
    simulation.come_to_rest();
    assert_eq!(traffic(&simulation), [2, 2, 2]);
    simulation.check_whole();
}

#[test]
fn an_edge_that_dies_between_the_two_steps_follows_when_it_is_back() {
    for after in (0..400).step_by(20) {
        let (mut simulation, mut spec) = serving();
        simulation.come_to_rest();
        let east = EdgeName::new("east").unwrap();
        spec.image = simulation.host.scenario.image(Behaviour::GOOD);
        simulation.request(RequestKind::Apply { services: vec![spec.clone()] });
        simulation.disturb(&east, after, 700, true);
        simulation.run(5_000);
        simulation.come_to_rest();
        let serving = simulation.serving("site").unwrap();
        assert_eq!(traffic(&simulation), [serving; 3], "after {after} ms");
        simulation.check_whole();
    }
}
