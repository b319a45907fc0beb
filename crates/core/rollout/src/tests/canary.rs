//! Canaries: growing shares, a verdict at each, and the ways back.

use expect_test::{Expect, expect};
use hornero_model::{
    CanaryPolicy, CanaryProbe, Health, JudgePolicy, Millis, OnInconclusive, ProbeCounters,
    ReleaseCounters, ReleaseNumber, ServiceSpec, Share, Strategy,
};

use super::{Bench, root, site, spec};
use crate::{Effect, Phase, start_rollback};

fn canary(image: &str, on_inconclusive: OnInconclusive) -> ServiceSpec {
    let mut spec = spec(image, 2);
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: vec![1_000, 5_000],
        step_timeout: Millis(60_000),
        on_inconclusive,
        sticky: None,
        judge: None,
        probe: None,
    });
    spec
}

/// A world in which `site@2` gets its first share beside `site@1`, and is judged from here on.
fn judging(on_inconclusive: OnInconclusive) -> Bench {
    let mut bench = Bench::serving(2);
    bench.counted(1, 50_000, 10);
    bench.forward(&canary("two", on_inconclusive));
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Canary));
    assert_eq!(weights(&bench), [(1, 9_000), (2, 1_000)]);
    bench.log.clear();
    bench
}

/// What the edge gives to whom.
fn weights(bench: &Bench) -> Vec<(u32, u32)> {
    let pool = &bench.facts.in_force.as_ref().unwrap().table.pools[0];
    pool.traffic.iter().map(|share| (share.release.0, share.weight)).collect()
}

fn check(bench: &Bench, expected: Expect) {
    expected.assert_eq(&bench.log.join("\n"));
}

impl Bench {
    /// The edge has counted this of a release since it began.
    fn counted(&mut self, release: u32, requests: u64, failed: u64) {
        self.in_flight(release, 0);
        let of = |of: &&mut ReleaseCounters| of.release.0 == release;
        self.status(|edge| {
            for counters in edge.counters.iter_mut().filter(of) {
                (counters.requests, counters.failed) = (requests, failed);
            }
        });
    }
}

