//! Servers on their way up of which no edge tells how they are: that is waited for, and it is no failure of their release.

use hornero_model::{EdgeName, Millis, RollingPolicy, Strategy};

use super::{Bench, site, spec};
use crate::{Effect, Phase, UNHEARD_ALLOWANCE};

/// Longer than the servers of these tests may take to become healthy, and shorter than an edge is waited for.
const LATE: Millis = Millis(60_000);

impl Bench {
    /// The edge is away from now on.
    fn edge_goes(&mut self) -> hornero_model::EdgeStatus {
        let status = self.facts.edge.as_deref().unwrap().clone();
        let now = self.facts.now;
        self.facts.here.lost_edge(&EdgeName::default(), now);
        status
    }

    fn edge_comes(&mut self, status: hornero_model::EdgeStatus) {
        let now = self.facts.now;
        self.facts.here.saw_edge(&EdgeName::default(), status, now);
    }

    /// What is wanted of the engine is done; nothing is of the edge.
    fn start_all(&mut self) {
        self.settle();
        for effect in self.wanted() {
            if effect.edge_of().is_none() {
                self.done(effect);
            }
        }
        self.settle();
    }

    fn why(&self) -> String {
        self.log.iter().rev().find(|line| line.contains("undoing: ")).cloned().unwrap_or_default()
    }
}

#[test]
fn a_release_waits_for_an_edge_that_is_away_and_goes_on_with_it() {
    let mut bench = Bench::preparing();
    let status = bench.edge_goes();
    bench.start_all();
    bench.pass(LATE);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Preparing), "{:?}", bench.log);
    bench.edge_comes(status);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!(bench.phase(), None, "{:?}", bench.log);
    assert!(bench.log.iter().any(|line| line.ends_with("finished")), "{:?}", bench.log);
}

#[test]
fn an_edge_that_stays_away_ends_the_rollout_and_the_release_is_not_to_blame() {
    let mut bench = Bench::preparing();
    bench.edge_goes();
    bench.start_all();
    let due = bench.wake().unwrap();
    assert_eq!(due, bench.facts.now.after(UNHEARD_ALLOWANCE));
    bench.pass(UNHEARD_ALLOWANCE);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing), "{:?}", bench.log);
    let why = bench.why();
    assert!(why.contains("the edge could not be reached within 2m"), "{why}");
    let rollout = bench.world.rollout_of(&site()).unwrap();
    assert!(!rollout.failure.as_ref().unwrap().of_release);
}

#[test]
fn a_server_that_is_in_no_table_yet_is_not_to_blame_either() {
    let mut bench = Bench::preparing();
    bench.start_all();
    // No table comes to the edge, which can be reached.
    bench.pass(LATE);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Preparing), "{:?}", bench.log);
    bench.pass(UNHEARD_ALLOWANCE);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing), "{:?}", bench.log);
    let why = bench.why();
    assert!(why.contains("the edge did not take it into its table within 2m"), "{why}");
}

#[test]
fn what_the_edge_has_found_unhealthy_has_the_time_that_its_contract_says() {
    let mut bench = Bench::preparing();
    bench.start_all();
    for effect in bench.wanted() {
        if let Effect::ApplyRoutes { .. } = effect {
            bench.done(effect);
        }
    }
    let new = bench.instance(2);
    bench.health(&new, hornero_model::Health::Unhealthy);
    bench.pass(Millis(5_000));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing), "{:?}", bench.log);
    assert!(bench.world.rollout_of(&site()).unwrap().failure.as_ref().unwrap().of_release);
}

#[test]
fn the_next_batch_of_a_rolling_rollout_waits_as_well() {
    let mut bench = Bench::serving(2);
    let mut next = spec("two", 2);
    next.rollout.strategy = Strategy::Rolling(RollingPolicy { max_surge: Some(1) });
    bench.forward(&next);
    for _ in 0..20 {
        bench.settle();
        let is_next = bench.world.rollout_of(&site()).and_then(|of| of.rolling.as_ref());
        if is_next.is_some_and(|of| of.stage == crate::RollingStage::Starting) {
            break;
        }
        bench.comply_once();
    }
    assert_eq!(bench.phase(), Some(Phase::Rolling), "{:?}", bench.log);
    bench.edge_goes();
    bench.start_all();
    bench.pass(LATE);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Rolling), "{:?}", bench.log);
    let rollout = bench.world.rollout_of(&site()).unwrap();
    assert_eq!(rollout.failure, None, "{:?}", bench.log);
}

#[test]
fn a_server_that_comes_back_is_not_replaced_before_a_table_has_it() {
    let mut bench = Bench::serving(2);
    let dead = bench.instance(1);
    bench.exit(&dead);
    bench.start_all();
    let made = |bench: &Bench| bench.log.iter().filter(|line| line.contains("created")).count();
    assert_eq!(made(&bench), 1, "{:?}", bench.log);
    bench.pass(LATE);
    bench.start_all();
    assert_eq!(made(&bench), 1, "{:?}", bench.log);
    bench.comply();
    assert_eq!(made(&bench), 1, "{:?}", bench.log);
}
