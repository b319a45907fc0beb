//! Hosts with little memory: what does not fit at once comes in batches, and what does not fit at all is not begun.

use hornero_driver::{Outcome, OutcomeKind, RequestKind};
use hornero_model::{CanaryPolicy, InstanceId, Millis, OnInconclusive, ServiceSpec, Strategy};
use hornero_sim::{Behaviour, Random, SERVER_BYTES, SimMemory, Simulation, Trouble, service};

fn apply(spec: &ServiceSpec) -> RequestKind {
    RequestKind::Apply { services: vec![spec.clone()] }
}

fn image(simulation: &mut Simulation, spec: &mut ServiceSpec, behaviour: Behaviour) {
    spec.image = simulation.host.scenario.image(behaviour);
}

/// A host with memory for so many servers, on which `site` serves with three.
fn serving(seed: u64, servers: u64, is_limit: bool) -> (Simulation, ServiceSpec) {
    let mut simulation = Simulation::new(seed);
    simulation.host.memory = Some(SimMemory { bytes: servers * SERVER_BYTES, is_limit });
    let good = simulation.host.scenario.image(Behaviour::GOOD);
    let mut spec = service("site", good, 3);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    simulation.come_to_rest();
    image(&mut simulation, &mut spec, Behaviour::GOOD);
    (simulation, spec)
}

/// Asks for a spec, and looks at every moment that at least `least` servers answer and at most `most` run.
fn watched(simulation: &mut Simulation, kind: RequestKind, least: usize, most: u64) -> Outcome {
    let request = simulation.request(kind);
    for _ in 0..200_000 {
        if let Some(outcome) = simulation.host.answers.get(&request) {
            return outcome.clone();
        }
        simulation.step();
        let engine = &simulation.host.engine;
        assert!(engine.running() <= most, "{} servers run", engine.running());
        let now = simulation.host.now;
        let pools = &simulation.host.edge.table().pools;
        let backends = pools.iter().flat_map(|pool| {
            pool.backends.iter().filter(move |backend| pool.receives(backend.release))
        });
        let answering = backends.filter(|of| engine.answers(&of.instance, now)).count();
        assert!(answering >= least, "{answering} servers answer");
    }
    panic!("request {} was never answered", request.0);
}

#[test]
fn without_room_for_a_second_set_servers_come_in_batches_of_what_fits() {
    for (seed, is_limit) in (0..10).flat_map(|seed| [(seed, true), (seed, false)]) {
        for room in [4, 5] {
            let (mut simulation, spec) = serving(seed, room, is_limit);
            let outcome = watched(&mut simulation, apply(&spec), 3, room);
            assert_eq!(outcome.result, OutcomeKind::Done, "{outcome:?}");
            let receipt = outcome.services[0].receipt.as_ref().unwrap();
            let batched = receipt.body.batched.as_ref().expect("the receipt says so");
            assert_eq!(u64::from(batched.at_once), room - 3);
            assert!(batched.reason.contains("of 3 servers at a time"), "{}", batched.reason);
            simulation.come_to_rest();
            simulation.check_whole();
            assert_eq!(simulation.serving("site"), Some(2));
        }
        // With room for two sets there is nothing to say.
        let (mut simulation, spec) = serving(seed, 6, is_limit);
        let outcome = watched(&mut simulation, apply(&spec), 3, 6);
        assert_eq!(outcome.services[0].receipt.as_ref().unwrap().body.batched, None);
    }
}

#[test]
fn what_does_not_fit_at_all_is_refused_and_nothing_is_touched() {
    for is_limit in [true, false] {
        let (mut simulation, spec) = serving(1, 3, is_limit);
        let before: Vec<InstanceId> = simulation.host.engine.ids();
        let outcome = watched(&mut simulation, apply(&spec), 3, 3);
        assert_eq!(outcome.result, OutcomeKind::Refused);
        let (_, failure) = outcome.failure.unwrap();
        assert_eq!(failure.refused.as_deref(), Some("capacity"));
        for part in ["no room for 1 server beside those that serve", "one needs 64MiB"] {
            assert!(failure.reason.contains(part), "{}", failure.reason);
        }
        simulation.come_to_rest();
        assert_eq!(simulation.host.engine.ids(), before);
        assert_eq!(simulation.serving("site"), Some(1));
        // More of them are no more possible, nor is a service beside it.
        let more = ServiceSpec { instances: 4, ..spec.clone() };
        assert_eq!(simulation.ask(apply(&more)).result, OutcomeKind::Refused);
        let beside = ServiceSpec { image: spec.image, ..service("api", spec.image, 1) };
        assert_eq!(simulation.ask(apply(&beside)).result, OutcomeKind::Refused);
    }
}

