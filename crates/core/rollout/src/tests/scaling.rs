//! What scaling records, what it never does, and what is folded from it.

use std::collections::BTreeSet;

use hornero_model::{
    Admission, Budget, EventBody, InstanceState, Millis, PoolName, PoolWaiting, PortName,
    ReleaseNumber, Room, Scale, ServiceSpec, ToZero,
};

use crate::{
    Phase, Target, saw_load, scaling,
    tests::{Bench, root, site, spec},
};

fn scale() -> Scale {
    Scale {
        minimum: 1,
        maximum: 8,
        in_flight: Some(10),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(10_000),
        to_zero: None,
    }
}

fn scaled(image: &str) -> ServiceSpec {
    ServiceSpec { scale: Some(scale()), ..spec(image, 1) }
}

impl Bench {
    /// A world in which a scaled `site@1` serves with one server.
    fn scaled() -> Self {
        let mut bench = Self::new();
        bench.forward(&scaled("one"));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.log.clear();
        bench
    }

    /// Seconds of so many requests in flight on a release, all that follows from each done.
    fn load(&mut self, release: u32, seconds: u32, in_flight: u64) {
        for _ in 0..seconds {
            self.pass(Millis(1_000));
            self.in_flight(release, in_flight);
            self.saw_load();
            self.comply();
        }
    }

    fn saw_load(&mut self) {
        saw_load(&self.world, &mut self.facts, &BTreeSet::from([site()]), None);
    }

    fn servers(&self) -> usize {
        self.world.services[&site()].serving.as_ref().unwrap().instances.len()
    }

    fn scales(&self) -> Vec<&String> {
        self.log.iter().filter(|line| line.starts_with("scaled")).collect()
    }
}

#[test]
fn a_load_is_recorded_with_what_is_made_for_it_and_what_is_too_many_leaves() {
    let mut bench = Bench::scaled();
    bench.load(1, 6, 45);
    assert_eq!(bench.log[0], "scaled site from 1 to 5");
    assert_eq!(bench.servers(), 5);
    let service = &bench.world.services[&site()];
    let last = service.scaled.clone().unwrap();
    assert_eq!(last.why.as_deref(), Some("45.0 requests in flight, 10 for each server"));
    assert_eq!((last.wanted, service.scaling), (5, 0));
    assert_eq!(service.made_for_load(bench.facts.now, Millis(3_600_000)), 4);
    assert_eq!(service.made_last_hour(bench.facts.now), (5, 0), "none of them by itself");
    let told = scaling(&bench.world, &bench.facts, &site()).unwrap();
    assert_eq!((told.now, told.last, told.held_back), (5, Some(last), None));
    bench.load(1, 30, 4);
    assert!(bench.scales().last().unwrap().ends_with("to 1"), "{:?}", bench.scales());
    assert_eq!(bench.servers(), 1);
    let serving = bench.world.instances.values().filter(|of| of.state == InstanceState::Serving);
    assert_eq!(serving.count(), 1);
}

#[test]
fn nothing_is_decided_without_an_edge_in_a_rollout_or_while_it_is_held() {
    let mut bench = Bench::scaled();
    bench.load(1, 3, 5);
    let calm = bench.clone();
    // Held by the watchdog.
    bench.facts.held.insert(site());
    bench.load(1, 6, 45);
    let held_back = |bench: &Bench| scaling(&bench.world, &bench.facts, &site()).unwrap().held_back;
    assert_eq!(bench.scales().len(), 0);
    let why = held_back(&bench).unwrap();
    assert!(why.starts_with("its load wants 5 (45.0 requests in flight"), "{why}");
    assert!(why.ends_with("until `hornero resume site`"), "{why}");
    // In a rollout.
    let mut bench = calm.clone();
    bench.forward(&scaled("two"));
    bench.in_flight(1, 45);
    for _ in 0..4 {
        bench.pass(Millis(1_000));
        bench.saw_load();
        bench.one_step();
    }
    assert_eq!((bench.phase(), bench.scales().len()), (Some(Phase::Preparing), 0));
    assert!(held_back(&bench).unwrap().ends_with("rollout 2 is under way"));
    // Without an edge.
    let mut bench = calm;
    bench.in_flight(1, 500);
    bench.lose_edge();
    bench.pass(Millis(1_000));
    bench.saw_load();
    bench.one_step();
    assert_eq!(bench.scales().len(), 0);
    assert_eq!(held_back(&bench), None, "nothing is known");
}

