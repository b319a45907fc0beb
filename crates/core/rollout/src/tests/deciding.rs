//! What is decided beside the machine: tries, halts, health that nobody knows, and the order of going down.

use std::collections::BTreeSet;

use hornero_model::{EdgeRef, Health, Millis, ServiceName};

use super::{Bench, root, site, spec};
use crate::failing::START_ALLOWANCE;
use crate::{
    AfterFailure, EffectKey, Phase, RolloutFailure, World, answer_allowance, down_order, failed,
    repeat_allowance, retry_delay, saw_health, start_down, start_forward,
};

/// A world in which `site` serves and is being replaced.
fn replacing() -> Bench {
    let mut bench = Bench::serving(1);
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let begun = start_forward(&world, &facts, &spec("two", 1), &root(), &mut || bench.tail());
    bench.record(begun.unwrap().records);
    bench
}

#[test]
fn a_failed_effect_waits_longer_each_time_but_not_for_ever() {
    let delays: Vec<u64> = (1..=9).map(|tries| retry_delay(tries).0).collect();
    assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    assert_eq!(retry_delay(u32::MAX), Millis(10_000));
    let image = spec("two", 1).image;
    assert!(
        answer_allowance(&EffectKey::Tests(image))
            > answer_allowance(&EffectKey::Routes(EdgeRef::default()))
    );
}

#[test]
fn a_start_without_an_answer_is_asked_for_again_while_its_server_is_waited_for() {
    let start = EffectKey::Start(Bench::serving(1).instance(1));
    assert!(repeat_allowance(&start).0 * 3 < START_ALLOWANCE.0);
    // One that is slow keeps others from its server for as long as before.
    assert!(answer_allowance(&start) > START_ALLOWANCE);
    let stop = EffectKey::Stop(Bench::serving(1).instance(1));
    assert_eq!(repeat_allowance(&stop), answer_allowance(&stop));
}

#[test]
fn an_edge_that_refuses_a_table_three_times_halts_what_waits_for_it() {
    let Bench { world, mut facts, .. } = replacing();
    let mut refused = |tries| {
        let after = failed(
            &world,
            &mut facts,
            &EffectKey::Routes(EdgeRef::default()),
            tries,
            "no".to_owned(),
        );
        assert_eq!(after, AfterFailure::Again, "there is no serving without a table");
        facts.halted.len()
    };
    assert_eq!((refused(1), refused(2), refused(3)), (0, 0, 1));
}

#[test]
fn tests_that_could_not_be_run_halt_the_rollouts_of_their_image_alone() {
    let Bench { world, mut facts, .. } = replacing();
    let mut fail = |image: &str| {
        let key = EffectKey::Tests(spec(image, 1).image);
        let after = failed(&world, &mut facts, &key, 1, "no".to_owned());
        assert_eq!(after, AfterFailure::GivenUp);
        facts.halted.len()
    };
    assert_eq!((fail("one"), fail("two")), (0, 1));
}

#[test]
fn a_removal_on_its_way_is_not_halted() {
    let mut bench = Bench::serving(1);
    let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(begun.records);
    let rollout = bench.world.rollouts.values_mut().next().unwrap();
    let id = rollout.id;
    for (phase, halted) in [(Phase::Closing, true), (Phase::Emptying, false)] {
        bench.world.rollouts.get_mut(&id).unwrap().phase = phase;
        bench.facts.halted.clear();
        bench.facts.halt(&bench.world, &RolloutFailure::of("no"), |_| true);
        assert_eq!(bench.facts.halted.contains_key(&id), halted, "{phase:?}");
    }
}

#[test]
fn health_that_nobody_knows_counts_against_a_server_that_serves() {
    let mut bench = Bench::serving(1);
    let (world, mut facts) = (bench.world.clone(), bench.facts.clone());
    let id = world.instances.keys().next().unwrap().clone();
    let all = BTreeSet::from([site()]);
    assert_eq!(saw_health(&world, &mut facts, &all), std::slice::from_ref(&id));
    assert!(facts.unhealthy_since.is_empty());
    // An edge that has just started knows nobody.
    bench.status(|edge| edge.backends.clear());
    facts.edge.clone_from(&bench.facts.edge);
    facts.healths.clone_from(&bench.facts.healths);
    assert_eq!(facts.health(&world, &id), Health::Unknown);
    let first = facts.now;
    assert!(saw_health(&world, &mut facts, &all).is_empty());
    facts.now = first.after(Millis(500));
    saw_health(&world, &mut facts, &all);
    assert_eq!(facts.unhealthy_since.get(&id), Some(&first), "since it was first not found");
    // One that does not run is looked after otherwise.
    facts.running.clear();
    saw_health(&world, &mut facts, &all);
    assert!(facts.unhealthy_since.is_empty());
}

#[test]
fn what_depends_on_another_service_goes_down_before_it() {
    let name = |text: &str| ServiceName::new(text).unwrap();
    let depending = |world: &mut World, own: &str, on: &[&str]| {
        let mut service = world.services[&site()].clone();
        service.name = name(own);
        for release in service.releases.values_mut() {
            release.spec.name = name(own);
            release.spec.depends_on = on.iter().map(|on| name(on)).collect();
        }
        world.services.insert(name(own), service);
    };
    let mut world = Bench::serving(1).world;
    world.rollouts.clear();
    depending(&mut world, "api", &["db"]);
    depending(&mut world, "db", &[]);
    depending(&mut world, "web", &["api"]);
    let order = down_order(&world, Vec::new());
    let order: Vec<&str> = order.iter().map(ServiceName::as_str).collect();
    assert_eq!(order, ["site", "web", "api", "db"]);
    let order = down_order(&world, vec![name("db"), name("api")]);
    assert_eq!(order, [name("api"), name("db")], "only what was named");
    depending(&mut world, "db", &["web"]);
    assert_eq!(down_order(&world, Vec::new()).len(), 4, "a circle comes to an end");
}
