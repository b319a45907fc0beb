//! Tables that the edge was given and whose fate nobody knows: they may come into force yet.

use hornero_model::{EdgeRef, ExitCause, InstanceId, Millis, RouteTable};

use super::{Bench, root, site, spec};
use crate::{Effect, Exit, Phase, start_down};

fn table(bench: &Bench) -> Option<RouteTable> {
    bench.wanted().into_iter().find_map(|effect| {
        let Effect::ApplyRoutes { table, .. } = effect else { return None };
        Some(*table)
    })
}

fn apply(table: RouteTable) -> Effect {
    let edge = EdgeRef::default();
    Effect::ApplyRoutes { edge, table: Box::new(table), prepared: false }
}

fn stopped(bench: &Bench) -> Vec<InstanceId> {
    let effects = bench.wanted().into_iter();
    let stopped = effects.filter_map(|effect| {
        let Effect::StopInstance { instance, .. } = effect else { return None };
        Some(instance)
    });
    stopped.collect()
}

/// A rollout that is undone while a table that lists its set is on its way; gives the table.
fn undone() -> (Bench, RouteTable) {
    let mut bench = Bench::preparing();
    for effect in bench.wanted() {
        if matches!(effect, Effect::StartInstance { .. }) {
            bench.done(effect);
        }
    }
    let late = table(&bench).expect("a table with the new set");
    bench.sent(&late);
    let died = bench.instance(2);
    let exit = Exit { cause: ExitCause::Code(1), log_tail: Vec::new() };
    bench.facts.running.remove(&died);
    bench.facts.exited.insert(died, exit);
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Undoing));
    (bench, late)
}

#[test]
fn what_a_table_lists_that_may_come_late_is_not_stopped() {
    let (mut bench, late) = undone();
    assert_eq!(stopped(&bench), [], "table {} may come into force", late.generation);
    // The edge is lost, and is back with the table from before: the late one may still come.
    let edge = bench.lose_edge();
    bench.settle();
    bench.see(edge);
    bench.saw_generation(late.generation - 1);
    assert_eq!(stopped(&bench), []);
    // A newer one keeps it out.
    let next = table(&bench).expect("a table that keeps the late one out");
    assert_eq!(next.generation, late.generation + 1);
    bench.done(apply(next));
    assert_eq!(stopped(&bench).len(), 1, "the other one of the set");
}

#[test]
fn nothing_is_switched_while_another_table_may_come_into_force() {
    let mut bench = Bench::at(Phase::Switching, 0);
    let switch = table(&bench).unwrap();
    bench.sent(&RouteTable { generation: switch.generation + 1, ..RouteTable::default() });
    bench.done(apply(switch));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Switching));
    let next = table(&bench).expect("the same once more, beyond the other");
    bench.done(apply(next));
    bench.settle();
    assert_eq!(bench.phase(), Some(Phase::Watching));
}

#[test]
fn what_is_wanted_is_sent_anew_until_nothing_else_can_come() {
    let mut bench = Bench::serving(1);
    assert_eq!(table(&bench), None);
    let given = RouteTable { generation: 40, ..RouteTable::default() };
    bench.sent(&given);
    let next = table(&bench).unwrap();
    assert_eq!(next.generation, 41);
    bench.sent(&next);
    // Of two that say the same the newer one is enough.
    bench.sent(&RouteTable { generation: 42, ..next.clone() });
    let numbers = |bench: &Bench| -> Vec<u64> {
        bench.facts.unsettled.iter().map(|table| table.generation).collect()
    };
    assert_eq!(numbers(&bench), [40, 42]);
    bench.confirmed(next, Vec::new());
    assert_eq!(numbers(&bench), [42]);
    // The edge is past it: it is refused.
    bench.saw_generation(43);
    assert_eq!(numbers(&bench), [0; 0]);
    assert_eq!(bench.facts.in_force, None, "and what it has is not known");
}

#[test]
fn a_status_with_the_number_of_a_table_that_was_given_settles_nothing() {
    let mut bench = Bench::serving(1);
    bench.forward(&spec("one", 2));
    bench.pass(Millis(1));
    let given = table(&bench).unwrap_or_default();
    let given = RouteTable { generation: bench.facts.next_generation(), ..given };
    bench.sent(&given);
    bench.saw_generation(given.generation);
    assert_eq!(bench.facts.unsettled.len(), 1, "another control may have given it that number");
    assert!(bench.facts.in_force.is_some());
}

#[test]
fn a_drain_begins_when_the_edge_was_seen_to_send_no_more() {
    let mut bench = Bench::serving(2);
    bench.in_flight(1, 3);
    // One fewer is wanted; what is too many leaves once all have been well for a while.
    bench.forward(&spec("one", 1));
    bench.pass(Millis(5_000));
    bench.settle();
    let table = table(&bench).expect("a table without the one that leaves");
    // The edge can't be reached for longer than a drain takes, and sends requests there all that time.
    bench.pass(Millis(10_000));
    bench.done(apply(table));
    assert_eq!(stopped(&bench), [], "requests on it have just begun");
    bench.pass(Millis(1_999));
    assert_eq!(stopped(&bench), []);
    bench.pass(Millis(1));
    assert_eq!(stopped(&bench).len(), 1);
    // Another table starts no drain anew; one that is not known to be the next one does.
    let next =
        RouteTable { generation: 90, ..bench.facts.in_force.as_ref().unwrap().table.clone() };
    bench.done(apply(next.clone()));
    assert_eq!(stopped(&bench).len(), 1);
    bench.saw_generation(91);
    bench.done(apply(RouteTable { generation: 92, ..next }));
    assert_eq!(stopped(&bench), []);
}

#[test]
fn a_table_that_a_newer_one_followed_unseen_may_have_been_in_force_until_then() {
    let mut bench = Bench::serving(1);
    let instance = bench.instance(1);
    let listing = bench.facts.in_force.as_ref().unwrap().table.clone();
    bench.confirmed(RouteTable { generation: 50, ..RouteTable::default() }, Vec::new());
    let left = bench.facts.left_at(&instance);
    let last = RouteTable { generation: 52, ..RouteTable::default() };
    bench.sent(&RouteTable { generation: 51, ..listing });
    bench.sent(&last);
    assert_eq!(bench.facts.left_at(&instance), None, "table 51 may come into force");
    bench.pass(Millis(60_000));
    bench.saw_generation(52);
    bench.confirmed(last, Vec::new());
    assert_ne!(left, Some(bench.facts.now));
    assert_eq!(bench.facts.left_at(&instance), Some(bench.facts.now));
}

#[test]
fn what_goes_down_has_its_drain_from_when_its_ways_in_were_closed() {
    let mut bench = Bench::serving(1);
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    bench.record(start_down(&world, &facts, &site(), &root()).unwrap().records);
    bench.in_flight(1, 2);
    // The edge can't be reached for longer than a drain takes.
    bench.pass(Millis(10_000));
    bench.settle();
    let closed = table(&bench).expect("a table without ways in");
    bench.done(apply(closed));
    let is_cut = |bench: &Bench| {
        let mut effects = bench.wanted().into_iter();
        effects.any(|effect| matches!(effect, Effect::CutInFlight { .. }))
    };
    bench.pass(Millis(1_999));
    bench.settle();
    assert!(!is_cut(&bench));
    bench.pass(Millis(1));
    bench.settle();
    assert!(is_cut(&bench));
}
