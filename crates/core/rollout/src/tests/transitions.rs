//! Every transition, allowed and refused.

use expect_test::{Expect, expect};
use hornero_model::{Health, InstanceState, Millis, ReleaseNumber};

use super::{Bench, root, site, spec};
use crate::{
    Effect, Phase, RolloutFailure, StartError, Target, start_down, start_forward, start_rollback,
};

/// What one change of the facts leads to, step by step, without any effect being done.
fn check(mut bench: Bench, change: impl FnOnce(&mut Bench), expected: Expect) {
    change(&mut bench);
    bench.settle();
    expected.assert_eq(&bench.log.join("\n"));
}

#[test]
fn preparing_waits_for_every_instance_and_the_tests() {
    check(Bench::preparing(), |_| {}, expect![""]);
    check(
        Bench::preparing(),
        |bench| {
            // Everything is done but the tests.
            for _ in 0..3 {
                for effect in bench.wanted() {
                    if !matches!(effect, Effect::RunTests { .. }) {
                        bench.done(effect);
                    }
                }
            }
        },
        expect![""],
    );
    check(
        Bench::preparing(),
        |bench| {
            bench.comply_once();
            bench.comply_once();
            let one = bench.instance(2);
            bench.health(&one, Health::Unknown);
        },
        expect![""],
    );
    check(
        Bench::preparing(),
        |bench| {
            bench.comply_once();
            bench.comply_once();
        },
        expect![[r#"
            tested serves: true
            site-2-t3 ready
            site-2-t4 ready
            rollout 2 switching"#]],
    );
}

#[test]
fn preparing_fails_by_an_exit_a_timeout_a_test_or_the_watchdog() {
    check(
        Bench::preparing(),
        |bench| {
            let one = bench.instance(2);
            bench.exit(&one);
        },
        expect![[r#"
            rollout 2 undoing: instance `site-2-t3` exited with code 3
            site-2-t3 failed: exited with code 3"#]],
    );
    check(
        Bench::preparing(),
        |bench| {
            bench.comply_once();
            bench.comply_once();
            let one = bench.instance(2);
            bench.health(&one, Health::Unknown);
            bench.pass(Millis(5_000));
        },
        expect![[r#"
            tested serves: true
            rollout 2 undoing: instance `site-2-t3` did not become healthy in time: connection refused"#]],
    );
    check(
        Bench::preparing(),
        |bench| bench.pass(Millis(60_000)),
        expect!["rollout 2 undoing: instance `site-2-t3` was not started within 1m"],
    );
    // A start that goes on gets its time anew, and not for ever.
    let goes_on = |bench: &mut Bench| {
        bench.pass(Millis(59_000));
        let (now, set) = (bench.facts.now, bench.world.instances.keys().cloned());
        bench.facts.starting.extend(set.map(|instance| (instance, now)));
        bench.pass(Millis(59_000));
    };
    check(Bench::preparing(), goes_on, expect![""]);
    check(
        Bench::preparing(),
        |bench| {
            goes_on(bench);
            bench.pass(Millis(1_000));
        },
        expect!["rollout 2 undoing: the start of instance `site-2-t3` did not go on within 1m"],
    );
    check(
        Bench::preparing(),
        |bench| bench.tested(spec("two", 2).image, false),
        expect![[r#"
        tested serves: false
        rollout 2 undoing: test `serves` of image `3fc4ccfe7458` failed: status 500"#]],
    );
    check(
        Bench::preparing(),
        |bench| {
            let halt =
                RolloutFailure { refused: Some("x".to_owned()), ..RolloutFailure::of("too many") };
            bench.facts.halted.insert(hornero_model::RolloutId(2), halt);
        },
        expect!["rollout 2 undoing: too many"],
    );
}

#[test]
fn undoing_waits_until_the_new_set_is_gone() {
    let mut bench = Bench::preparing();
    bench.comply_once();
    let one = bench.instance(2);
    bench.exit(&one);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing));
    bench.log.clear();
    check(
        bench,
        Bench::comply,
        expect![[r#"
        site-2-t3 archived
        site-2-t4 stopped
        site-2-t4 archived
        rollout 2 failed: instance `site-2-t3` exited with code 3"#]],
    );
}

#[test]
fn switching_waits_for_the_edge_to_confirm() {
    check(Bench::at(Phase::Switching, 0), |_| {}, expect![""]);
    check(
        Bench::at(Phase::Switching, 0),
        Bench::comply_once,
        expect![[r#"
        site-2-t3 serving
        site-2-t4 serving
        site-1-t1 draining
        site-1-t2 draining
        rollout 2 watching"#]],
    );
}

#[test]
fn switching_goes_back_when_the_set_fails_or_the_edge_is_silent() {
    check(
        Bench::at(Phase::Switching, 0),
        |bench| {
            let one = bench.instance(2);
            bench.health(&one, Health::Unhealthy);
        },
        expect![[r#"
            rollout 2 returning: instance `site-2-t3` became unhealthy: connection refused
            rollout 2 clearing: instance `site-2-t3` became unhealthy: connection refused
            rollout 2 failed: instance `site-2-t3` became unhealthy: connection refused"#]],
    );
    let with_a_table_under_way = |bench: &mut Bench| {
        bench.sent(&hornero_model::RouteTable::default());
        bench.pass(Millis(30_000));
    };
    check(
        Bench::at(Phase::Switching, 0),
        with_a_table_under_way,
        expect!["rollout 2 returning: the edge did not switch within 30s"],
    );
    check(
        Bench::at(Phase::Switching, 0),
        |bench| bench.pass(Millis(30_000)),
        expect![[r#"
        rollout 2 returning: the edge did not switch within 30s
        rollout 2 clearing: the edge did not switch within 30s
        rollout 2 failed: the edge did not switch within 30s"#]],
    );
}

#[test]
fn a_switch_does_not_begin_while_health_is_unknown() {
    let mut bench = Bench::at(Phase::Switching, 0);
    assert!(matches!(bench.wanted()[..], [Effect::ApplyRoutes { .. }]));
    let one = bench.instance(2);
    bench.health(&one, Health::Unknown);
    assert_eq!(bench.wanted(), []);
}

#[test]
fn watching_ends_by_time_with_all_healthy_and_read_back() {
    check(Bench::at(Phase::Watching, 0), |bench| bench.pass(Millis(999)), expect![""]);
    check(
        Bench::at(Phase::Watching, 0),
        |bench| {
            bench.pass(Millis(1_000));
            bench.status(|edge| edge.generation -= 1);
        },
        expect![""],
    );
    check(
        Bench::at(Phase::Watching, 0),
        |bench| {
            bench.pass(Millis(1_000));
            let one = bench.instance(2);
            bench.health(&one, Health::Unknown);
        },
        expect![""],
    );
    check(
        Bench::at(Phase::Watching, 0),
        |bench| bench.pass(Millis(1_000)),
        expect![[r#"
        proven site@2
        receipt 1 to 2: drained 0, cut 0, failed 0, warm false
        site-1-t1 ready
        site-1-t2 ready
        rollout 2 finished"#]],
    );
    check(
        Bench::at(Phase::Watching, 3),
        |bench| bench.pass(Millis(1_000)),
        expect![[r#"
        proven site@2
        rollout 2 draining"#]],
    );
}

#[test]
fn watching_goes_back_where_there_is_something_to_go_back_to() {
    check(
        Bench::at(Phase::Watching, 0),
        |bench| {
            let one = bench.instance(2);
            bench.exit(&one);
        },
        expect![[r#"
            site-2-t3 draining
            site-2-t4 draining
            rollout 2 returning: instance `site-2-t3` exited with code 3
            site-2-t3 failed: exited with code 3"#]],
    );
    check(
        Bench::at(Phase::Watching, 0),
        |bench| {
            for instance in bench.world.instances.clone().keys() {
                bench.health(instance, Health::Unhealthy);
            }
        },
        expect!["rollout 2 failed: instance `site-2-t3` became unhealthy: connection refused"],
    );
}

#[test]
fn returning_drains_the_bad_set_and_ends_rolled_back() {
    let mut bench = Bench::at(Phase::Watching, 0);
    let one = bench.instance(2);
    bench.exit(&one);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Returning));
    bench.log.clear();
    let busy = |bench: &mut Bench| {
        bench.comply_once();
        bench.in_flight(2, 4);
    };
    check(
        bench.clone(),
        busy,
        expect![[r#"
            site-1-t1 serving
            site-1-t2 serving
            rollout 2 clearing: instance `site-2-t3` exited with code 3"#]],
    );
    check(
        bench,
        Bench::comply,
        expect![[r#"
            site-1-t1 serving
            site-1-t2 serving
            rollout 2 clearing: instance `site-2-t3` exited with code 3
            receipt 2 to 1: drained 0, cut 0, failed 0, warm false
            rollout 2 rolled_back: instance `site-2-t3` exited with code 3
            site-2-t3 archived
            site-2-t4 stopped
            site-2-t4 archived"#]],
    );
}

#[test]
fn draining_ends_at_nothing_in_flight_or_by_force() {
    check(Bench::at(Phase::Draining, 3), |_| {}, expect![""]);
    check(
        Bench::at(Phase::Draining, 3),
        |bench| bench.in_flight(1, 0),
        expect![[r#"
        receipt 1 to 2: drained 3, cut 0, failed 0, warm false
        site-1-t1 ready
        site-1-t2 ready
        rollout 2 finished"#]],
    );
    let mut bench = Bench::at(Phase::Draining, 3);
    bench.in_flight(1, 2);
    bench.pass(Millis(2_000));
    bench.settle();
    assert!(matches!(bench.wanted()[..], [Effect::CutInFlight { release: ReleaseNumber(1), .. }]));
    check(
        bench,
        Bench::comply_once,
        expect![[r#"
        rollout 2 draining
        receipt 1 to 2: drained 1, cut 2, failed 0, warm false
        site-1-t1 ready
        site-1-t2 ready
        rollout 2 finished"#]],
    );
}

#[test]
fn a_removal_closes_drains_stops_and_is_recorded_last() {
    let mut bench = Bench::serving(2);
    let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(begun.records);
    check(bench.clone(), |_| {}, expect!["rollout 2 closing"]);
    let busy = |bench: &mut Bench| {
        bench.in_flight(1, 1);
        bench.comply_once();
    };
    check(bench.clone(), busy, expect!["rollout 2 closing"]);
    check(
        bench.clone(),
        Bench::comply,
        expect![[r#"
        rollout 2 closing
        rollout 2 emptying
        site-1-t1 stopped
        site-1-t1 archived
        site-1-t2 stopped
        site-1-t2 archived
        rollout 2 removed
        removed site"#]],
    );
    bench.comply();
    assert!(bench.world.services[&site()].removed);
    assert_eq!(
        start_down(&bench.world, &bench.facts, &site(), &root()),
        Err(StartError::NoService(site()))
    );
}

#[test]
fn a_warm_rollback_begins_with_the_switch() {
    let mut bench = Bench::at(Phase::Watching, 0);
    bench.pass(Millis(1_000));
    bench.settle();
    bench.log.clear();
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let back = |bench: &mut Bench| {
        let begun =
            start_rollback(&world, &facts, &site(), None, &root(), &mut || bench.tail()).unwrap();
        bench.record(begun.records);
        bench.comply();
    };
    check(
        bench.clone(),
        back,
        expect![[r#"
        rollout 3 switching
        site-1-t1 serving
        site-1-t2 serving
        site-2-t3 draining
        site-2-t4 draining
        rollout 3 watching
        receipt 2 to 1: drained 0, cut 0, failed 0, warm true
        site-2-t3 ready
        site-2-t4 ready
        rollout 3 finished"#]],
    );
    // With one of the warm set dead it fills the set up first.
    let dead = bench.instance(1);
    bench.exit(&dead);
    bench.settle();
    bench.log.clear();
    check(
        bench,
        |bench| {
            let (world, facts) = (bench.world.clone(), bench.facts.clone());
            let begun =
                start_rollback(&world, &facts, &site(), None, &root(), &mut || bench.tail());
            bench.record(begun.unwrap().records);
        },
        expect![[r#"
            rollout 3 preparing
            site-1-t5 created"#]],
    );
}

#[test]
fn beginnings_that_are_refused() {
    let mut bench = Bench::serving(1);
    let begin = |bench: &mut Bench, to: u32| {
        let (world, facts) = (bench.world.clone(), bench.facts.clone());
        let to = Some(ReleaseNumber(to));
        start_rollback(&world, &facts, &site(), to, &root(), &mut || bench.tail()).map(drop)
    };
    assert_eq!(begin(&mut bench, 1), Err(StartError::Serves(site(), ReleaseNumber(1))));
    assert_eq!(begin(&mut bench, 5), Err(StartError::NoRelease(site(), ReleaseNumber(5))));
    bench.forward(&spec("two", 1));
    let busy = StartError::Busy(site(), hornero_model::RolloutId(2));
    assert_eq!(begin(&mut bench, 1), Err(busy.clone()));
    assert_eq!(start_down(&bench.world, &bench.facts, &site(), &root()), Err(busy));
    let one = bench.instance(2);
    bench.exit(&one);
    bench.comply();
    assert_eq!(begin(&mut bench, 2), Err(StartError::Unproven(site(), ReleaseNumber(2))));
    let same = spec("one", 1);
    let refused = start_forward(&bench.world, &bench.facts, &same, &root(), &mut String::new);
    assert_eq!(refused, Err(StartError::Serves(site(), ReleaseNumber(1))));
}

#[test]
fn an_apply_is_nothing_a_repair_an_old_release_or_a_new_one() {
    let mut bench = Bench::serving(1);
    let target = |bench: &Bench, image| Target::of(&bench.world, &bench.facts, &spec(image, 1));
    assert_eq!(target(&bench, "one"), Target::Unchanged(ReleaseNumber(1)));
    assert_eq!(target(&bench, "two"), Target::New(ReleaseNumber(2)));
    bench.forward(&spec("two", 1));
    let two = bench.instance(2);
    bench.exit(&two);
    bench.comply();
    assert_eq!(target(&bench, "two"), Target::Again(ReleaseNumber(2)));
    let one = bench.instance(1);
    bench.exit(&one);
    assert_eq!(target(&bench, "one"), Target::Repair(ReleaseNumber(1)));
}

#[test]
fn a_dead_instance_is_replaced_and_a_sick_one_only_after_its_replacement() {
    check(
        Bench::serving(2),
        |bench| {
            let one = bench.instance(1);
            bench.exit(&one);
        },
        expect![[r#"
            site-1-t1 failed: exited with code 3
            site-1-t3 created"#]],
    );
    let mut bench = Bench::serving(2);
    let one = bench.instance(1);
    bench.health(&one, Health::Unhealthy);
    bench.facts.here.unhealthy_since.insert(one, bench.facts.now);
    check(bench.clone(), |bench| bench.pass(Millis(4_999)), expect![""]);
    bench.pass(Millis(5_000));
    check(bench.clone(), |_| {}, expect!["site-1-t3 created"]);
    let comply = |bench: &mut Bench| {
        // The table that takes in the replacement must not make the sick one healthy.
        bench.settle();
        bench.comply_once();
        bench.comply_once();
        let sick = bench.facts.unhealthy_since.keys().next().unwrap().clone();
        bench.health(&sick, Health::Unhealthy);
    };
    check(
        bench,
        comply,
        expect![[r#"
        site-1-t3 created
        site-1-t3 serving
        site-1-t1 failed"#]],
    );
}

#[test]
fn a_warm_set_ends_with_its_time() {
    let mut bench = Bench::at(Phase::Watching, 0);
    bench.pass(Millis(1_000));
    bench.settle();
    bench.log.clear();
    check(bench.clone(), |bench| bench.pass(Millis(59_999)), expect![""]);
    check(
        bench.clone(),
        |bench| bench.pass(Millis(60_000)),
        expect![[r#"
        site-1-t1 draining
        site-1-t2 draining"#]],
    );
    bench.pass(Millis(60_000));
    bench.comply();
    assert!(bench.world.instances.values().all(|of| of.state == InstanceState::Serving));
}
