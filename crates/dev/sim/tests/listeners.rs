//! Listeners that can't serve: each concerns who brings it, and nobody else.

use hornero_driver::{Outcome, OutcomeKind, RequestKind};
use hornero_model::{ServiceName, ServiceSpec};
use hornero_sim::{Behaviour, Simulation, service};

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn next(simulation: &mut Simulation, spec: &ServiceSpec) -> ServiceSpec {
    ServiceSpec { image: simulation.host.scenario.image(Behaviour::GOOD), ..spec.clone() }
}

fn reason(outcome: &Outcome) -> String {
    outcome.failure.as_ref().map(|(_, failure)| failure.reason.clone()).unwrap_or_default()
}

/// A service of this name behind a port of its own.
fn behind(simulation: &mut Simulation, name: &str, listen: u16) -> ServiceSpec {
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let mut spec = service(name, image, 2);
    spec.routes[0].listen = listen;
    spec
}

/// `site` and `shop` serve, each behind a port of its own.
fn two() -> (Simulation, ServiceSpec, ServiceSpec) {
    let mut simulation = Simulation::new(11);
    let (site, shop) =
        (behind(&mut simulation, "site", 8001), behind(&mut simulation, "shop", 8002));
    for spec in [&site, &shop] {
        let outcome = simulation.ask(apply(spec));
        assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    }
    (simulation, site, shop)
}

#[test]
fn a_listener_that_cannot_serve_fails_the_rollout_that_brings_it() {
    let mut simulation = Simulation::new(11);
    let (site, shop) =
        (behind(&mut simulation, "site", 8001), behind(&mut simulation, "shop", 8002));
    simulation.host.edge.broken.insert(8001);
    let outcome = simulation.ask(apply(&site));
    assert_eq!(outcome.result, OutcomeKind::Failed);
    assert!(
        reason(&outcome).contains("can't serve `0.0.0.0:8001`: there is no certificate"),
        "{}",
        reason(&outcome)
    );
    assert_eq!(simulation.ask(apply(&shop)).result, OutcomeKind::Done);
    // Another way for a service that serves is no other kind of thing.
    let mut moved = shop.clone();
    moved.routes[0].listen = 8001;
    assert_eq!(simulation.ask(apply(&moved)).result, OutcomeKind::Failed);
    assert_eq!(simulation.serving("shop"), Some(1));
    simulation.host.edge.broken.clear();
    let outcome = simulation.ask(apply(&site));
    assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
}

#[test]
fn a_listener_that_breaks_later_holds_nothing_up() {
    let (mut simulation, site, shop) = two();
    simulation.host.edge.broken.insert(8001);
    for spec in [&site, &shop] {
        let spec = next(&mut simulation, spec);
        let outcome = simulation.ask(apply(&spec));
        assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    }
    simulation.disturb_edge(0, 300, true);
    simulation.run(2_000);
    for name in ["site", "shop"] {
        let service = ServiceName::new(name).unwrap();
        let outcome = simulation.ask(RequestKind::Rollback { service, to: None });
        assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    }
    let services = vec![shop.name];
    assert_eq!(simulation.ask(RequestKind::Down { services }).result, OutcomeKind::Done);
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn without_an_edge_a_removal_ends_and_one_by_force_takes_the_service() {
    let (mut simulation, site, shop) = two();
    simulation.disturb_edge(0, 600_000, false);
    simulation.run(1_000);
    let down = simulation.request(RequestKind::Down { services: vec![site.name.clone()] });
    let outcome = simulation.answer(down, 200_000).expect("it ends");
    assert_eq!(outcome.result, OutcomeKind::Failed);
    assert!(
        reason(&outcome).contains("did not close the ways into `site`"),
        "{}",
        reason(&outcome)
    );
    let again = simulation.request(RequestKind::Down { services: vec![site.name.clone()] });
    simulation.run(1_000);
    let end = simulation.request(RequestKind::End { service: site.name.clone() });
    let outcome = simulation.answer(end, 60_000).expect("it ends");
    assert_eq!(outcome.result, OutcomeKind::Done, "{}", reason(&outcome));
    assert!(simulation.answer(again, 60_000).is_some(), "what it overtook ends, too");
    assert_eq!(simulation.serving("site"), None);
    assert_eq!(simulation.serving("shop"), Some(1));
    let left = simulation.host.engine.ids();
    assert!(left.iter().all(|id| id.as_str().starts_with("shop")), "{left:?}");
    assert_eq!(shop.instances, 2);
}

#[test]
fn a_fault_that_lasts_is_in_the_history_with_its_end_and_one_that_does_not_is_not() {
    let (mut simulation, site, shop) = two();
    let spells = |simulation: &Simulation, service: &ServiceSpec| {
        // By IPv6 it is the same.
        let spells = &simulation.driver().world().services[&service.name].listener_spells;
        spells.iter().filter(|spell| spell.address.is_ipv4()).cloned().collect::<Vec<_>>()
    };
    let appends = simulation.host.ledger.appends;
    simulation.host.edge.broken.insert(8001);
    simulation.run(1_500);
    simulation.host.edge.broken.clear();
    simulation.run(5_000);
    assert_eq!(simulation.host.ledger.appends, appends, "a moment is nobody's business");
    simulation.host.edge.broken.insert(8001);
    simulation.run(6_000);
    let lasts = spells(&simulation, &site);
    assert_eq!(lasts.len(), 1, "{lasts:?}");
    assert!(lasts[0].until.is_none() && lasts[0].trouble.reason.contains("certificate"));
    assert!(spells(&simulation, &shop).is_empty(), "it is the other one's");
    // Another control process goes on with what was recorded.
    simulation.kill_control(0);
    simulation.run(8_000);
    assert_eq!(spells(&simulation, &site), lasts);
    simulation.host.edge.broken.clear();
    simulation.run(6_000);
    let over = spells(&simulation, &site);
    assert!(over.len() == 1 && over[0].until.is_some(), "{over:?}");
    simulation.come_to_rest();
    simulation.check_whole();
}