#[test]
fn what_there_is_no_room_for_is_not_made() {
    let mut bench = Bench::scaled();
    bench.facts.room = Some(Room { available_bytes: 3 << 26, limit_bytes: None });
    bench.load(1, 4, 75);
    assert_eq!(bench.scales(), ["scaled site from 1 to 4"]);
    bench.facts.room = Some(Room { available_bytes: 1 << 20, limit_bytes: None });
    bench.load(1, 6, 75);
    assert_eq!(bench.servers(), 4);
    let why = scaling(&bench.world, &bench.facts, &site()).unwrap().held_back.unwrap();
    assert!(why.contains("wants 8") && why.contains("there is no room"), "{why}");
}

#[test]
fn coming_and_going_stops_before_the_watchdog_has_to() {
    let mut bench = Bench::new();
    let mut wave = scaled("one");
    // Eight an hour for its load, half of which are enough to keep what there is.
    wave.budget = Some(Budget { per_hour: 2, per_day: 100 });
    bench.forward(&wave);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    for _ in 0..6 {
        bench.load(1, 6, 25);
        bench.load(1, 40, 4);
    }
    let service = &bench.world.services[&site()];
    assert_eq!(service.made_for_load(bench.facts.now, Millis(3_600_000)), 4);
    assert_eq!(bench.servers(), 3, "they stay: {:?}", bench.scales());
    let why = scaling(&bench.world, &bench.facts, &site()).unwrap().held_back.unwrap();
    assert!(why.contains("4 were made for its load within an hour"), "{why}");
    // More may be made still, as long as there is something left.
    bench.load(1, 6, 75);
    assert_eq!(bench.servers(), 7);
    bench.pass(Millis(3_600_000));
    bench.load(1, 40, 4);
    assert_eq!(bench.servers(), 1);
}

#[test]
fn a_scale_block_alone_moves_no_server() {
    let mut bench = Bench::serving(3);
    let more = ServiceSpec { scale: Some(scale()), ..spec("one", 1) };
    assert!(crate::is_adjustment(&bench.world, &more));
    bench.forward(&more);
    assert_eq!(bench.log, ["created site@2", "adjusted site@2"]);
    bench.comply();
    assert_eq!((bench.servers(), bench.world.serving_size(&site())), (3, 3));
    let unchanged = Target::Unchanged(ReleaseNumber(2));
    assert_eq!(Target::of(&bench.world, &bench.facts, &more), unchanged);
    // Bounds that it is within move nothing either, others move it to them.
    let wider = ServiceSpec { scale: Some(Scale { minimum: 2, ..scale() }), ..spec("one", 2) };
    bench.log.clear();
    bench.forward(&wider);
    bench.comply();
    assert_eq!(bench.log, ["created site@3", "adjusted site@3", "proven site@3"]);
    let least = ServiceSpec { scale: Some(Scale { minimum: 5, ..scale() }), ..spec("one", 5) };
    bench.forward(&least);
    bench.comply();
    assert_eq!((bench.servers(), bench.world.serving_size(&site())), (5, 5));
    // And without one the file decides.
    bench.forward(&spec("one", 2));
    bench.comply();
    bench.pass(Millis(10_000));
    bench.comply();
    assert_eq!(bench.servers(), 2);
}

#[test]
fn a_rollout_makes_as_many_as_are_wanted_now() {
    let mut bench = Bench::scaled();
    bench.load(1, 6, 45);
    bench.in_flight(1, 0);
    bench.forward(&scaled("two"));
    let made = bench.world.instances.values().filter(|of| of.release == ReleaseNumber(2));
    assert_eq!(made.count(), 5);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!((bench.phase(), bench.servers()), (None, 5));
    assert_eq!(bench.world.serving_size(&site()), 5);
    bench.load(2, 30, 4);
    assert_eq!(bench.servers(), 1);
}

#[test]
fn a_number_that_follows_from_no_load_is_no_event() {
    let mut bench = Bench::serving(2);
    let body = EventBody::Scaled { service: site(), from: 2, to: 3 };
    let error = bench.append(root(), body).unwrap_err();
    assert!(error.reason.contains("does not follow from its load"), "{error}");
}