#[test]
fn a_good_one_goes_from_share_to_share_and_takes_over() {
    let mut bench = judging(OnInconclusive::Abort);
    bench.counted(1, 95_000, 20);
    bench.counted(2, 5_000, 1);
    bench.comply();
    assert_eq!(weights(&bench), [(1, 5_000), (2, 5_000)]);
    bench.counted(1, 105_000, 22);
    bench.counted(2, 15_000, 3);
    bench.comply();
    assert_eq!(weights(&bench), [(2, Share::WHOLE)]);
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!(bench.phase(), None);
    check(
        &bench,
        expect![[r#"
        rollout 2 canary
        rollout 2 canary
        rollout 2 switching
        site-1-t1 draining
        site-1-t2 draining
        rollout 2 watching
        proven site@2
        receipt 1 to 2: drained 0, cut 0, failed 0, warm false
        site-1-t1 ready
        site-1-t2 ready
        rollout 2 finished"#]],
    );
    let service = &bench.world.services[&site()];
    let receipt = &service.last_receipt.as_ref().unwrap().body;
    let verdicts: Vec<_> = receipt.canary.iter().map(|of| (of.weight, &*of.verdict)).collect();
    assert_eq!(verdicts, [(1_000, "same"), (5_000, "same")]);
    assert_eq!(service.canaries[&ReleaseNumber(2)], receipt.canary);
    assert_eq!(service.serving.as_ref().unwrap().release, ReleaseNumber(2));
}

#[test]
fn a_bad_one_is_taken_back_by_one_table() {
    let mut bench = judging(OnInconclusive::Promote);
    bench.counted(1, 50_900, 10);
    bench.counted(2, 100, 20);
    bench.settle();
    let tables = bench.wanted();
    let tables: Vec<_> =
        tables.iter().filter(|of| matches!(of, Effect::ApplyRoutes { .. })).collect();
    assert_eq!(tables.len(), 1);
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
    check(
        &bench,
        expect![[r#"
        site-2-t3 draining
        site-2-t4 draining
        rollout 2 returning: `site@2` does worse at 10%: 20 of 100 requests failed on release 2 against 0 of 900 on release 1: more by chance less often than once in 1,000,000,000
        rollout 2 clearing: `site@2` does worse at 10%: 20 of 100 requests failed on release 2 against 0 of 900 on release 1: more by chance less often than once in 1,000,000,000
        receipt 2 to 1: drained 0, cut 0, failed 20, warm false
        rollout 2 rolled_back: `site@2` does worse at 10%: 20 of 100 requests failed on release 2 against 0 of 900 on release 1: more by chance less often than once in 1,000,000,000
        site-2-t3 stopped
        site-2-t3 archived
        site-2-t4 stopped
        site-2-t4 archived"#]],
    );
    let service = &bench.world.services[&site()];
    assert_eq!(service.serving.as_ref().unwrap().release, ReleaseNumber(1));
    assert!(!service.proven.contains(&ReleaseNumber(2)));
    assert_eq!(service.canaries[&ReleaseNumber(2)][0].verdict, "worse");
}

/// A canary of a service to which nothing comes from outside, and whose releases the edge asks by itself.
fn probed() -> Bench {
    let mut spec = canary("two", OnInconclusive::Abort);
    let Strategy::Canary(policy) = &mut spec.rollout.strategy else { unreachable!() };
    policy.judge = Some(JudgePolicy { minimum_requests: 1_000, ..JudgePolicy::default() });
    policy.probe =
        Some(CanaryProbe { port: None, path: "/probe".to_owned(), interval: Millis(50) });
    let mut bench = Bench::serving(2);
    bench.forward(&spec);
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Canary));
    bench.log.clear();
    bench
}

impl Bench {
    /// What came of the edge's own requests to a release since it began.
    fn probed(&mut self, release: u32, requests: u64, failed: u64) {
        self.in_flight(release, 0);
        let of = |of: &&mut ReleaseCounters| of.release.0 == release;
        let probes = ProbeCounters { requests, failed, ..ProbeCounters::default() };
        self.status(|edge| {
            for counters in edge.counters.iter_mut().filter(of) {
                counters.probes = Some(Box::new(probes.clone()));
            }
        });
    }

    /// What the edge asks by itself.
    fn asks(&self) -> Option<(String, Millis)> {
        let pool = &self.facts.in_force.as_ref().unwrap().table.pools[0];
        pool.probe.clone().map(|probe| (probe.path, probe.interval))
    }
}

#[test]
fn one_to_which_nothing_comes_is_judged_by_what_the_edge_asks() {
    let mut bench = probed();
    assert_eq!(bench.asks(), Some(("/probe".to_owned(), Millis(50))));
    // Fewer than are declared to be enough, however good they are.
    bench.probed(1, 900, 0);
    bench.probed(2, 900, 0);
    bench.comply();
    assert_eq!(weights(&bench), [(1, 9_000), (2, 1_000)]);
    bench.probed(1, 5_000, 0);
    bench.probed(2, 5_000, 0);
    bench.comply();
    assert_eq!(weights(&bench), [(1, 5_000), (2, 5_000)]);
    bench.probed(1, 10_000, 0);
    bench.probed(2, 10_000, 0);
    bench.comply();
    assert_eq!(weights(&bench), [(2, Share::WHOLE)]);
    assert_eq!(bench.asks(), None, "nothing is asked once one release gets everything");
}

#[test]
fn one_that_fails_what_the_edge_asks_is_taken_back_though_what_comes_goes_well() {
    let mut bench = probed();
    bench.counted(1, 5_000, 0);
    bench.counted(2, 500, 0);
    bench.probed(1, 500, 0);
    bench.probed(2, 500, 100);
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
    let log = bench.log.join("\n");
    assert!(
        log.contains("does worse at 10%: asked by the edge, 100 of 500 requests failed"),
        "{log}"
    );
    // Nobody's request failed.
    assert!(log.contains("receipt 2 to 1: drained 0, cut 0, failed 0"), "{log}");
}

#[test]
fn what_happened_before_the_window_does_not_count() {
    let mut bench = Bench::serving(2);
    bench.counted(1, 50_000, 0);
    // It was a canary before, and failed as one.
    bench.counted(2, 1_000, 900);
    bench.forward(&canary("two", OnInconclusive::Abort));
    bench.comply();
    bench.counted(1, 50_900, 0);
    bench.counted(2, 1_100, 900);
    bench.comply();
    assert_eq!(
        (bench.phase(), weights(&bench)),
        (Some(Phase::Canary), vec![(1, 9_000), (2, 1_000)])
    );
}

#[test]
fn an_edge_that_began_anew_is_counted_from_its_start() {
    let mut bench = judging(OnInconclusive::Abort);
    // The same edge counts no less than before: this is old news.
    bench.counted(1, 900, 0);
    bench.counted(2, 100, 50);
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Canary));
    bench.status(|edge| edge.pid = 2);
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
}

