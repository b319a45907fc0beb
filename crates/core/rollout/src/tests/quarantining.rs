//! Quarantine: replaced first, kept until its time is up, and not a moment longer.

use hornero_model::{
    EventBody, InstanceId, InstanceState, Millis, ReleaseNumber, Share, Timestamp,
};

use crate::{
    Effect,
    tests::{Bench, replacing::replaced, root, site, spec},
};

/// `site@1` serves with two servers; one of them.
fn serving() -> (Bench, InstanceId) {
    let mut bench = Bench::new();
    bench.forward(&spec("one", 2));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    bench.log.clear();
    let set = bench.world.services[&site()].serving.as_ref().unwrap();
    let one = set.instances.first().unwrap().clone();
    (bench, one)
}

fn quarantine(bench: &mut Bench, instance: &InstanceId, until: Timestamp) {
    let (instance, service) = (instance.clone(), site());
    let body = EventBody::InstanceQuarantined { instance, service, until };
    bench.append(root(), body).unwrap();
}

fn release(bench: &mut Bench, instance: &InstanceId) {
    let body = EventBody::QuarantineEnded { instance: instance.clone(), service: site() };
    bench.append(root(), body).unwrap();
}

fn until_it_is_out(bench: &mut Bench) {
    for _ in 0..10 {
        bench.comply();
        bench.pass(Millis(1_000));
    }
}

fn serves(bench: &Bench, id: &InstanceId) -> bool {
    bench.world.instances.get(id).is_some_and(|of| of.state == InstanceState::Serving)
}

fn count(bench: &Bench) -> usize {
    bench.world.services[&site()].serving.as_ref().unwrap().instances.len()
}

#[test]
fn another_one_serves_before_it_stands_still_and_it_ends_when_its_time_is_up() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    quarantine(&mut bench, &one, until);
    until_it_is_out(&mut bench);
    assert!(!serves(&bench, &one) && count(&bench) == 2, "{:?}", bench.log);
    assert!(bench.facts.running.contains_key(&one), "it is kept");
    assert_eq!(bench.facts.frozen.get(&one), Some(&true), "it stands still");
    assert!(bench.wanted().is_empty());
    // Where a host can't, it is not asked again and again.
    bench.facts.frozen.insert(one.clone(), false);
    assert!(bench.wanted().is_empty());
    // Control that starts anew knows of it, and makes sure.
    bench.facts.frozen.clear();
    let again = bench.wanted();
    assert!(matches!(&again[..], [Effect::FreezeInstance { instance, .. }] if *instance == one));
    assert_eq!(bench.wake().map(|at| at <= until), Some(true));
    bench.facts.now = until;
    bench.comply();
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}

#[test]
fn one_that_is_released_ends_or_serves_on() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    quarantine(&mut bench, &one, until);
    release(&mut bench, &one);
    until_it_is_out(&mut bench);
    assert!(serves(&bench, &one), "nothing was done yet: {:?}", bench.log);
    quarantine(&mut bench, &one, until);
    until_it_is_out(&mut bench);
    release(&mut bench, &one);
    bench.comply();
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
    // Of one that is gone nothing follows.
    quarantine(&mut bench, &one, until);
    release(&mut bench, &one);
    bench.comply();
    assert_eq!(count(&bench), 2);
}

#[test]
fn a_release_in_place_does_not_wait_for_one_that_is_kept() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000_000));
    quarantine(&mut bench, &one, until);
    bench.forward(&replaced("two"));
    bench.in_place(Bench::done);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))], "{:?}", bench.log);
    assert_eq!((bench.running(1), bench.running(2)), (0, 2), "{:?}", bench.log);
}

#[test]
fn one_that_nothing_replaces_is_not_kept() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    quarantine(&mut bench, &one, until);
    let body = EventBody::RecycleSet { service: site(), instances: Vec::new() };
    bench.append(root(), body).unwrap();
    let left = &bench.world.instances[&one];
    assert_eq!((&left.recycle, &left.quarantine), (&None, &None));
    until_it_is_out(&mut bench);
    assert!(serves(&bench, &one), "{:?}", bench.log);
}

#[test]
fn one_that_was_to_be_replaced_anyway_is_after_its_release_too() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    let ask = || EventBody::RecycleSet { service: site(), instances: vec![one.clone()] };
    bench.append(root(), ask()).unwrap();
    for again in [until, until.after(Millis(1))] {
        quarantine(&mut bench, &one, again);
    }
    release(&mut bench, &one);
    assert!(bench.world.instances[&one].recycle.is_some(), "asked for before");
    quarantine(&mut bench, &one, until);
    bench.append(root(), ask()).unwrap();
    release(&mut bench, &one);
    assert!(bench.world.instances[&one].recycle.is_some(), "asked for meanwhile");
    until_it_is_out(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}
