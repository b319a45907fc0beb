//! Recycling: who is replaced, when, and what holds it off.

use hornero_model::{
    Actor, Directory, EventBody, Freeze, FreezeName, Health, InstanceId, InstanceState, Millis,
    Timestamp,
};

use crate::{
    Attention, Phase, RepairState, recycle_due, repair_state,
    tests::{Bench, root, site, spec},
};

const MAX_AGE: Millis = Millis(100_000);
const HOUR: Millis = Millis(3_600_000);

/// `site@1` serves with `instances`, each of which may live for [`MAX_AGE`].
fn serving(instances: u32) -> Bench {
    let mut bench = Bench::new();
    let mut spec = spec("one", instances);
    spec.max_age = Some(MAX_AGE);
    bench.forward(&spec);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    bench.log.clear();
    bench
}

fn ids(bench: &Bench) -> Vec<InstanceId> {
    bench.world.services[&site()].serving.as_ref().unwrap().instances.iter().cloned().collect()
}

fn ask(bench: &mut Bench, instances: Vec<InstanceId>) {
    bench.append(root(), EventBody::RecycleSet { service: site(), instances }).unwrap();
}

/// When each of what serves is due, soonest first.
fn due(bench: &Bench) -> Vec<(Timestamp, InstanceId)> {
    let instances = bench.world.instances.values();
    let mut due: Vec<_> = instances.map(|of| (recycle_due(of, MAX_AGE), of.id.clone())).collect();
    due.sort();
    due
}

#[test]
fn the_due_time_is_within_the_last_tenth_and_the_same_each_time() {
    let bench = serving(10);
    let dues = due(&bench);
    let created = bench.world.instances[&dues[0].1].created;
    assert!(dues.iter().all(|(due, _)| *due <= created.after(MAX_AGE)));
    assert!(dues.iter().all(|(due, _)| *due >= created.after(Millis(90_000))));
    let mut apart: Vec<_> = dues.iter().map(|(due, _)| *due).collect();
    apart.dedup();
    assert!(apart.len() > 5, "{dues:?}");
    assert_eq!(dues, due(&bench));
}

#[test]
fn an_old_instance_is_replaced_by_a_new_one_that_serves_first() {
    let mut bench = serving(1);
    let (when, old) = due(&bench)[0].clone();
    bench.facts.now = Timestamp(when.0 - 1);
    assert!(!bench.one_step(), "{:?}", bench.log);
    assert_eq!(bench.wake(), Some(when));
    bench.facts.now = when;
    bench.comply();
    assert_eq!(ids(&bench).len(), 2, "the new one is watched: {:?}", bench.log);
    bench.pass(Millis(999));
    bench.comply();
    assert_eq!(ids(&bench).len(), 2, "{:?}", bench.log);
    bench.pass(Millis(1));
    bench.comply();
    let left = ids(&bench);
    assert!(left.len() == 1 && left[0] != old, "{:?}", bench.log);
    assert_eq!(
        bench.log,
        [
            format!("recycle {old}"),
            format!("{} created", left[0]),
            format!("{} serving", left[0]),
            format!("{old} stopped"),
            format!("{old} archived"),
        ]
    );
    assert_eq!(bench.world.services[&site()].made_last_hour(bench.facts.now), (2, 1));
}

#[test]
fn several_go_one_at_a_time_the_oldest_first() {
    let mut bench = Bench::serving(2);
    let first = ids(&bench);
    bench.pass(Millis(10_000));
    bench.forward(&spec("one", 3));
    bench.comply();
    bench.pass(Millis(10_000));
    bench.comply();
    let youngest = ids(&bench).into_iter().find(|id| !first.contains(id)).unwrap();
    let asked = ids(&bench);
    ask(&mut bench, asked.clone());
    bench.log.clear();
    for _ in 0..10 {
        bench.comply();
        assert!((3..=4).contains(&ids(&bench).len()), "{:?}", bench.log);
        bench.pass(Millis(1_000));
    }
    let gone: Vec<&String> = bench.log.iter().filter(|line| line.ends_with("stopped")).collect();
    assert_eq!(gone.len(), 3, "{:?}", bench.log);
    assert_eq!(*gone[2], format!("{youngest} stopped"));
    assert!(ids(&bench).iter().all(|id| !asked.contains(id)));
    assert_eq!(
        bench.world.services[&site()].made_last_hour(bench.facts.now).1,
        0,
        "it was asked for"
    );
}

#[test]
fn nothing_is_replaced_while_anything_is_sick_or_a_rollout_is_under_way() {
    let mut bench = Bench::serving(2);
    let before = ids(&bench);
    ask(&mut bench, vec![before[0].clone()]);
    bench.health(&before[1], Health::Unhealthy);
    assert!(!bench.one_step(), "{:?}", bench.log);
    bench.health(&before[1], Health::Healthy);
    bench.forward(&spec("two", 2));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Preparing));
    assert_eq!(bench.world.instances.len(), 4, "{:?}", bench.log);
}

