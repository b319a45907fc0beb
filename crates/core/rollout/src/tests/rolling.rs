//! Rolling rollouts: batch by batch there, and back as a whole.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, Health, InstanceId, Millis, ReleaseNumber, RollingPolicy, ServiceSpec, Share, Steer,
    Strategy,
};

use super::{Bench, site, spec};
use crate::{Effect, Phase, RolloutFailure, steer};

fn rolling(image: &str, instances: u32) -> ServiceSpec {
    let mut spec = spec(image, instances);
    spec.rollout.strategy = Strategy::Rolling(RollingPolicy { max_surge: Some(1) });
    spec.rollout.keep_warm = Millis(0);
    spec
}

impl Bench {
    /// The shares of the table in force.
    fn shares(&self) -> Vec<(u32, u32)> {
        let pool = &self.facts.in_force.as_ref().unwrap().table.pools[0];
        pool.traffic.iter().map(|share| (share.release.0, share.weight)).collect()
    }

    /// Healthy servers that get requests by the table in force, of each release.
    fn answering(&self) -> (usize, usize) {
        let pool = &self.facts.in_force.as_ref().unwrap().table.pools[0];
        let of = |release| {
            let backends = pool.backends.iter().filter(|of| of.release.0 == release);
            let healthy = backends.filter(|of| self.facts.healthy(&self.world, &of.instance));
            if pool.receives(ReleaseNumber(release)) { healthy.count() } else { 0 }
        };
        (of(1), of(2))
    }

    /// Decides and does one thing after the other for as long as `goes_on`, looking at it after each.
    fn roll(&mut self, goes_on: impl Fn(&Self) -> bool, mut look: impl FnMut(&Self)) {
        for _ in 0..1_000 {
            if !goes_on(self) {
                return;
            }
            let decided = self.one_step();
            if !goes_on(self) {
                return;
            }
            let effects = self.wanted();
            if let (false, true) = (decided, effects.is_empty()) {
                self.pass(Millis(1_000));
            }
            for effect in effects {
                self.done(effect);
                look(self);
            }
            look(self);
        }
        panic!("it never gets there: {:?}", self.log);
    }

    /// A rollout that has come to the beginning of a batch, from 0.
    fn at_batch(instances: u32, batch: u32) -> Self {
        let mut bench = Self::serving(instances);
        bench.forward(&rolling("two", instances));
        let there = |bench: &Self| {
            let rollout = bench.world.rollout_of(&site()).unwrap();
            rollout.rolling.as_ref().is_some_and(|of| of.batch >= batch)
        };
        bench.roll(|bench| !there(bench), |_| ());
        bench.log.clear();
        bench
    }
}

#[test]
fn servers_are_replaced_one_by_one_and_there_are_never_too_few_or_too_many() {
    let mut bench = Bench::serving(3);
    bench.forward(&rolling("two", 3));
    let mut shares = Vec::new();
    bench.roll(
        |bench| bench.phase().is_some(),
        |bench| {
            let (old, new) = bench.answering();
            assert!((3..=4).contains(&(old + new)), "{old} and {new}: {:?}", bench.log);
            if shares.last() != Some(&bench.shares()) {
                shares.push(bench.shares());
            }
        },
    );
    let thirds = [vec![(1, 6_667), (2, 3_333)], vec![(1, 3_334), (2, 6_666)]];
    let whole = [vec![(1, Share::WHOLE)], vec![(2, Share::WHOLE)]];
    assert_eq!(shares, [&whole[0], &thirds[0], &thirds[1], &whole[1]].map(Clone::clone));
    let service = &bench.world.services[&site()];
    assert_eq!(service.serving.as_ref().unwrap().instances.len(), 3);
    assert!(service.warm.is_none() && service.proven.contains(&ReleaseNumber(2)));
    bench.comply();
    bench.pass(Millis(10_000));
    bench.comply();
    assert_eq!(bench.world.instances.len(), 3, "{:?}", bench.log);
}

#[test]
fn a_batch_that_fails_brings_the_old_set_back_whole_before_it_gets_everything() {
    let mut bench = Bench::at_batch(3, 2);
    let old = |bench: &Bench| bench.world.services[&site()].serving.clone().unwrap().instances;
    let fresh: InstanceId = {
        let set = &bench.world.rollout_of(&site()).unwrap().set;
        set.iter().find(|id| !bench.facts.running.contains_key(*id)).unwrap().clone()
    };
    for effect in bench.wanted() {
        bench.done(effect);
    }
    assert_eq!(bench.answering(), (1, 2));
    bench.exit(&fresh);
    assert_eq!(old(&bench).len(), 1);
    bench.roll(
        |bench| bench.phase().is_some(),
        |bench| {
            let (old, new) = bench.answering();
            assert!(old + new >= 3, "{old} and {new}: {:?}", bench.log);
        },
    );
    assert_eq!(bench.shares(), [(1, Share::WHOLE)]);
    assert_eq!(old(&bench).len(), 3);
    assert!(bench.log.iter().any(|line| line.starts_with("rollout 2 rolled_back: instance")));
    bench.comply();
    assert_eq!(bench.world.instances.len(), 3, "{:?}", bench.log);
}

