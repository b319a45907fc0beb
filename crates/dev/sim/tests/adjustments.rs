//! Changes that need no new server: of the number of instances, of routes and of timing.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{InstanceId, Millis, ReleaseNumber, ServiceName, ServiceSpec};
use hornero_sim::{Behaviour, CrashPoint, Simulation, service};

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn rollback(to: Option<u32>) -> RequestKind {
    let service = ServiceName::new("site").unwrap();
    RequestKind::Rollback { service, to: to.map(ReleaseNumber) }
}

/// A simulation with one good release of `site` serving with three instances.
fn serving(seed: u64) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let spec = service("site", image, 3);
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

/// Applies a change of a serving `site` and looks at it at rest: what ran before, what runs after.
fn change(change: impl Fn(&mut ServiceSpec)) -> (Vec<InstanceId>, Vec<InstanceId>) {
    let (mut simulation, mut spec) = serving(11);
    let (before, tests) = (ids(&simulation), simulation.host.tests_run);
    change(&mut spec);
    let outcome = simulation.ask(apply(&spec));
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    assert_eq!(outcome.services[0].release, Some(ReleaseNumber(2)));
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.host.tests_run, tests, "the image was tested before");
    assert_eq!(failed_requests(&simulation), 0);
    // Applying it again changes nothing more.
    let appends = simulation.host.ledger.appends;
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    assert_eq!(simulation.host.ledger.appends, appends);
    (before, ids(&simulation))
}

#[test]
fn a_scale_up_starts_only_what_is_missing() {
    let (before, after) = change(|spec| spec.instances = 5);
    assert_eq!(after.len(), 5);
    assert!(before.iter().all(|id| after.contains(id)), "{before:?} {after:?}");
}

#[test]
fn a_scale_down_stops_only_the_surplus() {
    let (before, after) = change(|spec| spec.instances = 1);
    assert_eq!(after.len(), 1);
    assert!(before.contains(&after[0]), "{before:?} {after:?}");
}

#[test]
fn a_route_needs_no_server() {
    let (before, after) = change(|spec| spec.routes[0].listen = 9_000);
    assert_eq!(before, after);
}

#[test]
fn timing_needs_no_server() {
    let (before, after) = change(|spec| {
        spec.rollout.keep_warm = Millis(1_000);
        spec.rollout.drain_timeout = Millis(1_500);
    });
    assert_eq!(before, after);
}

#[test]
fn a_rollback_of_an_adjustment_needs_no_server_either() {
    let (mut simulation, spec) = serving(12);
    let more = ServiceSpec { instances: 4, ..spec.clone() };
    assert_eq!(simulation.ask(apply(&more)).result, OutcomeKind::Done);
    let scaled = ids(&simulation);
    let outcome = simulation.ask(rollback(None));
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    assert_eq!(outcome.services[0].release, Some(ReleaseNumber(1)));
    simulation.come_to_rest();
    simulation.check_whole();
    let left = ids(&simulation);
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|id| scaled.contains(id)));
    assert_eq!(failed_requests(&simulation), 0);
}

#[test]
fn a_rollback_to_an_adjusted_release_is_warm() {
    let (mut simulation, spec) = serving(13);
    let more = ServiceSpec { instances: 4, ..spec.clone() };
    assert_eq!(simulation.ask(apply(&more)).result, OutcomeKind::Done);
    let scaled = ids(&simulation);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let next = ServiceSpec { image, ..more };
    simulation.load = false;
    let outcome = simulation.ask(apply(&next));
    let receipt = &outcome.services[0].receipt.as_ref().unwrap().body;
    assert_eq!((receipt.from, receipt.to.0), (Some(ReleaseNumber(2)), 3));
    let outcome = simulation.ask(rollback(None));
    assert_eq!(outcome.services[0].release, Some(ReleaseNumber(2)));
    let receipt = &outcome.services[0].receipt.as_ref().unwrap().body;
    assert!(receipt.warm);
    assert_eq!((receipt.from.unwrap().0, receipt.to.0), (3, 2));
    assert!(scaled.iter().all(|id| ids(&simulation).contains(id)));
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn a_port_that_cannot_be_had_leaves_everything_as_it_was() {
    let (mut simulation, spec) = serving(14);
    let before = ids(&simulation);
    simulation.host.edge.broken.insert(9_000);
    let mut moved = spec.clone();
    moved.routes[0].listen = 9_000;
    moved.instances = 4;
    let outcome = simulation.ask(apply(&moved));
    assert_eq!(outcome.result, OutcomeKind::Failed);
    let (_, failure) = outcome.failure.unwrap();
    assert!(failure.reason.contains("9000"), "{}", failure.reason);
    assert_eq!(outcome.services[0].release, Some(ReleaseNumber(1)));
    simulation.come_to_rest();
    simulation.check_whole();
    assert!(ids(&simulation).iter().all(|id| before.contains(id)));
    assert_eq!(failed_requests(&simulation), 0);
}

#[test]
fn an_adjustment_outlives_control_at_every_write() {
    for number in 1..6 {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, mut spec) = serving(15);
            spec.instances = 5;
            spec.routes[0].listen = 9_000;
            simulation.crash_at(point);
            let id = simulation.request(apply(&spec));
            simulation.answer(id, 30_000);
            simulation.come_to_rest();
            simulation.check_whole();
            assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
            assert_eq!(ids(&simulation).len(), 5);
            assert_eq!(failed_requests(&simulation), 0, "{point:?}");
        }
    }
}
