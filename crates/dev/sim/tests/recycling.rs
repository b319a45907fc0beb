//! Recycling under load: servers are replaced by others of the same release, and no request notices.

use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{ExitCause, InstanceId, Millis, ServiceName, ServiceSpec};
use hornero_sim::{Behaviour, CrashPoint, Faults, Random, Simulation, Trouble, service};

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn recycle(instance: Option<&InstanceId>) -> RequestKind {
    RequestKind::Recycle { service: site(), instance: instance.cloned() }
}

/// A simulation in which `site` serves with three instances, each of which may live so long.
fn serving(seed: u64, max_age: Option<Millis>) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let mut spec = ServiceSpec { max_age, ..service("site", image, 3) };
    // Longer than the longest request: what a drain cuts off is no loss of recycling's.
    spec.rollout.drain_timeout = Millis(7_000);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    (simulation, spec)
}

fn ids(simulation: &Simulation) -> Vec<InstanceId> {
    simulation.host.engine.ids()
}

/// Lets it come to rest, with nothing missing, nothing left over, and no request lost.
fn check_whole(simulation: &mut Simulation) {
    simulation.come_to_rest();
    simulation.check_whole();
    assert_eq!(simulation.host.edge.failed.values().sum::<u64>(), 0);
}

#[test]
fn all_of_a_service_are_replaced_by_hand() {
    let (mut simulation, _) = serving(1, None);
    let before = ids(&simulation);
    let outcome = simulation.ask(recycle(None));
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    let mut recycled = outcome.services[0].recycled.clone();
    recycled.sort();
    assert_eq!(recycled, before);
    assert!(ids(&simulation).iter().all(|id| !before.contains(id)));
    check_whole(&mut simulation);
}

#[test]
fn one_is_replaced_by_hand_and_a_stranger_is_not_found() {
    let (mut simulation, _) = serving(2, None);
    let before = ids(&simulation);
    let outcome = simulation.ask(recycle(Some(&before[1])));
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    let after = ids(&simulation);
    assert!(after.contains(&before[0]) && after.contains(&before[2]), "{before:?} {after:?}");
    assert!(!after.contains(&before[1]), "{before:?} {after:?}");
    let gone = simulation.ask(recycle(Some(&before[1])));
    assert_eq!(gone.result, OutcomeKind::NotFound, "{:?}", gone.failure);
    check_whole(&mut simulation);
}

#[test]
fn nothing_grows_older_than_it_may() {
    const MAX_AGE: Millis = Millis(600_000);
    let (mut simulation, _) = serving(3, Some(MAX_AGE));
    let first = ids(&simulation);
    for _ in 0..180 {
        simulation.run(10_000);
        let now = simulation.driver().facts().now;
        let serving = simulation.driver().instances();
        // Three in turn, each with start, watch and drain.
        let late = Millis(60_000);
        let old = serving.iter().find(|of| now.since(of.created).0 > MAX_AGE.0 + late.0);
        assert!(old.is_none(), "{old:?}");
    }
    assert!(ids(&simulation).iter().all(|id| !first.contains(id)));
    check_whole(&mut simulation);
}

#[test]
fn it_outlives_control_at_every_write() {
    for number in 1..12 {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            let (mut simulation, _) = serving(4, None);
            let before = ids(&simulation);
            simulation.crash_at(point);
            let id = simulation.request(recycle(None));
            simulation.answer(id, 60_000);
            simulation.run(60_000);
            check_whole(&mut simulation);
            let after = ids(&simulation);
            let whole = after.iter().all(|id| !before.contains(id));
            // Control that dies before it wrote anything was asked for nothing.
            assert!(whole || matches!(point, CrashPoint::Before(1)), "{point:?}: {after:?}");
        }
    }
}

#[test]
fn a_server_that_dies_meanwhile_is_replaced_like_any_other() {
    let (mut simulation, _) = serving(5, None);
    let before = ids(&simulation);
    simulation.load = false;
    let id = simulation.request(recycle(None));
    simulation.run(700);
    simulation.crash_instance(&before[2], ExitCause::OutOfMemory);
    let outcome = simulation.answer(id, 120_000).unwrap();
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    simulation.come_to_rest();
    simulation.check_whole();
    assert!(ids(&simulation).iter().all(|id| !before.contains(id)));
}

