//! Repair of a serving set while it can't be told how servers are.

use hornero_model::{InstanceState, Millis};

use super::{Bench, site};
use crate::Effect;

/// Longer than any server may take to become healthy.
const LONG: Millis = Millis(600_000);

/// One of two servers died, and another one runs in its place.
fn repaired() -> Bench {
    let mut bench = Bench::serving(2);
    let dead = bench.instance(1);
    bench.exit(&dead);
    bench.settle();
    for effect in bench.wanted() {
        if let Effect::StartInstance { .. } = effect {
            bench.done(effect);
        }
    }
    bench.settle();
    bench
}

/// How many servers are on their way up.
fn coming(bench: &Bench) -> usize {
    let set = bench.world.services[&site()].serving.as_ref().unwrap();
    let instances = set.instances.iter().filter_map(|id| bench.world.instances.get(id));
    instances
        .filter(|of| !matches!(of.state, InstanceState::Serving | InstanceState::Failed))
        .count()
}

fn created(bench: &Bench) -> usize {
    bench.log.iter().filter(|line| line.contains("created")).count()
}

#[test]
fn nothing_that_runs_is_replaced_while_no_edge_can_tell_how_it_is() {
    let mut bench = repaired();
    assert_eq!((coming(&bench), created(&bench)), (1, 1), "{:?}", bench.log);
    let status = bench.lose_edge();
    for _ in 0..5 {
        bench.pass(LONG);
        bench.settle();
    }
    assert_eq!((coming(&bench), created(&bench)), (1, 1), "{:?}", bench.log);
    // One that ends meanwhile is replaced all the same.
    let other = bench.world.services[&site()].serving.as_ref().unwrap().instances.clone();
    let runs = |id: &&hornero_model::InstanceId| {
        bench.world.instances.get(*id).is_some_and(|of| of.state != InstanceState::Serving)
    };
    let ended = other.iter().find(runs).unwrap().clone();
    bench.exit(&ended);
    bench.settle();
    assert_eq!(created(&bench), 2, "{:?}", bench.log);
    // With an edge there is a time for it again.
    bench.see(status);
    bench.comply();
    assert_eq!((coming(&bench), created(&bench)), (0, 2), "{:?}", bench.log);
}

#[test]
fn an_edge_that_is_back_has_time_to_find_out_how_what_runs_is() {
    let mut bench = repaired();
    let status = bench.lose_edge();
    bench.pass(LONG);
    bench.settle();
    // It knows the one on its way up, and has not checked it yet.
    bench.see(status);
    bench.settle();
    assert_eq!((coming(&bench), created(&bench)), (1, 1), "{:?}", bench.log);
    // One that it does not find well in its time is replaced.
    bench.pass(LONG);
    bench.settle();
    assert_eq!(created(&bench), 2, "{:?}", bench.log);
}
