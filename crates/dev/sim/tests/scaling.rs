//! Services whose number of servers follows from their load.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{EventBody, ExitCause, InstanceId, Millis, Scale, ServiceName, ServiceSpec};
use hornero_sim::{Behaviour, CrashPoint, SERVER_BYTES, SimMemory, Simulation, history, service};

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn scale() -> Scale {
    Scale {
        minimum: 1,
        maximum: 5,
        in_flight: Some(12),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(8_000),
        to_zero: None,
    }
}

/// A simulation with one scaled release of `site` serving.
fn serving(seed: u64) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = ServiceSpec { scale: Some(scale()), ..service("site", image, 1) };
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    simulation.run(10_000);
    (simulation, spec)
}

fn ids(simulation: &Simulation) -> Vec<InstanceId> {
    simulation.host.engine.ids()
}

fn failed_requests(simulation: &Simulation) -> u64 {
    simulation.host.edge.failed.values().sum()
}

fn wanted(simulation: &Simulation) -> u32 {
    simulation.driver().world().serving_size(&site())
}

/// Runs until `is_so`; fails the test where that takes longer than a minute.
fn until(simulation: &mut Simulation, what: &str, is_so: impl Fn(&Simulation) -> bool) {
    let end = simulation.host.now + 60_000;
    while simulation.driver.is_none() || !is_so(simulation) {
        if simulation.host.now > end {
            simulation.fail(&format!("{what} does not come"));
        }
        simulation.step();
    }
}

#[test]
fn servers_come_with_a_rush_and_leave_after_it_without_a_failed_request() {
    let (mut simulation, _) = serving(1);
    assert_eq!(ids(&simulation).len(), 1);
    let rush = simulation.host.now;
    simulation.host.edge.rush = 14;
    until(&mut simulation, "a full set", |of| ids(of).len() == 5);
    let took = simulation.host.now - rush;
    assert!(took < 15_000, "{took} ms");
    simulation.run(10_000);
    assert_eq!(wanted(&simulation), 5);
    let calm = simulation.host.now;
    simulation.host.edge.rush = 0;
    until(&mut simulation, "one server", |of| wanted(of) == 1);
    let took = simulation.host.now - calm;
    assert!(took >= 7_000, "{took} ms");
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(ids(&simulation).len(), 1);
    assert_eq!(failed_requests(&simulation), 0);
    let events = simulation.host.ledger.events();
    let scaled = events.iter().filter(|event| matches!(event.body, EventBody::Scaled { .. }));
    assert!(scaled.clone().count() >= 2);
    assert!(
        scaled
            .clone()
            .all(|event| event.by.who == "hornero" && event.by.why.contains("12 for each server"))
    );
}

#[test]
fn scaling_outlives_control_at_every_write() {
    for number in 1..8 {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, _) = serving(2);
            simulation.host.edge.rush = 14;
            simulation.crash_at(point);
            until(&mut simulation, "a full set", |of| ids(of).len() == 5);
            simulation.run(5_000);
            simulation.host.edge.rush = 0;
            simulation.crash_at(point);
            until(&mut simulation, "one server", |of| wanted(of) == 1 && ids(of).len() == 1);
            simulation.come_to_rest();
            // Requests that last longer than a drain are cut off; that none is before is checked as it goes.
            simulation.check_whole();
        }
    }
}

#[test]
fn an_edge_that_does_not_answer_keeps_what_there_is() {
    let (mut simulation, _) = serving(3);
    simulation.host.edge.rush = 14;
    until(&mut simulation, "a full set", |of| ids(of).len() == 5);
    simulation.run(5_000);
    simulation.disturb_edge(0, 40_000, false);
    simulation.host.edge.rush = 0;
    simulation.run(39_000);
    assert_eq!((wanted(&simulation), ids(&simulation).len()), (5, 5));
    until(&mut simulation, "one server", |of| wanted(of) == 1);
}

#[test]
fn what_fails_is_replaced_and_counted_apart_from_what_the_load_wants() {
    let (mut simulation, spec) = serving(4);
    simulation.host.edge.rush = 14;
    until(&mut simulation, "a full set", |of| ids(of).len() == 5);
    simulation.run(5_000);
    let victim = ids(&simulation)[0].clone();
    simulation.crash_instance(&victim, ExitCause::Signal(9));
    until(&mut simulation, "a replacement", |of| ids(of).len() == 5 && !ids(of).contains(&victim));
    // A rollout makes as many as there are.
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let next = ServiceSpec { image, ..spec };
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    let set = simulation.driver().world().services[&site()].serving.clone().unwrap();
    assert_eq!(set.instances.len(), 5);
}

#[test]
fn no_more_come_than_there_is_room_for() {
    let (mut simulation, _) = serving(5);
    simulation.host.memory = Some(SimMemory { bytes: 3 * SERVER_BYTES, is_limit: true });
    simulation.host.edge.rush = 14;
    simulation.run(30_000);
    assert_eq!((wanted(&simulation), ids(&simulation).len()), (3, 3));
    let why = simulation.driver().scaling(&site()).unwrap().held_back.unwrap();
    assert!(why.contains("there is no room"), "{why}");
}

#[test]
fn histories_of_scaled_services_come_to_rest() {
    for seed in 2_000_000..2_000_012 {
        history(seed, false);
    }
}
