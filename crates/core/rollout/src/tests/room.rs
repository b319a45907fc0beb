//! Room: what fits beside what is there, what is reserved, and what is said where too little is left.

use expect_test::expect;
use hornero_model::{Millis, ReplacePolicy, Room, ServiceName, ServiceSpec, Strategy};

use super::{Bench, root, site, spec};
use crate::{MakingWay, Phase, Space, StartError, Target, foresee, make_way, start_forward};

/// What one server of the bench may take.
const SERVER: u64 = 1 << 26;

/// All servers together may take as much as so many do.
const fn limit(servers: u64) -> Option<Room> {
    Some(Room { available_bytes: 1 << 40, limit_bytes: Some(servers * SERVER) })
}

/// The host has as much left as so many servers may take.
const fn left(servers: u64) -> Option<Room> {
    Some(Room { available_bytes: servers * SERVER, limit_bytes: None })
}

impl Bench {
    fn holds(&self, spec: &ServiceSpec) -> u32 {
        Space::of(&self.world, &self.facts, spec).unwrap().holds()
    }

    fn refused(&mut self, spec: &ServiceSpec) -> String {
        let (world, facts) = (self.world.clone(), self.facts.clone());
        match start_forward(&world, &facts, spec, &root(), &mut || self.tail()) {
            Err(StartError::NoRoom(no_room)) => no_room.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_decided_is_reserved_before_it_runs() {
    for room in [limit(5), left(3)] {
        let mut bench = Bench::serving(2);
        bench.facts.room = room;
        let api = ServiceSpec { name: ServiceName::new("api").unwrap(), ..spec("api", 2) };
        assert_eq!(bench.holds(&api), 3);
        bench.forward(&spec("two", 2));
        assert_eq!(bench.holds(&api), 1, "two are to come");
        assert_eq!(bench.facts.running.len(), 2);
    }
}

#[test]
fn a_bound_that_is_not_known_is_none() {
    let mut bench = Bench::serving(2);
    assert_eq!(Space::of(&bench.world, &bench.facts, &spec("two", 2)), None);
    bench.forward(&spec("two", 2));
    assert_eq!(bench.world.rollout_of(&site()).unwrap().batched, None);
}

#[test]
fn too_little_room_is_told_with_what_there_is() {
    let mut bench = Bench::serving(2);
    bench.facts.room = limit(2);
    let text = bench.refused(&spec("two", 2));
    expect!["there is no room for 1 server beside those that serve of `site`: 0 are left of the 128MiB that all servers of this home may take, and one needs 64MiB"].assert_eq(&text);
    bench.facts.room = left(0);
    let more = ServiceSpec { instances: 4, ..spec("one", 2) };
    expect!["there is no room for 2 more servers of `site`: the host has 0 of memory left, and one needs 64MiB"].assert_eq(&bench.refused(&more));
    assert_eq!(bench.log, [] as [&str; 0], "nothing was begun");
    // What nothing serves beside comes at once or not at all.
    let mut bench = Bench::new();
    bench.facts.room = limit(1);
    let text = bench.refused(&spec("one", 2));
    expect!["there is no room for 2 servers of `site`: 64MiB are left of the 64MiB"]
        .assert_eq(text.split(" that").next().unwrap());
}

#[test]
fn servers_come_in_batches_and_old_ones_go_only_for_those_that_serve() {
    let mut bench = Bench::serving(3);
    bench.facts.room = limit(4);
    bench.forward(&spec("two", 3));
    let rollout = bench.world.rollout_of(&site()).unwrap();
    assert_eq!((rollout.set.len(), rollout.batched.as_ref().unwrap().at_once), (1, 1));
    let mut waited = false;
    for _ in 0..200 {
        let Some(rollout) = bench.world.rollout_of(&site()) else { break };
        waited |= rollout.rolling.as_ref().is_some_and(|of| of.waits);
        let serving =
            bench.world.instances.values().filter(|of| {
                bench.facts.healthy(&bench.world, &of.id) && bench.facts.routed(&of.id)
            });
        assert!(serving.count() >= 3, "{:?}", bench.log);
        assert!(bench.facts.running.len() <= 4, "{:?}", bench.log);
        if !bench.one_step() {
            let effects = bench.wanted();
            if effects.is_empty() {
                bench.pass(Millis(1_000));
            }
            effects.into_iter().take(1).for_each(|effect| bench.done(effect));
        }
    }
    assert!(waited && bench.phase().is_none(), "{:?}", bench.log);
    let service = &bench.world.services[&site()];
    assert_eq!(service.serving.as_ref().unwrap().instances.len(), 3);
    assert!(service.warm.is_none(), "what is left of the old set is no whole one");
    assert!(service.last_receipt.as_ref().unwrap().body.batched.is_some());
}

#[test]
fn room_that_never_comes_ends_a_rollout_the_way_it_came() {
    let mut bench = Bench::serving(3);
    bench.facts.room = left(1);
    bench.forward(&spec("two", 3));
    bench.facts.room = left(0);
    for _ in 0..400 {
        bench.pass(Millis(1_000));
        bench.comply();
    }
    assert_eq!(bench.phase(), None, "{:?}", bench.log);
    let told = bench.log.iter().any(|line| line.contains("no room came free within"));
    assert!(told, "{:?}", bench.log);
    let set = bench.world.services[&site()].serving.clone().unwrap();
    assert_eq!((set.release.0, set.instances.len()), (1, 3));
}

#[test]
fn a_warm_set_makes_room_and_what_leaves_is_waited_for() {
    let mut bench = Bench::at(Phase::Watching, 0);
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!(bench.world.instances.len(), 4, "two are kept warm");
    bench.facts.room = limit(4);
    let next = spec("three", 2);
    let Target::New(number) = Target::of(&bench.world, &bench.facts, &next) else { panic!() };
    let way = |bench: &Bench| make_way(&bench.world, &bench.facts, &next, number);
    let MakingWay::Ends(records) = way(&bench) else { panic!() };
    bench.record(records);
    assert_eq!(way(&bench), MakingWay::Waits);
    bench.comply();
    assert_eq!(way(&bench), MakingWay::Free);
    assert_eq!(foresee(&bench.world, &bench.facts, &next, number), Ok(None));
}

#[test]
fn servers_replaced_in_their_place_need_no_more_room_than_those_leave() {
    let mut bench = Bench::serving(2);
    bench.facts.room = limit(2);
    let mut next = spec("two", 2);
    next.rollout.keep_warm = Millis(0);
    let (hold, hold_requests) = (Millis(10_000), 100);
    next.rollout.strategy = Strategy::Replace(ReplacePolicy::holding(hold, hold_requests));
    let larger = ServiceSpec { instances: 3, ..next.clone() };
    let text = bench.refused(&larger);
    assert!(text.contains("3 servers in the place of those that serve"), "{text}");
    bench.forward(&next);
    assert_eq!(bench.phase(), Some(Phase::Preparing));
}