#[test]
fn a_first_batch_that_fails_takes_nothing_away() {
    let mut bench = Bench::serving(3);
    bench.forward(&rolling("two", 3));
    assert_eq!(bench.world.rollout_of(&site()).unwrap().set.len(), 1);
    let fresh = bench.instance(2);
    for effect in bench.wanted() {
        bench.done(effect);
    }
    bench.exit(&fresh);
    bench.comply();
    assert_eq!((bench.phase(), bench.answering()), (None, (3, 0)));
    assert!(bench.log.iter().any(|line| line.starts_with("rollout 2 failed: ")), "{:?}", bench.log);
}

#[test]
fn the_way_back_does_not_wait_for_ever_for_old_servers_that_do_not_start() {
    let mut bench = Bench::at_batch(3, 2);
    let id = bench.world.rollout_of(&site()).unwrap().id;
    bench.facts.halted.insert(id, RolloutFailure::of("aborted"));
    for _ in 0..80 {
        bench.settle();
        let is_start = |effect: &Effect| matches!(effect, Effect::StartInstance { .. });
        for effect in bench.wanted().into_iter().filter(|effect| !is_start(effect)) {
            bench.done(effect);
        }
        bench.pass(Millis(1_000));
    }
    assert_eq!((bench.phase(), bench.shares()), (None, vec![(1, Share::WHOLE)]));
    assert_eq!(bench.answering().0, 1);
}

#[test]
fn an_old_server_that_dies_meanwhile_is_replaced_by_one_of_its_own() {
    let mut bench = Bench::at_batch(4, 1);
    let old: BTreeSet<InstanceId> =
        bench.world.services[&site()].serving.as_ref().unwrap().instances.clone();
    let rolling = bench.world.rollout_of(&site()).unwrap().rolling.clone().unwrap();
    assert_eq!((old.len(), rolling.keep), (3, 3));
    bench.exit(old.first().unwrap());
    bench.settle();
    let old = &bench.world.services[&site()].serving.as_ref().unwrap().instances;
    assert_eq!(old.len(), 3);
    bench.roll(|bench| bench.phase().is_some(), |_| ());
    assert_eq!(bench.shares(), [(2, Share::WHOLE)]);
}

#[test]
fn control_that_comes_back_in_a_batch_goes_on() {
    let mut bench = Bench::at_batch(3, 1);
    let before = bench.shares();
    // What it had observed is lost, and the servers of the batch are not healthy yet.
    bench.edge(|edge| edge.in_force = None);
    let applied = bench.wanted();
    let table = applied.iter().find_map(|effect| match effect {
        Effect::ApplyRoutes { table, .. } => Some(table),
        _ => None,
    });
    let traffic: Vec<_> =
        table.unwrap().pools[0].traffic.iter().map(|of| (of.release.0, of.weight)).collect();
    assert_eq!(traffic, before);
    bench.roll(|bench| bench.phase().is_some(), |_| ());
    assert_eq!(bench.shares(), [(2, Share::WHOLE)]);
}

#[test]
fn a_paused_batch_takes_no_more_servers_away() {
    let mut bench = Bench::at_batch(3, 1);
    let anna = Actor { who: "anna".to_owned(), why: "a look".to_owned(), commit: None };
    let rollout = bench.world.rollout_of(&site()).unwrap();
    let record = steer(&bench.world, &bench.facts, rollout, Steer::Pause, &anna).unwrap();
    bench.record(vec![record]);
    for _ in 0..50 {
        bench.comply();
        bench.pass(Millis(60_000));
    }
    assert_eq!(bench.phase(), Some(Phase::Rolling));
    assert_eq!(bench.shares(), [(1, 6_667), (2, 3_333)]);
    assert_eq!(bench.answering(), (2, 2));
    let rollout = bench.world.rollout_of(&site()).unwrap();
    let record = steer(&bench.world, &bench.facts, rollout, Steer::Resume, &anna).unwrap();
    bench.record(vec![record]);
    bench.roll(|bench| bench.phase().is_some(), |_| ());
    assert_eq!(bench.shares(), [(2, Share::WHOLE)]);
}

#[test]
fn a_release_that_fails_its_watch_goes_back_to_a_whole_set() {
    let mut bench = Bench::serving(3);
    bench.forward(&rolling("two", 3));
    bench.roll(|bench| bench.phase() != Some(Phase::Watching), |_| ());
    let instance = bench.instance(2);
    bench.health(&instance, Health::Unhealthy);
    bench.roll(
        |bench| bench.phase().is_some(),
        |bench| {
            let (old, new) = bench.answering();
            assert!(old + new >= 2, "{old} and {new}: {:?}", bench.log);
        },
    );
    assert_eq!(bench.shares(), [(1, Share::WHOLE)]);
    assert_eq!(bench.answering(), (3, 0));
}

#[test]
fn more_and_fewer_servers_are_rolled_to_as_well() {
    for (from, to) in [(1, 1), (1, 4), (4, 1), (2, 5), (5, 2)] {
        let mut bench = Bench::serving(from);
        bench.forward(&rolling("two", to));
        let least = from.min(to) as usize;
        bench.roll(
            |bench| bench.phase().is_some(),
            |bench| {
                let (old, new) = bench.answering();
                assert!(old + new >= least, "{from} to {to}: {old} and {new}: {:?}", bench.log);
            },
        );
        assert_eq!(bench.answering(), (0, to as usize), "{from} to {to}: {:?}", bench.log);
    }
}
