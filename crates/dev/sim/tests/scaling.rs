//! Services whose number of servers follows from their load.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    EventBody, ExitCause, InstanceId, Millis, Scale, ServiceName, ServiceSpec, ToZero,
};
use hornero_sim::{
    Behaviour, CrashPoint, SERVER_BYTES, SimMemory, Simulation, Trouble, history, service,
};

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

/// A simulation of a service of which nothing has to run, and nothing does: no requests come to it.
fn asleep(seed: u64) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let to_zero = ToZero { idle: Millis(5_000), hold: Millis(20_000), hold_requests: 100 };
    let scale = Scale { minimum: 0, to_zero: Some(to_zero), ..scale() };
    let spec = ServiceSpec { scale: Some(scale), ..service("site", image, 1) };
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    simulation.host.edge.idle.silent.insert(site());
    until(&mut simulation, "sleep", |of| wanted(of) == 0 && ids(of).is_empty());
    (simulation, spec)
}

fn wakes(simulation: &mut Simulation) {
    simulation.host.edge.idle.silent.clear();
    until(simulation, "a server", |of| wanted(of) > 0 && of.host.edge.idle.longest_wait_ms > 0);
}

#[test]
fn nothing_runs_where_no_request_comes_and_the_first_one_is_answered() {
    let (mut simulation, _) = asleep(6);
    simulation.run(60_000);
    assert_eq!(ids(&simulation).len(), 0);
    wakes(&mut simulation);
    let waited = simulation.host.edge.idle.longest_wait_ms;
    assert!(waited < 2_000, "{waited} ms");
    simulation.run(20_000);
    assert_eq!(wanted(&simulation), 1);
    simulation.host.edge.idle.silent.insert(site());
    until(&mut simulation, "sleep again", |of| wanted(of) == 0 && ids(of).is_empty());
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(failed_requests(&simulation), 0);
}

#[test]
fn sleep_and_waking_outlive_control_at_every_write() {
    for number in 1..7 {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, _) = asleep(7);
            simulation.crash_at(point);
            wakes(&mut simulation);
            simulation.run(6_000);
            simulation.host.edge.idle.silent.insert(site());
            simulation.crash_at(point);
            until(&mut simulation, "sleep", |of| wanted(of) == 0 && ids(of).is_empty());
            simulation.come_to_rest();
            simulation.check_whole();
            assert_eq!(failed_requests(&simulation), 0);
        }
    }
}

#[test]
fn a_release_is_rolled_out_while_nothing_runs_and_what_comes_meanwhile_is_answered() {
    let (mut simulation, spec) = asleep(8);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let next = ServiceSpec { image, ..spec.clone() };
    assert_eq!(simulation.ask(apply(&next)).result, OutcomeKind::Done);
    until(&mut simulation, "sleep", |of| wanted(of) == 0);
    // One that never gets healthy is given up, and who serves is woken meanwhile.
    let image = simulation
        .host
        .scenario
        .image(Behaviour { trouble: Trouble::NeverHealthy, ..Behaviour::GOOD });
    simulation.host.edge.idle.silent.clear();
    let bad = ServiceSpec { image, ..spec };
    assert_eq!(simulation.ask(apply(&bad)).result, OutcomeKind::Failed);
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(failed_requests(&simulation), 0);
}

#[test]
fn who_waits_is_answered_after_a_start_of_the_edge_and_of_the_host() {
    let (mut simulation, _) = asleep(9);
    simulation.disturb_edge(0, 1_000, true);
    simulation.run(5_000);
    assert_eq!(ids(&simulation).len(), 0);
    wakes(&mut simulation);
    assert_eq!(failed_requests(&simulation), 0);
}

#[test]
fn histories_of_services_that_sleep_come_to_rest() {
    for seed in 6_000_000..6_000_030 {
        history(seed, false);
    }
}
