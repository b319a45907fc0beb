//! What people do to a rollout under way.

use expect_test::expect;
use hornero_model::{
    Actor, CanaryPolicy, Health, Millis, OnInconclusive, ReleaseNumber, ServiceSpec, Share, Steer,
    Strategy,
};

use super::{Bench, site, spec};
use crate::{PAUSE_LIMIT, Phase, steer};

fn canary(image: &str) -> ServiceSpec {
    let mut spec = spec(image, 2);
    spec.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: vec![1_000, 5_000],
        step_timeout: Millis(60_000),
        on_inconclusive: OnInconclusive::Promote,
        sticky: None,
        judge: None,
        probe: None,
    });
    spec
}

/// A world in which `site@2` is at its first step as a canary.
fn judging() -> Bench {
    let mut bench = Bench::serving(2);
    bench.forward(&canary("two"));
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Canary));
    bench.log.clear();
    bench
}

impl Bench {
    /// Somebody does this to the rollout.
    fn steer(&mut self, did: Steer) -> Result<(), String> {
        let anna = Actor { who: "anna".to_owned(), why: "a look".to_owned(), commit: None };
        let rollout = self.world.rollout_of(&site()).expect("a rollout");
        let record = steer(&self.world, &self.facts, rollout, did, &anna)?;
        self.record(vec![record]);
        Ok(())
    }

    /// What the new release gets.
    fn share(&self) -> u32 {
        self.facts.in_force.as_ref().unwrap().table.pools[0].weight(ReleaseNumber(2))
    }
}

#[test]
fn a_paused_canary_stays_where_it_is_until_it_is_resumed() {
    let mut bench = judging();
    bench.steer(Steer::Pause).unwrap();
    // Long past the time after which it would have gone on.
    for _ in 0..100 {
        bench.pass(Millis(60_000));
        bench.comply();
    }
    assert_eq!((bench.phase(), bench.share()), (Some(Phase::Canary), 1_000));
    assert!(bench.steer(Steer::Pause).unwrap_err().contains("paused already, by `anna`"));
    bench.steer(Steer::Resume).unwrap();
    bench.pass(Millis(59_999));
    bench.comply();
    assert_eq!(bench.share(), 1_000, "a step that is resumed gets its time anew");
    bench.pass(Millis(1));
    bench.comply();
    assert_eq!(bench.share(), 5_000);
    assert!(bench.steer(Steer::Resume).unwrap_err().contains("is not paused"));
}

#[test]
fn what_is_paused_for_too_long_is_taken_back() {
    let mut bench = judging();
    bench.steer(Steer::Pause).unwrap();
    let due = bench.wake().unwrap();
    assert_eq!(due, bench.facts.now.after(PAUSE_LIMIT), "it is looked at again by itself");
    bench.pass(PAUSE_LIMIT);
    bench.comply();
    assert_eq!((bench.phase(), bench.share()), (None, 0));
    let back = "rollout 2 rolled_back: it was paused by `anna`, and nobody resumed it within 3days";
    assert!(bench.log.iter().any(|line| line == back), "{:?}", bench.log);
}

#[test]
fn what_is_paused_is_taken_back_all_the_same_where_it_fails() {
    let mut bench = judging();
    bench.steer(Steer::Pause).unwrap();
    let instance = bench.instance(2);
    bench.exit(&instance);
    bench.comply();
    assert_eq!((bench.phase(), bench.share()), (None, 0));
    let service = &bench.world.services[&site()];
    assert_eq!(service.serving.as_ref().unwrap().release, ReleaseNumber(1));
    assert_eq!(service.interventions[&ReleaseNumber(2)].len(), 1);
}

#[test]
fn a_canary_is_promoted_step_by_step_and_its_receipt_says_by_whom() {
    let mut bench = judging();
    bench.steer(Steer::Promote).unwrap();
    bench.comply();
    assert_eq!((bench.phase(), bench.share()), (Some(Phase::Canary), 5_000));
    bench.steer(Steer::Pause).unwrap();
    bench.steer(Steer::Promote).unwrap();
    bench.comply();
    assert_eq!((bench.phase(), bench.share()), (Some(Phase::Watching), Share::WHOLE));
    assert!(bench.steer(Steer::Pause).unwrap_err().contains("can't be paused any more"));
    bench.pass(Millis(1_000));
    bench.comply();
    let receipt = &bench.world.services[&site()].last_receipt.as_ref().unwrap().body;
    let steps: Vec<_> = receipt.canary.iter().map(|of| (of.weight, &*of.verdict)).collect();
    assert_eq!(steps, [(1_000, "promoted"), (5_000, "promoted")]);
    let told: Vec<String> = receipt.interventions.iter().map(ToString::to_string).collect();
    expect![[r#"
        promoted by `anna` while canary: a look
        paused by `anna` while canary: a look
        promoted by `anna` while canary: a look"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn a_full_promotion_leaves_out_every_step_and_no_check_of_the_switch() {
    let mut bench = judging();
    let instance = bench.instance(2);
    bench.steer(Steer::PromoteFully).unwrap();
    bench.health(&instance, Health::Unknown);
    bench.settle();
    assert!(bench.wanted().is_empty(), "the switch waits for the health of the whole set");
    bench.health(&instance, Health::Healthy);
    bench.comply();
    assert_eq!((bench.phase(), bench.share()), (Some(Phase::Watching), Share::WHOLE));
}

#[test]
fn a_rollout_is_kept_before_its_switch_though_the_edge_forgets_who_is_healthy() {
    let mut bench = Bench::preparing();
    bench.steer(Steer::Pause).unwrap();
    bench.comply();
    bench.pass(Millis(3_600_000));
    let set = bench.world.rollout_of(&site()).unwrap().set.clone();
    for instance in &set {
        bench.health(instance, Health::Unknown);
    }
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Preparing));
    assert!(bench.steer(Steer::PromoteFully).unwrap_err().contains("no step"));
    bench.steer(Steer::Resume).unwrap();
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Preparing), "{:?}", bench.log);
    for instance in &set {
        bench.health(instance, Health::Healthy);
    }
    bench.comply();
    assert_eq!(bench.phase(), Some(Phase::Watching));
}

#[test]
fn a_loop_that_pauses_and_resumes_is_stopped() {
    let mut bench = judging();
    let last = (0..200)
        .find_map(|_| bench.steer(Steer::Pause).and_then(|()| bench.steer(Steer::Resume)).err());
    assert!(last.is_some_and(|reason| reason.contains("100 times")));
}