#[test]
fn what_is_no_longer_wanted_is_not_replaced() {
    let mut bench = Bench::serving(2);
    let asked = ids(&bench);
    ask(&mut bench, asked.clone());
    ask(&mut bench, Vec::new());
    bench.comply();
    assert_eq!(ids(&bench), asked);
    let stray = InstanceId::new("site-1-other").unwrap();
    let body = EventBody::RecycleSet { service: site(), instances: vec![stray] };
    assert!(bench.append(root(), body).is_err());
}

#[test]
fn one_that_does_not_start_leaves_the_old_one_and_is_tried_ever_more_slowly() {
    let mut bench = serving(2);
    let (when, _) = due(&bench)[0].clone();
    let before = ids(&bench);
    bench.facts.now = when;
    let fail = |bench: &mut Bench| {
        bench.settle();
        let new = bench.world.instances.values().find(|of| of.state == InstanceState::Created);
        let new = new.map(|of| of.id.clone());
        if let Some(new) = &new {
            bench.exit(new);
            bench.settle();
            bench.facts.removed.insert(new.clone());
            bench.settle();
        }
        new.is_some()
    };
    assert!(fail(&mut bench));
    for delay in [60_000, 120_000, 240_000] {
        bench.pass(Millis(delay - 1));
        assert!(!fail(&mut bench), "before {delay} ms: {:?}", bench.log);
        bench.pass(Millis(1));
        assert!(fail(&mut bench), "after {delay} ms: {:?}", bench.log);
    }
    let service = &bench.world.services[&site()];
    assert_eq!((service.recycle_failures, service.failures), (4, 0), "what serves did not fail");
    assert_eq!(ids(&bench), before);
    assert_eq!(repair_state(&bench.world, &bench.facts, &site()), Some(RepairState::Whole));
    // Who asks for it need not wait, and one that works ends the delays.
    ask(&mut bench, vec![before[0].clone()]);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert!(!ids(&bench).contains(&before[0]), "{:?}", bench.log);
    assert_eq!(bench.world.services[&site()].recycle_failures, 0);
}

#[test]
fn age_alone_makes_no_more_than_half_of_what_repair_may() {
    let mut bench = serving(4);
    for _ in 0..400 {
        bench.comply();
        bench.pass(Millis(2_000));
    }
    let made = |bench: &Bench| bench.world.services[&site()].made_last_hour(bench.facts.now).1;
    assert_eq!(made(&bench), 25, "{:?}", bench.log);
    bench.pass(HOUR);
    bench.comply();
    assert_eq!(made(&bench), 1, "it goes on: {:?}", bench.log);
}

#[test]
fn who_wanted_it_and_why_stands_beside_every_event() {
    let mut bench = Bench::serving(1);
    let old = ids(&bench)[0].clone();
    let by = Actor { who: "root".to_owned(), why: "it leaks".to_owned(), commit: None };
    bench
        .append(by.clone(), EventBody::RecycleSet { service: site(), instances: vec![old.clone()] })
        .unwrap();
    let all = Attention::to_all(&bench.world, &bench.facts);
    let step = crate::step(&bench.world, &bench.facts, &all, &mut || "new".to_owned());
    let [crate::Record::Event(made_by, _)] = &step.records[..] else { panic!("{step:?}") };
    assert_eq!(made_by.who, "root");
    assert_eq!(made_by.why, format!("it takes the place of `{old}`: it leaks"));
}

#[test]
fn a_freeze_holds_back_what_is_replaced_for_its_age_and_nothing_that_is_asked_for() {
    let mut bench = serving(1);
    let (when, old) = due(&bench)[0].clone();
    let (from, until) = (Timestamp(when.0 - 1), when.after(HOUR));
    let name = FreezeName::new("holidays").unwrap();
    let freeze = Freeze { name, from, until, home: true };
    let directory = Directory::new("/srv/shop").unwrap();
    bench.append(root(), EventBody::FreezeDeclared { freeze, directory }).unwrap();
    bench.log.clear();
    bench.facts.now = when;
    assert!(!bench.one_step(), "{:?}", bench.log);
    assert_eq!(bench.wake(), Some(until), "it looks again then");
    // What was marked before it began waits as well.
    let body = EventBody::RecycleSet { service: site(), instances: vec![old.clone()] };
    bench.append(Actor::hornero("its age"), body).unwrap();
    assert!(!bench.one_step(), "{:?}", bench.log);
    let mut asked = bench.clone();
    ask(&mut asked, vec![old.clone()]);
    asked.comply();
    assert_eq!(ids(&asked).len(), 2, "a person waits for no freeze: {:?}", asked.log);
    bench.facts.now = until;
    bench.comply();
    assert_eq!(ids(&bench).len(), 2, "{:?}", bench.log);
}
