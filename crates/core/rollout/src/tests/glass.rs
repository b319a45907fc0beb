//! Broken glass: whoever is in a server is left be until their time is up, and then it is replaced.

use hornero_model::{
    EventBody, ExitCause, GlassEnd, GlassEndReason, GlassId, GlassSession, InstanceId,
    InstanceState, Millis, ReleaseNumber, Share, Timestamp,
};

use crate::{
    Attention,
    tests::{Bench, replacing::replaced, root, site, spec},
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

fn id(name: &str) -> GlassId {
    GlassId::new(name).unwrap()
}

pub(super) fn session(
    instance: &InstanceId,
    name: &str,
    until: Timestamp,
    leaves: bool,
) -> EventBody {
    EventBody::GlassBroken {
        session: Box::new(GlassSession {
            id: id(name),
            instance: instance.clone(),
            service: site(),
            release: ReleaseNumber(1),
            command: vec!["true".to_owned()],
            terminal: false,
            until,
            leaves,
        }),
    }
}

fn ended(instance: &InstanceId, name: &str, reason: GlassEndReason) -> EventBody {
    EventBody::GlassMended {
        end: Box::new(GlassEnd {
            id: id(name),
            instance: instance.clone(),
            service: site(),
            reason,
            cause: Some(ExitCause::Code(0)),
            recording: None,
        }),
    }
}

/// What looks at everything.
fn all(bench: &Bench) -> Attention {
    Attention::to_all(&bench.world, &bench.facts)
}

fn settle(bench: &mut Bench) {
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
fn it_serves_on_while_somebody_is_in_it_and_is_replaced_when_they_have_left() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    settle(&mut bench);
    assert!(serves(&bench, &one), "{:?}", bench.log);
    assert!(bench.world.entered(&one).is_some());
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::Ended)).unwrap();
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
    assert_eq!(count(&bench), 2);
    assert!(bench.world.glass[&id("glass-a")].end.is_some(), "it is remembered");
}

#[test]
fn it_is_replaced_when_its_time_is_up_though_nobody_says_that_they_left() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.comply();
    assert_eq!(
        crate::wake(&bench.world, &bench.facts, &all(&bench)).map(|at| at <= until),
        Some(true)
    );
    bench.facts.now = until;
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
    assert_eq!(count(&bench), 2);
}

#[test]
fn one_that_is_to_leave_gets_no_requests_and_is_kept_until_they_have_left() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, true)).unwrap();
    settle(&mut bench);
    assert!(!serves(&bench, &one) && count(&bench) == 2, "{:?}", bench.log);
    assert!(bench.facts.running.contains_key(&one), "somebody is in it");
    assert!(wanted(&bench.world, &bench.facts, &mut all(&bench)).is_empty());
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::Left)).unwrap();
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}

#[test]
fn a_cancelled_replacement_is_asked_for_again() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::Ended)).unwrap();
    let none = EventBody::RecycleSet { service: site(), instances: Vec::new() };
    bench.append(root(), none).unwrap();
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}

#[test]
fn where_nothing_was_executed_nothing_is_replaced() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::NotEntered)).unwrap();
    settle(&mut bench);
    assert!(serves(&bench, &one) && bench.world.instances[&one].touched.is_none());
    // Somebody who was in it before counts on.
    bench.append(root(), session(&one, "glass-b", until, false)).unwrap();
    bench.append(root(), ended(&one, "glass-b", GlassEndReason::Lost)).unwrap();
    bench.append(root(), session(&one, "glass-c", until, false)).unwrap();
    bench.append(root(), ended(&one, "glass-c", GlassEndReason::NotEntered)).unwrap();
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}

#[test]
fn what_stands_in_the_ledger_is_never_refused() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    // Once more, and by somebody else: the server keeps the mark of the first.
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.append(root(), session(&one, "glass-b", until, false)).unwrap();
    assert_eq!(bench.world.entered(&one).map(|known| &known.session.id), Some(&id("glass-a")));
    assert_eq!(bench.world.open_glass().count(), 2);
    // In a server that is gone, and the end of a session that nobody knows.
    let gone = InstanceId::new("site-9-nobody").unwrap();
    bench.append(root(), session(&gone, "glass-c", until, false)).unwrap();
    bench.append(root(), ended(&gone, "glass-c", GlassEndReason::NotEntered)).unwrap();
    bench.append(root(), ended(&gone, "glass-d", GlassEndReason::Lost)).unwrap();
    assert!(bench.world.glass[&id("glass-c")].end.is_some());
    assert!(!bench.world.glass.contains_key(&id("glass-d")));
    // The second was in it, if the first was not.
    bench.append(root(), ended(&one, "glass-b", GlassEndReason::Ended)).unwrap();
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::NotEntered)).unwrap();
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::NotEntered)).unwrap();
    assert_eq!(bench.world.open_glass().count(), 0);
    settle(&mut bench);
    assert!(!bench.world.instances.contains_key(&one), "{:?}", bench.log);
}

#[test]
fn who_was_in_it_counts_though_their_session_is_forgotten() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.append(root(), ended(&one, "glass-a", GlassEndReason::Lost)).unwrap();
    // As many as are remembered come after it.
    for number in 0..210 {
        let name = format!("glass-b{number}");
        bench.append(root(), session(&one, &name, until, false)).unwrap();
        bench.append(root(), ended(&one, &name, GlassEndReason::NotEntered)).unwrap();
    }
    assert!(!bench.world.glass.contains_key(&id("glass-a")));
    assert!(bench.world.instances[&one].touched.is_some());
}

#[test]
fn a_release_in_place_does_not_wait_for_whoever_is_in_it() {
    let (mut bench, one) = serving();
    let until = bench.facts.now.after(Millis(100_000_000));
    bench.append(root(), session(&one, "glass-a", until, false)).unwrap();
    bench.forward(&replaced("two"));
    bench.in_place(Bench::done);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))], "{:?}", bench.log);
    assert_eq!((bench.running(1), bench.running(2)), (0, 2), "{:?}", bench.log);
}
