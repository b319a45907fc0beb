//! Quarantine: replaced first, kept until its time is up, and not a moment longer.

use hornero_model::{EventBody, InstanceId, InstanceState, Millis, Timestamp};

use crate::{
    Effect,
    tests::{Bench, root, site, spec},
    wanted,
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
    assert!(wanted(&bench.world, &bench.facts).is_empty());
    // Where a host can't, it is not asked again and again.
    bench.facts.frozen.insert(one.clone(), false);
    assert!(wanted(&bench.world, &bench.facts).is_empty());
    // Control that starts anew knows of it, and makes sure.
    bench.facts.frozen.clear();
    let again = wanted(&bench.world, &bench.facts);
    assert!(matches!(&again[..], [Effect::FreezeInstance { instance, .. }] if *instance == one));
    assert_eq!(crate::wake(&bench.world, &bench.facts).map(|at| at <= until), Some(true));
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
