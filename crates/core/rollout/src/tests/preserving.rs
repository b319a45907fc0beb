//! Snapshots between the servers that go and those that come.

use hornero_model::{Health, Millis, ReleaseNumber, ServiceSpec, Share, SnapshotPolicy, Strategy};

use super::{Bench, leases::stateful, site};
use crate::{Effect, Phase, ReplacingStage};

fn preserved(image: &str) -> ServiceSpec {
    let mut spec = stateful(image);
    if let Strategy::Replace(policy) = &mut spec.rollout.strategy {
        policy.snapshot = Some(SnapshotPolicy { keep: Millis(60_000) });
    }
    spec
}

impl Bench {
    fn place(&self, text: &str) -> usize {
        let found = self.log.iter().position(|line| line.starts_with(text));
        found.unwrap_or_else(|| panic!("{text}: {:?}", self.log))
    }

    /// Decides and does, but each start of the new release ends at once.
    fn with_a_bad_release(&mut self, does: impl Fn(&mut Self, Effect)) {
        for _ in 0..1_000 {
            let decided = self.one_step();
            let effects = self.wanted();
            if let (false, true) = (decided, effects.is_empty()) {
                if self.phase().is_none() {
                    return;
                }
                self.pass(Millis(500));
            }
            for effect in effects {
                let bad = match &effect {
                    Effect::StartInstance { instance, release, .. } if release.0 == 2 => {
                        Some(instance.clone())
                    }
                    _ => None,
                };
                does(self, effect);
                bad.into_iter().for_each(|instance| self.exit(&instance));
            }
        }
        panic!("it never gets there: {:?}", self.log);
    }

    /// Decides and does until it is there.
    fn advance(&mut self, is_there: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            if is_there(self) {
                return;
            }
            if !self.one_step() {
                self.comply_once();
            }
        }
        panic!("it never gets there: {:?}", self.log);
    }

    fn serves_as_before(&self) {
        assert_eq!(self.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
        assert!(self.phase().is_none(), "{:?}", self.log);
    }
}

#[test]
fn the_snapshot_is_of_what_the_old_server_left_and_stands_in_the_receipt() {
    let mut bench = Bench::holding();
    let old = bench.instance(1);
    bench.forward(&preserved("two"));
    bench.one_writer();
    let taken = bench.place("volume orders: Snapshot");
    assert!(bench.place(&format!("{old} stopped")) < taken, "{:?}", bench.log);
    assert!(taken < bench.place("lease 2"), "{:?}", bench.log);
    let receipt = &bench.world.services[&site()].last_receipt.as_ref().unwrap().body;
    assert_eq!(receipt.snapshot.as_deref(), Some("orders@3"));
}

#[test]
fn a_release_that_fails_before_it_served_leaves_the_data_as_it_was() {
    let mut bench = Bench::holding();
    bench.forward(&preserved("two"));
    bench.with_a_bad_release(Bench::done);
    bench.serves_as_before();
    let restored = bench.place("volume orders: Restored { snapshot: 3, kept: 4 }");
    assert!(restored < bench.place("lease 3"), "{:?}", bench.log);
    let told = "by orders@3; what was left of it is orders@4";
    assert!(bench.log.iter().any(|line| line.contains(told)), "{:?}", bench.log);
}

#[test]
fn what_clients_were_let_in_to_is_never_put_back() {
    let mut bench = Bench::holding();
    bench.forward(&preserved("two"));
    bench.advance(|bench| bench.phase() == Some(Phase::Watching));
    let instance = bench.instance(2);
    bench.health(&instance, Health::Unhealthy);
    bench.one_writer();
    bench.serves_as_before();
    assert!(!bench.log.iter().any(|line| line.contains("Restored")), "{:?}", bench.log);
}

#[test]
fn where_no_snapshot_can_be_put_back_the_old_server_comes_on_the_data_as_it_is() {
    let mut bench = Bench::holding();
    bench.forward(&preserved("two"));
    bench.with_a_bad_release(|bench, effect| match effect {
        Effect::RestoreSnapshots { rollout, .. } => {
            bench.facts.restored.insert(rollout, Err("the disk is full".to_owned()));
        }
        effect => bench.done(effect),
    });
    bench.serves_as_before();
    let told = "no snapshot could be put back: the disk is full";
    assert!(bench.log.iter().any(|line| line.contains(told)), "{:?}", bench.log);
}

#[test]
fn without_a_snapshot_the_new_server_does_not_begin() {
    let mut bench = Bench::holding();
    bench.forward(&preserved("two"));
    bench.advance(|bench| {
        let rollout = bench.world.rollout_of(&site());
        let replacing = rollout.and_then(|rollout| rollout.replacing.as_ref());
        replacing.is_some_and(|of| of.stage == ReplacingStage::Preserving)
    });
    let (world, mut facts) = (bench.world.clone(), bench.facts.clone());
    let key = crate::EffectKey::Snapshots(world.rollout_of(&site()).unwrap().id);
    for tries in 1..=3 {
        crate::failed(&world, &mut facts, &key, tries, "the disk is full".to_owned());
    }
    bench.facts = facts;
    bench.one_writer();
    bench.serves_as_before();
    assert!(!bench.log.iter().any(|line| line.starts_with("site-2")), "{:?}", bench.log);
}
