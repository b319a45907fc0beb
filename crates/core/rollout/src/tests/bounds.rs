//! Every wait has a bound: what a rollout says when an edge or an engine never answers.

use hornero_model::{Millis, ReleaseNumber, Share};

use super::{Bench, root, site, spec};
use crate::{Phase, start_down};

/// What is recorded while nothing is done and time goes by.
fn silent(bench: &mut Bench, minutes: u64) -> Vec<String> {
    bench.log.clear();
    for _ in 0..minutes * 6 {
        bench.pass(Millis(10_000));
        bench.settle();
    }
    std::mem::take(&mut bench.log)
}

fn going_down() -> Bench {
    let mut bench = Bench::serving(2);
    let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(begun.records);
    bench
}

#[test]
fn a_removal_that_the_edge_never_confirms_ends_and_leaves_the_service() {
    let mut bench = going_down();
    assert_eq!(
        silent(&mut bench, 5),
        ["rollout 2 failed: the edge did not close the ways into `site` within 2m"]
    );
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
    assert_eq!(bench.phase(), None);
    // Nothing is in the way of the next.
    let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(begun.records);
    bench.comply();
    assert!(bench.world.services[&site()].removed);
}

#[test]
fn what_the_edge_said_is_in_the_reason() {
    let mut bench = going_down();
    let id = bench.world.rollout_of(&site()).unwrap().id;
    bench
        .facts
        .halted
        .insert(id, crate::RolloutFailure::of("the edge refused the route table: no room"));
    assert_eq!(
        silent(&mut bench, 3),
        [
            "rollout 2 failed: the edge did not close the ways into `site` within 2m: the edge refused \
          the route table: no room"
        ]
    );
}

#[test]
fn a_removal_whose_instances_never_end_goes_on_without_them() {
    let mut bench = going_down();
    bench.comply_once();
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Emptying));
    let log = silent(&mut bench, 3);
    assert_eq!(log.last().map(String::as_str), Some("removed site"), "{log:?}");
    assert!(log.iter().any(|line| line.contains("could not be ended within 2m")), "{log:?}");
    // The engine is asked on, once nothing is routed there: they are nobody's now.
    for effect in bench.wanted() {
        if matches!(effect, crate::Effect::ApplyRoutes { .. }) {
            bench.done(effect);
        }
    }
    let left =
        bench.wanted().iter().filter(|effect| effect.to_string().starts_with("stop")).count();
    assert_eq!(left, 2);
}

#[test]
fn no_phase_lasts_for_ever_without_an_edge() {
    for (phase, in_flight) in
        [(Phase::Preparing, 0), (Phase::Switching, 0), (Phase::Watching, 0), (Phase::Draining, 3)]
    {
        let mut bench = Bench::at(phase, in_flight);
        bench.lose_edge();
        bench.facts.unhealthy_since.clear();
        let log = silent(&mut bench, 200);
        assert_eq!(bench.phase(), None, "{phase:?}: {log:?}");
        let named = log.iter().any(|line| {
            ["failed: ", "rolled_back: ", "finished: "].iter().any(|end| line.contains(end))
        });
        assert!(named, "{phase:?}: {log:?}");
        assert!(log.iter().all(|line| !line.starts_with("receipt")), "{phase:?}: {log:?}");
    }
}

#[test]
fn a_process_that_comes_late_waits_anew() {
    let mut bench = going_down();
    bench.pass(Millis(3_600_000));
    bench.facts.begun = bench.facts.now;
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Closing));
    bench.comply();
    assert!(bench.world.services[&site()].removed);
}

#[test]
fn tests_that_never_end_end_the_rollout() {
    let mut bench = Bench::new();
    bench.forward(&spec("one", 1));
    for effect in bench.wanted() {
        if !matches!(effect, crate::Effect::RunTests { .. }) {
            bench.done(effect);
        }
    }
    for effect in bench.wanted() {
        if matches!(effect, crate::Effect::ApplyRoutes { .. }) {
            bench.done(effect);
        }
    }
    let log = silent(&mut bench, 160);
    assert!(log.iter().any(|line| line.contains("it was not ready within")), "{log:?}");
}

#[test]
fn a_removal_by_force_waits_for_nobody() {
    for (phase, in_flight) in
        [(Phase::Preparing, 0), (Phase::Switching, 0), (Phase::Watching, 0), (Phase::Draining, 3)]
    {
        let mut bench = Bench::at(phase, in_flight);
        bench.lose_edge();
        let id = bench.world.rollout_of(&site()).unwrap().id;
        bench.facts.forced.insert(site());
        bench.facts.halted.insert(id, crate::RolloutFailure::of("`site` is taken down by force"));
        bench.settle();
        assert_eq!(bench.phase(), None, "{phase:?}: {:?}", bench.log);
        let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
        bench.record(begun.records);
        bench.pass(Millis(10_000));
        // The edge is gone, and its servers end all the same.
        bench.comply();
        assert!(bench.world.services[&site()].removed, "{phase:?}: {:?}", bench.log);
    }
}