#[test]
fn without_a_verdict_the_file_decides() {
    for (on_inconclusive, expected) in [
        (OnInconclusive::Abort, vec![(1, Share::WHOLE)]),
        (OnInconclusive::Promote, vec![(1, 5_000), (2, 5_000)]),
        (OnInconclusive::Wait, vec![(1, 9_000), (2, 1_000)]),
    ] {
        let mut bench = judging(on_inconclusive);
        bench.counted(1, 50_090, 10);
        bench.counted(2, 10, 0);
        bench.pass(Millis(59_999));
        bench.comply();
        assert_eq!(weights(&bench), [(1, 9_000), (2, 1_000)], "{on_inconclusive:?}");
        let due = bench.wake().unwrap();
        assert_eq!(due.since(bench.facts.now), Millis(1), "it is looked at again by itself");
        bench.pass(Millis(1));
        bench.comply();
        assert_eq!(weights(&bench), expected, "{on_inconclusive:?}");
    }
    let mut bench = judging(OnInconclusive::Abort);
    bench.pass(Millis(60_000));
    bench.settle();
    check(
        &bench,
        expect![[r#"
        site-2-t3 draining
        site-2-t4 draining
        rollout 2 returning: nothing could be said of `site@2` at 10% within 1m: 0 of 0 requests failed on release 2 against 0 of 0 on release 1: too few to tell, 100 of each are the least"#]],
    );
}

#[test]
fn a_server_that_fails_takes_the_canary_back() {
    let mut bench = judging(OnInconclusive::Wait);
    let instance = bench.instance(2);
    bench.exit(&instance);
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
    check(
        &bench,
        expect![[r#"
        site-2-t3 draining
        site-2-t4 draining
        rollout 2 returning: instance `site-2-t3` exited with code 3
        site-2-t3 failed: exited with code 3
        rollout 2 clearing: instance `site-2-t3` exited with code 3
        receipt 2 to 1: drained 0, cut 0, failed 0, warm false
        rollout 2 rolled_back: instance `site-2-t3` exited with code 3
        site-2-t3 archived
        site-2-t4 stopped
        site-2-t4 archived"#]],
    );
}

#[test]
fn a_server_of_the_old_release_is_replaced_and_kept_when_the_canary_goes_back() {
    let mut bench = judging(OnInconclusive::Wait);
    let instance = bench.instance(1);
    bench.exit(&instance);
    bench.comply();
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Canary), "{:?}", bench.log);
    let serving =
        |bench: &Bench| bench.world.services[&site()].serving.as_ref().unwrap().instances.clone();
    let repaired = serving(&bench);
    assert_eq!((repaired.len(), repaired.contains(&instance)), (2, false));
    bench.counted(1, 50_900, 10);
    bench.counted(2, 100, 60);
    bench.comply();
    assert_eq!(bench.phase(), None);
    assert_eq!(serving(&bench), repaired);
}

#[test]
fn with_nothing_healthy_to_go_back_to_the_new_one_stays() {
    let mut bench = judging(OnInconclusive::Wait);
    let old = bench.world.services[&site()].serving.as_ref().unwrap().instances.clone();
    for instance in &old {
        bench.health(instance, Health::Unhealthy);
    }
    bench.counted(1, 50_900, 10);
    bench.counted(2, 100, 60);
    bench.settle();
    assert_eq!(bench.phase(), None);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))]);
}

#[test]
fn the_way_back_waits_for_something_to_go_back_to() {
    let mut bench = judging(OnInconclusive::Abort);
    let old = bench.world.services[&site()].serving.as_ref().unwrap().instances.clone();
    for instance in &old {
        bench.exit(instance);
    }
    // Nobody can tell who is healthy when time is up.
    let (status, in_force) = bench.edge(|edge| (edge.status.take(), edge.in_force.take()));
    bench.pass(Millis(61_000));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Returning));
    bench.edge(|edge| (edge.status, edge.in_force) = (status, in_force));
    for effect in bench.wanted() {
        if let Effect::ApplyRoutes { table, .. } = effect {
            let receives = table.pools[0].receives(ReleaseNumber(2));
            assert!(receives, "the new set alone answers: {table:?}");
        }
    }
    // What replaces the old servers is started, probed and found healthy; then the traffic goes back.
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
}

#[test]
fn the_first_release_and_a_rollback_take_over_at_once() {
    let mut bench = Bench::new();
    bench.forward(&canary("one", OnInconclusive::Abort));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert!(!bench.log.iter().any(|line| line.contains("canary")), "{:?}", bench.log);
    bench.forward(&spec("two", 2));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let begun =
        start_rollback(&world, &facts, &site(), None, &root(), &mut || bench.tail()).unwrap();
    bench.record(begun.records);
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)]);
    assert!(!bench.log.iter().any(|line| line.contains("canary")), "{:?}", bench.log);
}

#[test]
fn control_that_comes_back_judges_on() {
    let mut bench = judging(OnInconclusive::Wait);
    // What it had observed is lost; the table that it gives again says the same.
    bench.edge(|edge| edge.in_force = None);
    bench.counted(1, 50_450, 10);
    bench.counted(2, 50, 10);
    let applied = bench.wanted();
    assert!(applied.iter().any(|of| matches!(of, Effect::ApplyRoutes { .. })), "{applied:?}");
    bench.comply();
    assert_eq!(weights(&bench), [(1, Share::WHOLE)], "{:?}", bench.log);
}
