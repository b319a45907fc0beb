//! Servers that can't run twice: the old ones end before the new ones begin, and requests wait.

use hornero_model::{
    Admission, Health, Millis, ReleaseNumber, ReplacePolicy, ServiceSpec, Share, Strategy,
};

use super::{Bench, site, spec};
use crate::{Effect, Phase, RolloutFailure};

pub(super) fn replaced(image: &str) -> ServiceSpec {
    let mut spec = spec(image, 2);
    let hold = Millis(20_000);
    spec.rollout.strategy = Strategy::Replace(ReplacePolicy::holding(hold, 7));
    spec.rollout.keep_warm = Millis(0);
    spec
}

impl Bench {
    fn admission(&self) -> Admission {
        self.facts.in_force.as_ref().unwrap().table.pools[0].admission
    }

    pub(super) fn running(&self, release: u32) -> usize {
        let of = |id: &&hornero_model::InstanceId| {
            self.world.instances.get(*id).is_some_and(|of| of.release.0 == release)
        };
        self.facts.running.keys().filter(of).count()
    }

    /// So many requests had waited before a release got them.
    fn waited(&mut self, release: u32, held: u64) {
        self.in_flight(release, 0);
        self.status(|edge| {
            let counters = edge.counters.iter_mut();
            counters.filter(|of| of.release.0 == release).for_each(|of| of.held = held);
        });
    }

    /// Decides and does one thing after the other, looking at it after each, until nothing is under way.
    pub(super) fn in_place(&mut self, does: impl Fn(&mut Self, Effect)) {
        for _ in 0..1_000 {
            let decided = self.one_step();
            assert!(self.running(1) == 0 || self.running(2) == 0, "{:?}", self.log);
            let effects = self.wanted();
            if let (false, true) = (decided, effects.is_empty()) {
                if self.phase().is_none() {
                    return;
                }
                self.pass(Millis(500));
            }
            for effect in effects {
                does(self, effect);
                assert!(self.running(1) == 0 || self.running(2) == 0, "{:?}", self.log);
            }
        }
        panic!("it never gets there: {:?}", self.log);
    }

    /// Until a phase is entered, everything as well as can be.
    fn in_place_until(&mut self, phase: Phase) {
        for _ in 0..200 {
            if self.phase() == Some(phase) {
                return;
            }
            if !self.one_step() {
                self.comply_once();
            }
        }
        panic!("it never gets to {phase:?}: {:?}", self.log);
    }
}

#[test]
fn requests_wait_while_the_old_servers_end_and_the_new_ones_begin() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    assert_eq!(bench.world.instances.len(), 2, "nothing is started beside the old ones");
    bench.in_place_until(Phase::Replacing);
    bench.in_flight(1, 3);
    bench.comply();
    let Admission::Held { until, at_most } = bench.admission() else { panic!("{:?}", bench.log) };
    assert_eq!((until.since(bench.facts.now), at_most), (Millis(20_000), 7));
    assert_eq!(bench.running(1), 2, "what is in flight is waited for");
    bench.in_flight(1, 0);
    bench.in_place(|bench, effect| {
        match &effect {
            Effect::StopInstance { .. } => bench.pass(Millis(200)),
            Effect::StartInstance { .. } => bench.pass(Millis(300)),
            Effect::ApplyRoutes { table, .. } if table.pools[0].admission == Admission::Open => {
                bench.waited(2, 5);
            }
            _ => {}
        }
        bench.done(effect);
    });
    assert_eq!(bench.admission(), Admission::Open);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))]);
    assert_eq!((bench.running(1), bench.running(2)), (0, 2));
    let service = &bench.world.services[&site()];
    assert!(service.proven.contains(&ReleaseNumber(2)) && service.warm.is_none());
    let receipt = &service.last_receipt.as_ref().unwrap().body;
    assert_eq!(receipt.to, ReleaseNumber(2));
    // Two servers stop, then two start; nothing else takes time.
    assert_eq!((receipt.held, receipt.unavailable_ms), (Some(5), Some(1_000.0)));
}

#[test]
fn what_is_in_flight_for_too_long_is_cut_off_and_told() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    bench.in_place_until(Phase::Replacing);
    bench.in_flight(1, 3);
    bench.comply();
    bench.pass(Millis(2_000));
    bench.in_place(Bench::done);
    let receipt = &bench.world.services[&site()].last_receipt.as_ref().unwrap().body;
    assert_eq!((receipt.drained, receipt.cut_off), (0, 3), "{:?}", bench.log);
}

#[test]
fn new_servers_that_fail_make_room_for_the_old_ones_again() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    bench.in_place(|bench, effect| {
        let failing = match &effect {
            Effect::StartInstance { instance, release, .. } if release.0 == 2 => {
                Some(instance.clone())
            }
            _ => None,
        };
        bench.done(effect);
        if let Some(instance) = failing {
            bench.exit(&instance);
        }
    });
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
    assert_eq!(bench.admission(), Admission::Open);
    bench.comply();
    assert_eq!((bench.running(1), bench.running(2)), (2, 0), "{:?}", bench.log);
    assert!(bench.log.iter().any(|line| line.starts_with("rollout 2 rolled_back: instance")));
}

#[test]
fn a_release_that_fails_its_watch_is_replaced_by_the_one_before() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    bench.in_place_until(Phase::Watching);
    let instance = bench.instance(2);
    bench.health(&instance, Health::Unhealthy);
    bench.in_place(Bench::done);
    bench.comply();
    assert_eq!((bench.running(1), bench.running(2)), (2, 0), "{:?}", bench.log);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
}

#[test]
fn one_that_is_ended_before_anything_was_stopped_takes_nothing_away() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    bench.in_place_until(Phase::Replacing);
    let id = bench.world.rollout_of(&site()).unwrap().id;
    bench.facts.halted.insert(id, RolloutFailure::of("aborted"));
    bench.in_place(Bench::done);
    assert_eq!((bench.running(1), bench.admission()), (2, Admission::Open));
    let stopped = |line: &String| line.contains("stopped");
    assert!(!bench.log.iter().any(stopped), "{:?}", bench.log);
}

#[test]
fn tests_that_fail_leave_everything_as_it_is() {
    let mut bench = Bench::serving(2);
    bench.forward(&replaced("two"));
    bench.tested(spec("two", 2).image, false);
    bench.settle();
    bench.comply();
    assert_eq!((bench.phase(), bench.running(1)), (None, 2));
    assert!(bench.log.iter().any(|line| line.starts_with("rollout 2 failed: test")));
}

#[test]
fn the_first_release_has_nothing_to_wait_for() {
    let mut bench = Bench::new();
    bench.forward(&replaced("one"));
    assert_eq!(bench.world.instances.len(), 2);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert!(!bench.log.iter().any(|line| line.contains("replacing")), "{:?}", bench.log);
    assert_eq!(bench.running(1), 2);
}