fn sleeper(image: &str) -> ServiceSpec {
    let to_zero = ToZero { idle: Millis(5_000), hold: Millis(20_000), hold_requests: 7 };
    let scale = Scale { minimum: 0, to_zero: Some(to_zero), ..scale() };
    ServiceSpec { scale: Some(scale), ..spec(image, 1) }
}

impl Bench {
    /// A world in which nothing runs of `site@1`, because no request came.
    fn asleep() -> Self {
        let mut bench = Self::new();
        bench.forward(&sleeper("one"));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.log.clear();
        bench.load(1, 20, 0);
        assert_eq!((bench.scales().len(), bench.servers()), (1, 0));
        bench.log.clear();
        bench
    }

    /// So many requests wait for a server.
    fn wait(&mut self, requests: u32) {
        let pool = PoolName { service: site(), port: PortName::new("http").unwrap() };
        self.status(|edge| edge.waiting = vec![PoolWaiting { pool: pool.clone(), requests }]);
    }

    /// How its pool lets requests in.
    fn gate(&self) -> Admission {
        crate::table(&self.world, &self.facts, 1).pools[0].admission
    }
}

#[test]
fn nothing_runs_without_requests_and_who_waits_gets_as_many_servers_as_that_takes() {
    let mut bench = Bench::asleep();
    assert_eq!(bench.gate(), Admission::Idle { wait: Millis(20_000), at_most: 7 });
    assert_eq!(
        crate::repair_state(&bench.world, &bench.facts, &site()),
        Some(crate::RepairState::Whole)
    );
    let unchanged = Target::Unchanged(ReleaseNumber(1));
    assert_eq!(Target::of(&bench.world, &bench.facts, &sleeper("one")), unchanged);
    for (waiting, servers) in [(1, 1), (25, 3), (900, 4)] {
        let mut bench = bench.clone();
        bench.wait(waiting);
        bench.one_step();
        assert_eq!(bench.scales(), [&format!("scaled site from 0 to {servers}")]);
        bench.wait(0);
        bench.comply();
        assert_eq!(bench.servers(), servers);
        // Its pool lets in by itself what comes while something is healthy.
        assert_eq!(bench.gate(), Admission::Idle { wait: Millis(20_000), at_most: 7 });
    }
    bench.facts.room = Some(Room { available_bytes: 0, limit_bytes: None });
    bench.wait(3);
    bench.one_step();
    assert_eq!(bench.scales().len(), 0);
    let why = scaling(&bench.world, &bench.facts, &site()).unwrap().held_back.unwrap();
    assert!(why.contains("wants 1 (3 requests wait for a server), and there is no room"), "{why}");
}

#[test]
fn a_release_that_is_not_proven_and_one_that_is_waited_for_do_not_sleep() {
    let mut bench = Bench::new();
    bench.forward(&sleeper("one"));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let proven = std::mem::take(&mut bench.world.services.get_mut(&site()).unwrap().proven);
    assert_eq!(proven.len(), 1);
    bench.wait(1);
    bench.load(1, 10, 0);
    assert_eq!(bench.servers(), 1, "a request waits");
    bench.world.services.get_mut(&site()).unwrap().proven = proven;
    bench.wait(0);
    bench.load(1, 2, 1);
    bench.load(1, 4, 0);
    assert_eq!(bench.servers(), 1, "the last request was a moment ago");
    bench.load(1, 4, 0);
    assert_eq!(bench.servers(), 0);
}

#[test]
fn a_rollout_while_nothing_runs_makes_one_server_and_who_waits_meanwhile_is_answered_by_what_serves()
 {
    let mut bench = Bench::asleep();
    bench.forward(&sleeper("two"));
    assert_eq!(bench.phase(), Some(Phase::Preparing));
    bench.wait(1);
    bench.one_step();
    assert_eq!(bench.scales(), ["scaled site from 0 to 1"]);
    bench.wait(0);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!((bench.phase(), bench.servers()), (None, 1));
    // Without anybody who waits the next one serves, and is not taken for one too many.
    bench.load(2, 20, 0);
    assert_eq!(bench.servers(), 0);
    bench.forward(&sleeper("three"));
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    assert_eq!((bench.phase(), bench.servers()), (None, 1));
    assert_eq!(bench.world.serving_size(&site()), 1);
}