#[test]
fn where_a_new_one_does_not_become_healthy_the_old_ones_serve_on() {
    let (mut simulation, spec) = serving(6, None);
    let before = ids(&simulation);
    simulation.host.scenario.change(&spec.image, Behaviour::with(Trouble::NeverHealthy));
    let outcome = simulation.ask(recycle(None));
    assert_eq!(outcome.result, OutcomeKind::Failed);
    let (_, failure) = outcome.failure.unwrap();
    assert!(failure.reason.contains("0 of 3 were replaced"), "{}", failure.reason);
    check_whole(&mut simulation);
    assert_eq!(ids(&simulation), before);
}

#[test]
fn it_can_be_cancelled_and_a_rollout_goes_before_it() {
    let (mut simulation, spec) = serving(7, None);
    let before = ids(&simulation);
    let id = simulation.request(recycle(None));
    simulation.run(200);
    assert_eq!(simulation.ask(RequestKind::Cancel { service: site() }).result, OutcomeKind::Done);
    assert_eq!(simulation.answer(id, 10_000).unwrap().result, OutcomeKind::Failed);
    check_whole(&mut simulation);
    assert!(ids(&simulation).iter().filter(|id| before.contains(id)).count() >= 2);

    let old = ServiceSpec { max_age: Some(Millis(20_000)), ..spec };
    assert_eq!(simulation.ask(apply(&old)).result, OutcomeKind::Done);
    simulation.run(19_500);
    let image = simulation.host.scenario.image(Behaviour::GOOD);
    let next = ServiceSpec { image, max_age: None, ..old };
    let outcome = simulation.ask(apply(&next));
    assert_eq!(outcome.result, OutcomeKind::Done, "{:?}", outcome.failure);
    check_whole(&mut simulation);
}

/// Requests, rollouts, servers and control that die, an edge that goes away, and late news, while servers are recycled for
/// their age and by hand.
fn history(seed: u64) {
    let mut random = Random::new(seed ^ 0xA6E);
    let mut simulation = Simulation::new(seed);
    if random.chance(60) {
        let (doubled, late) = (random.between(0, 20), random.between(0, 30));
        simulation.host.faults =
            Faults { doubled, late, failed: random.between(0, 8), ..Faults::default() };
    }
    let mut image = simulation.host.scenario.image(Behaviour::GOOD);
    for _ in 0..random.between(4, 12) {
        match random.between(0, 9) {
            0..=2 => {
                if random.chance(50) {
                    image = simulation.host.scenario.image(Behaviour::any(&mut random));
                }
                let instances = u32::try_from(random.between(1, 3)).unwrap();
                let max_age = random.chance(60).then(|| Millis(random.between(4_000, 20_000)));
                let spec = ServiceSpec { max_age, ..service("site", image, instances) };
                simulation.request(apply(&spec));
            }
            3..=5 => {
                let ids = ids(&simulation);
                let named = random.chance(50) && !ids.is_empty();
                let named = named.then(|| random.choose(&ids).clone());
                simulation.request(recycle(named.as_ref()));
            }
            6 => {
                let ids = ids(&simulation);
                if !ids.is_empty() {
                    let victim = random.choose(&ids).clone();
                    simulation.crash_instance(&victim, ExitCause::Signal(9));
                }
            }
            7 => simulation.kill_control(random.between(0, 2_000)),
            8 => {
                let (after, lasts) = (random.between(0, 1_000), random.between(50, 1_500));
                simulation.disturb_edge(after, lasts, random.chance(50));
            }
            _ => {
                simulation.request(RequestKind::Cancel { service: site() });
            }
        }
        simulation.run(random.between(0, 8_000));
    }
    // What grows old for ever never comes to rest.
    simulation.host.faults = Faults::default();
    simulation.run(5_000);
    let good = simulation.host.scenario.image(Behaviour::GOOD);
    let settled = (0..3)
        .any(|_| simulation.ask(apply(&service("site", good, 2))).result == OutcomeKind::Done);
    assert!(settled, "seed {seed}");
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn every_history_ends_whole() {
    for seed in 0..60 {
        history(seed);
    }
}
