//! Volumes: one server has one at a time, and the next one when nothing is left of it.

use hornero_model::{
    Health, LeaseToken, Millis, MountedVolume, ReplacePolicy, ServiceSpec, Strategy, VolumeName,
};

use super::{Bench, site, spec};
use crate::{Effect, Phase};

fn orders() -> VolumeName {
    VolumeName::new("orders").unwrap()
}

pub(super) fn stateful(image: &str) -> ServiceSpec {
    let mut spec = spec(image, 1);
    let hold = Millis(20_000);
    spec.rollout.strategy = Strategy::Replace(ReplacePolicy::holding(hold, 7));
    spec.rollout.keep_warm = Millis(0);
    spec.mounts = vec![MountedVolume { path: "/data".to_owned(), volume: orders() }];
    spec
}

impl Bench {
    /// `site@1` serves with a volume.
    pub(super) fn holding() -> Self {
        let mut bench = Self::new();
        bench.forward(&stateful("one"));
        bench.one_writer();
        bench.pass(Millis(1_000));
        bench.one_writer();
        bench.log.clear();
        bench
    }

    fn holder(&self) -> Option<(LeaseToken, String)> {
        let lease = self.world.volumes.get(&orders())?.lease.as_ref()?;
        Some((lease.token, lease.instance.to_string()))
    }

    /// Decides and does, until nothing is under way; whatever starts has the newest lease, and nobody else is there.
    pub(super) fn one_writer(&mut self) {
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
                if let Effect::StartInstance { instance, mounts, .. } = &effect {
                    let (token, holder) = self.holder().expect("what starts has a lease");
                    assert_eq!((&holder, mounts[0].lease), (&instance.to_string(), token));
                    assert!(self.facts.running.is_empty(), "{:?}", self.log);
                }
                self.done(effect);
            }
        }
        panic!("it never gets there: {:?}", self.log);
    }

    fn leases(&self) -> Vec<&str> {
        let of_leases = |line: &&String| line.starts_with("lease");
        self.log.iter().filter(of_leases).map(String::as_str).collect()
    }
}

#[test]
fn a_volume_goes_over_when_nothing_is_left_of_the_server_before() {
    let mut bench = Bench::holding();
    let first = bench.instance(1);
    assert_eq!(bench.holder(), Some((LeaseToken(1), first.to_string())));
    bench.forward(&stateful("two"));
    bench.one_writer();
    let second = bench.instance(2);
    assert_eq!(
        bench.leases(),
        ["lease 1 of orders ended".to_owned(), format!("lease 2 of orders to {second}")]
    );
    let place = |text: &str| bench.log.iter().position(|line| line.starts_with(text)).unwrap();
    assert!(place(&format!("{first} archived")) < place("lease 2"), "{:?}", bench.log);
}

#[test]
fn a_server_that_died_is_replaced_under_a_lease_of_its_own() {
    let mut bench = Bench::holding();
    let first = bench.instance(1);
    bench.exit(&first);
    bench.settle();
    assert_eq!(bench.holder(), Some((LeaseToken(1), first.to_string())), "until it is removed");
    let starts = |effect: &Effect| matches!(effect, Effect::StartInstance { .. });
    assert!(!bench.wanted().iter().any(starts));
    bench.one_writer();
    let (token, holder) = bench.holder().unwrap();
    assert_eq!(token, LeaseToken(2));
    assert_ne!(holder, first.to_string());
}

#[test]
fn nothing_starts_beside_a_holder_that_does_not_go_and_that_is_told() {
    let mut bench = Bench::holding();
    let first = bench.instance(1);
    bench.forward(&stateful("two"));
    // Its processes are told to be gone, but the engine can't remove what is left of it.
    for _ in 0..2_000 {
        if !bench.one_step() {
            bench.pass(Millis(500));
        }
        for effect in bench.wanted() {
            match effect {
                Effect::RemoveInstance { .. } => {}
                Effect::StartInstance { .. } => panic!("a second writer: {:?}", bench.log),
                other => bench.done(other),
            }
        }
    }
    assert_eq!(bench.holder(), Some((LeaseToken(1), first.to_string())));
    let told = format!("volume `orders` is held by `{first}`, of which something is left");
    assert!(bench.log.iter().any(|line| line.contains(&told)), "{:?}", bench.log);
    assert_eq!(bench.phase(), None, "it is not waited for without end");
    // Once it is gone, the old release comes back on its data.
    bench.one_writer();
    assert_eq!(bench.holder().unwrap().0, LeaseToken(2));
    assert_eq!(bench.world.traffic(&site())[0].release.0, 1);
}

#[test]
fn a_sick_holder_goes_before_another_one_comes_but_not_at_once() {
    let mut bench = Bench::holding();
    let first = bench.instance(1);
    bench.health(&first, Health::Unhealthy);
    bench.facts.here.unhealthy_since.insert(first.clone(), bench.facts.now);
    bench.pass(Millis(20_000));
    assert!(!bench.one_step(), "a database that replays its log comes round by itself");
    bench.pass(Millis(11_000));
    assert!(bench.one_step());
    assert!(bench.log.iter().any(|line| *line == format!("{first} failed")), "{:?}", bench.log);
    bench.one_writer();
    assert_eq!(bench.holder().unwrap().0, LeaseToken(2));
}

#[test]
fn a_release_that_fails_gives_the_volume_back_to_the_one_before() {
    let mut bench = Bench::holding();
    bench.forward(&stateful("two"));
    for _ in 0..300 {
        if !bench.one_step() {
            bench.pass(Millis(200));
        }
        for effect in bench.wanted() {
            let second = match &effect {
                Effect::StartInstance { instance, release, .. } if release.0 == 2 => {
                    Some(instance.clone())
                }
                _ => None,
            };
            bench.done(effect);
            second.iter().for_each(|instance| bench.exit(instance));
        }
    }
    assert_eq!(bench.phase(), None, "{:?}", bench.log);
    assert_eq!(bench.world.traffic(&site())[0].release.0, 1);
    let (token, holder) = bench.holder().unwrap();
    assert_eq!(token, LeaseToken(3), "{:?}", bench.log);
    assert!(holder.starts_with("site-1-"));
}

#[test]
fn leases_that_can_not_follow_are_no_history() {
    use hornero_model::{Actor, EventBody};
    let mut bench = Bench::holding();
    let instance = bench.instance(1);
    let mut append = |body: EventBody| bench.append(Actor::hornero("test"), body);
    let lease = |token: u64| EventBody::VolumeLeased {
        volume: orders(),
        lease: LeaseToken(token),
        service: site(),
        instance: instance.clone(),
    };
    let released =
        |token: u64| EventBody::VolumeReleased { volume: orders(), lease: LeaseToken(token) };
    assert!(append(lease(2)).is_err(), "it is leased");
    assert!(append(released(2)).is_err(), "by lease 1");
    append(released(1)).unwrap();
    assert!(append(released(1)).is_err(), "and no longer");
    assert!(append(lease(1)).is_err(), "numbers only grow");
    append(lease(2)).unwrap();
    assert_eq!(bench.phase(), None::<Phase>);
}