#[test]
fn a_canary_is_not_begun_that_could_not_be_judged_as_a_whole() {
    let (mut simulation, mut spec) = serving(1, 5, true);
    let on_inconclusive = OnInconclusive::Promote;
    let (steps, step_timeout) = (vec![2_000], Millis(1_000));
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps,
        step_timeout,
        on_inconclusive,
        sticky: None,
        judge: None,
        probe: None,
    });
    let outcome = simulation.ask(apply(&spec));
    let (_, failure) = outcome.failure.expect("it is refused");
    assert!(failure.reason.contains("3 servers beside those that serve"), "{}", failure.reason);
}

#[test]
fn two_rollouts_at_once_do_not_take_the_same_room() {
    for (seed, is_limit) in (0..20).flat_map(|seed| [(seed, true), (seed, false)]) {
        let (mut simulation, site) = serving(seed, 8, is_limit);
        let mut api = service("api", site.image, 3);
        assert_eq!(simulation.ask(apply(&api)).result, OutcomeKind::Done);
        simulation.come_to_rest();
        image(&mut simulation, &mut api, Behaviour::GOOD);
        // Two more fit: each of them alone would take both.
        let first = simulation.request(apply(&site));
        let outcome = watched(&mut simulation, apply(&api), 6, 8);
        let one = simulation.answer(first, 60_000).expect("an answer");
        let done = [&one, &outcome].map(|of| of.result == OutcomeKind::Done);
        assert!(done.contains(&true), "{one:?} {outcome:?}");
        simulation.come_to_rest();
        simulation.check_whole();
    }
}

#[test]
fn what_is_kept_warm_or_leaves_makes_room_first() {
    for is_limit in [true, false] {
        let (mut simulation, mut spec) = serving(3, 6, is_limit);
        for number in 2..6 {
            image(&mut simulation, &mut spec, Behaviour::GOOD);
            let outcome = watched(&mut simulation, apply(&spec), 3, 6);
            let receipt = outcome.services[0].receipt.as_ref().expect("a switch");
            assert_eq!(receipt.body.batched, None, "release {number}");
        }
    }
}

#[test]
fn what_another_service_keeps_warm_is_no_reason_to_refuse() {
    let (mut simulation, spec) = serving(3, 6, true);
    assert_eq!(simulation.ask(apply(&spec)).result, OutcomeKind::Done);
    assert_eq!(simulation.host.engine.running(), 6, "three are kept warm");
    let beside = service("api", spec.image, 3);
    assert_eq!(simulation.ask(apply(&beside)).result, OutcomeKind::Done);
    simulation.come_to_rest();
    simulation.check_whole();
}

#[test]
fn a_batch_that_fails_goes_back_within_the_room() {
    for (seed, is_limit) in (0..30).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut random = Random::new(seed ^ 0xBA7C);
        let (mut simulation, mut spec) = serving(seed, 4, is_limit);
        let trouble = *random.choose(&[Trouble::SickLater, Trouble::OutOfMemoryLater]);
        let mut behaviour = Behaviour::with(trouble);
        behaviour.trouble_after_ms = random.between(300, 2_000);
        image(&mut simulation, &mut spec, behaviour);
        simulation.request(apply(&spec));
        let end = simulation.host.now + 200_000;
        while simulation.host.now < end {
            simulation.step();
            let running = simulation.host.engine.running();
            // A sick server is replaced before it goes, which is no rollout's doing.
            assert!(running <= 5, "seed {seed}: {running} servers run");
        }
        simulation.come_to_rest();
        simulation.check_whole();
    }
}
