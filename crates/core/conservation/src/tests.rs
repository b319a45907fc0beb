//! Every invariant, allowed and refused.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    Admission, BackendStatus, EdgeStatus, Health, InstanceId, PoolBackend, PortName, Protocol,
    ReleaseCounters, ReleaseNumber, RouteTable, ServiceName, Share,
};

use super::*;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

fn pool_name() -> hornero_model::PoolName {
    hornero_model::PoolName { service: name("site"), port: PortName::new("http").unwrap() }
}

/// A table whose one pool sends to `active` and has these instances, an id beginning with the release's number.
fn table(active: Option<u32>, instances: &[&str]) -> RouteTable {
    let backend = |instance: &&str| PoolBackend {
        instance: id(instance),
        release: release_of(instance),
        address: "10.0.0.1:80".parse().unwrap(),
        health: None,
        proxy_protocol: None,
        health_proxy_protocol: None,
    };
    let pool = hornero_model::Pool {
        name: pool_name(),
        protocol: Protocol::Http,
        http2: false,
        idle_timeout: None,
        traffic: active.map(|release| Share::whole(ReleaseNumber(release))).into_iter().collect(),
        previews: Vec::new(),
        sticky: None,
        probe: None,
        admission: Admission::Open,
        backends: instances.iter().map(backend).collect(),
        health: None,
    };
    let pools = [pool].into_iter().collect();
    RouteTable { generation: 7, listeners: Default::default(), pools }
}

/// The same with several releases, each with a weight.
fn shared(traffic: &[(u32, u32)], instances: &[&str]) -> RouteTable {
    let mut table = table(None, instances);
    let share = |(release, weight): &(u32, u32)| Share {
        release: ReleaseNumber(*release),
        weight: *weight,
    };
    table.pools[0].traffic = traffic.iter().map(share).collect();
    table
}

fn release_of(instance: &str) -> ReleaseNumber {
    ReleaseNumber(instance.split('-').nth(1).unwrap().parse().unwrap())
}

fn edge(backends: &[(&str, Health)]) -> EdgeStatus {
    let status = |(instance, health): &(&str, Health)| BackendStatus {
        pool: pool_name(),
        instance: id(instance),
        release: release_of(instance),
        health: *health,
        last_error: None,
    };
    EdgeStatus {
        pid: 1,
        generation: 7,
        version: 1,
        backends: backends.iter().map(status).collect(),
        counters: Vec::<ReleaseCounters>::new(),
        connections: None,
        faults: Vec::new(),
        term: Default::default(),
        waiting: Vec::new(),
    }
}

fn engine(instances: &[(&str, bool)]) -> BTreeMap<InstanceId, Seen> {
    let seen = |(instance, running): &(&str, bool)| {
        let seen = Seen {
            service: name("site"),
            release: release_of(instance),
            running: *running,
            holds_volumes: false,
        };
        (id(instance), seen)
    };
    instances.iter().map(seen).collect()
}

#[track_caller]
fn check_that(
    facts: &WatchdogFacts<'_>,
    effect: EffectFacts<'_>,
    expected: Result<(), (&str, &str)>,
) {
    let seen = check(facts, effect);
    let seen = seen.as_ref().map_err(|of| (of.invariant, of.reason.as_str()));
    assert_eq!(seen, expected.as_ref().map_err(|refused| *refused));
}

use Health::{Healthy, Unhealthy, Unknown};

const OLD: (&str, Health) = ("site-1-a", Healthy);

#[test]
fn never_unproven_wants_tests_and_a_whole_healthy_set() {
    let before = table(Some(1), &["site-1-a", "site-2-a", "site-2-b"]);
    let after = table(Some(2), &["site-1-a", "site-2-a", "site-2-b"]);
    let tested = BTreeMap::from([((name("site"), ReleaseNumber(2)), Fitness::Tested)]);
    for (fit, second, expected) in [
        (&tested, Healthy, Ok(())),
        (
            &BTreeMap::new(),
            Healthy,
            Err("`site@2` is not proven and its image has not passed its tests"),
        ),
        (&tested, Unknown, Err("1 of 2 instances of `site@2` in `site/http` are healthy")),
        (&tested, Unhealthy, Err("1 of 2 instances of `site@2` in `site/http` are healthy")),
    ] {
        let edge = edge(&[OLD, ("site-2-a", Healthy), ("site-2-b", second)]);
        let facts = WatchdogFacts {
            edge: Some(&edge),
            in_force: Some(&before),
            fit: fit.clone(),
            ..WatchdogFacts::default()
        };
        let expected = expected.map_err(|reason| ("never-unproven", reason));
        check_that(&facts, EffectFacts::Apply { table: &after }, expected);
    }
}

#[test]
fn never_unproven_does_not_believe_an_edge_that_has_not_noticed_a_death() {
    let before = table(Some(1), &["site-1-a", "site-2-a"]);
    let after = table(Some(2), &["site-1-a", "site-2-a"]);
    let edge = edge(&[OLD, ("site-2-a", Healthy)]);
    let facts = WatchdogFacts {
        edge: Some(&edge),
        in_force: Some(&before),
        engine: engine(&[("site-1-a", true), ("site-2-a", false)]),
        fit: BTreeMap::from([((name("site"), ReleaseNumber(2)), Fitness::Tested)]),
        ..WatchdogFacts::default()
    };
    let reason = "0 of 1 instances of `site@2` in `site/http` are healthy";
    check_that(&facts, EffectFacts::Apply { table: &after }, Err(("never-unproven", reason)));
}

#[test]
fn a_release_that_served_before_may_come_back_in_part() {
    let before = table(Some(2), &["site-1-a", "site-1-b", "site-2-a"]);
    let after = table(Some(1), &["site-1-a", "site-1-b"]);
    let edge = edge(&[OLD, ("site-1-b", Unhealthy), ("site-2-a", Unhealthy)]);
    let mut facts =
        WatchdogFacts { edge: Some(&edge), in_force: Some(&before), ..WatchdogFacts::default() };
    let reason = "`site@1` is not proven and its image has not passed its tests";
    check_that(&facts, EffectFacts::Apply { table: &after }, Err(("never-unproven", reason)));
    facts.fit.insert((name("site"), ReleaseNumber(1)), Fitness::Proven);
    check_that(&facts, EffectFacts::Apply { table: &after }, Ok(()));
    facts.fit.clear();
    facts.serving.insert(name("site"), ReleaseNumber(1));
    check_that(&facts, EffectFacts::Apply { table: &after }, Ok(()));
}

#[test]
fn a_greater_weight_wants_as_much_as_a_first_one() {
    let instances = ["site-1-a", "site-2-a", "site-2-b"];
    let before = shared(&[(1, 9_000), (2, 1_000)], &instances);
    let whole = "1 of 2 instances of `site@2` in `site/http` are healthy";
    let unproven = "`site@2` is not proven and its image has not passed its tests";
    let fit = BTreeMap::from([((name("site"), ReleaseNumber(2)), Fitness::Tested)]);
    for (fit, second, weight, expected) in [
        (&fit, Healthy, 2_000, Ok(())),
        (&fit, Unhealthy, 2_000, Err(whole)),
        // What it has, or less, it may have however it is; so may a release that shall get nothing.
        (&fit, Unhealthy, 1_000, Ok(())),
        (&fit, Unhealthy, 999, Ok(())),
        (&BTreeMap::new(), Healthy, 1_000, Ok(())),
        (&BTreeMap::new(), Healthy, 1_001, Err(unproven)),
    ] {
        let edge = edge(&[OLD, ("site-2-a", Healthy), ("site-2-b", second)]);
        let serving = BTreeMap::from([(name("site"), ReleaseNumber(1))]);
        let (edge, in_force, fit) = (Some(&edge), Some(&before), fit.clone());
        let facts = WatchdogFacts { edge, in_force, fit, serving, ..WatchdogFacts::default() };
        let after = shared(&[(1, 10_000 - weight), (2, weight)], &instances);
        let expected = expected.map_err(|reason| ("never-unproven", reason));
        check_that(&facts, EffectFacts::Apply { table: &after }, expected);
    }
}

#[test]
fn a_pool_answers_while_any_of_its_releases_does() {
    let instances = ["site-1-a", "site-2-a"];
    let before = shared(&[(1, 9_000), (2, 1_000)], &instances);
    let serving = BTreeMap::from([(name("site"), ReleaseNumber(1))]);
    let refused =
        Err(("last-healthy", "pool `site/http` would be left without a healthy instance"));
    let sick = edge(&[("site-1-a", Unhealthy), ("site-2-a", Healthy)]);
    let facts = WatchdogFacts {
        edge: Some(&sick),
        in_force: Some(&before),
        serving,
        ..WatchdogFacts::default()
    };
    let after = |traffic: &[(u32, u32)]| shared(traffic, &instances);
    check_that(&facts, EffectFacts::Apply { table: &after(&[(1, 9_500), (2, 500)]) }, Ok(()));
    check_that(&facts, EffectFacts::Apply { table: &after(&[(1, 10_000)]) }, refused);
    let well = edge(&[OLD, ("site-2-a", Healthy)]);
    let facts = WatchdogFacts { edge: Some(&well), ..facts };
    check_that(&facts, EffectFacts::Apply { table: &after(&[(1, 10_000)]) }, Ok(()));
}

#[test]
fn last_healthy_keeps_a_pool_answering() {
    let before = table(Some(1), &["site-1-a", "site-1-b"]);
    let edge = edge(&[OLD, ("site-1-b", Unhealthy)]);
    let refused =
        Err(("last-healthy", "pool `site/http` would be left without a healthy instance"));
    let facts =
        WatchdogFacts { edge: Some(&edge), in_force: Some(&before), ..WatchdogFacts::default() };
    let without = |instances: &[&str], active| table(active, instances);
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-a"], Some(1)) }, Ok(()));
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-b"], Some(1)) }, refused);
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-a"], None) }, refused);
    check_that(&facts, EffectFacts::Apply { table: &RouteTable::default() }, refused);
    let down = WatchdogFacts { going_down: BTreeSet::from([name("site")]), ..facts };
    check_that(&down, EffectFacts::Apply { table: &RouteTable::default() }, Ok(()));
}

#[test]
fn last_healthy_lets_go_of_what_does_not_answer_anyway() {
    let before = table(Some(1), &["site-1-a"]);
    let edge = edge(&[("site-1-a", Unhealthy)]);
    let facts =
        WatchdogFacts { edge: Some(&edge), in_force: Some(&before), ..WatchdogFacts::default() };
    check_that(&facts, EffectFacts::Apply { table: &table(Some(1), &[]) }, Ok(()));
}

#[test]
fn last_healthy_keeps_the_last_running_instance_of_what_serves() {
    let edge = edge(&[]);
    let mut facts = WatchdogFacts {
        edge: Some(&edge),
        engine: engine(&[("site-1-a", true), ("site-1-b", false), ("site-2-a", true)]),
        serving: BTreeMap::from([(name("site"), ReleaseNumber(1))]),
        ..WatchdogFacts::default()
    };
    let last = id("site-1-a");
    let stop = EffectFacts::Stop { instance: &last };
    let reason = "`site-1-a` is the last running instance of `site@1`";
    check_that(&facts, stop, Err(("last-healthy", reason)));
    for other in ["site-1-b", "site-2-a", "site-9-unknown"] {
        check_that(&facts, EffectFacts::Remove { instance: &id(other) }, Ok(()));
    }
    facts.engine.get_mut(&id("site-1-b")).unwrap().running = true;
    check_that(&facts, stop, Ok(()));
    facts.engine.remove(&id("site-1-b"));
    facts.going_down.insert(name("site"));
    check_that(&facts, stop, Ok(()));
}

#[test]
fn what_may_be_routed_to_is_neither_stopped_nor_removed() {
    let (listed, blank) = (edge(&[OLD]), edge(&[]));
    let (with, without) = (table(Some(1), &["site-1-a"]), table(Some(1), &[]));
    let instance = id("site-1-a");
    let reason = "`site-1-a` is in pool `site/http` of a route table that is or may be in force";
    for (edge, in_force, unsettled, expected) in [
        (Some(&blank), Some(&without), vec![], Ok(())),
        (Some(&listed), Some(&without), vec![], Err(reason)),
        (Some(&blank), Some(&with), vec![], Err(reason)),
        (Some(&blank), Some(&without), vec![&without, &with], Err(reason)),
        (None, None, vec![], Err("the edge can't be asked whether it routes to `site-1-a`")),
    ] {
        let facts = WatchdogFacts { edge, in_force, unsettled, ..WatchdogFacts::default() };
        let expected = expected.map_err(|reason| ("no-lost-request", reason));
        check_that(&facts, EffectFacts::Stop { instance: &instance }, expected);
        check_that(&facts, EffectFacts::Remove { instance: &instance }, expected);
    }
}

#[test]
fn only_a_release_without_new_requests_is_cut_off() {
    let in_force = table(Some(2), &["site-1-a", "site-2-a"]);
    let facts = WatchdogFacts { in_force: Some(&in_force), ..WatchdogFacts::default() };
    let site = name("site");
    let cut = |release| EffectFacts::Cut { service: &site, release: ReleaseNumber(release) };
    check_that(&facts, cut(1), Ok(()));
    let reason = "`site@2` gets the requests of `site/http`";
    check_that(&facts, cut(2), Err(("no-lost-request", reason)));
    let few = shared(&[(1, 9_999), (2, 1)], &["site-1-a", "site-2-a"]);
    let facts = WatchdogFacts { in_force: Some(&few), ..WatchdogFacts::default() };
    check_that(&facts, cut(2), Err(("no-lost-request", reason)));
    let reason = "it is not known whether `site@1` gets requests";
    check_that(&WatchdogFacts::default(), cut(1), Err(("no-lost-request", reason)));
}

#[test]
fn by_force_an_instance_ends_that_is_or_may_be_routed() {
    let status = edge(&[OLD]);
    let instance = id("site-1-a");
    for edge in [Some(&status), None] {
        let mut facts = WatchdogFacts {
            edge,
            engine: engine(&[("site-1-a", true)]),
            ..WatchdogFacts::default()
        };
        facts.going_down.insert(name("site"));
        assert!(check(&facts, EffectFacts::Stop { instance: &instance }).is_err());
        facts.forced.insert(name("site"));
        check_that(&facts, EffectFacts::Stop { instance: &instance }, Ok(()));
    }
}

#[test]
fn a_service_that_is_replaced_in_its_place_may_be_without_servers_while_its_requests_are_held() {
    let status = edge(&[("site-1-a", Health::Healthy)]);
    let open = table(Some(1), &["site-1-a"]);
    let mut held = open.clone();
    held.pools[0].admission = Admission::Held { until: hornero_model::Timestamp(1), at_most: 1 };
    let mut empty = held.clone();
    empty.pools[0].backends.clear();
    let facts = |in_force| WatchdogFacts {
        edge: Some(&status),
        in_force: Some(in_force),
        engine: engine(&[("site-1-a", true)]),
        serving: BTreeMap::from([(name("site"), ReleaseNumber(1))]),
        ..WatchdogFacts::default()
    };
    let replaced =
        |in_force| WatchdogFacts { replaced: BTreeSet::from([name("site")]), ..facts(in_force) };
    let refused = |facts: &WatchdogFacts<'_>, table| {
        check(facts, EffectFacts::Apply { table }).err().map(|refusal| refusal.invariant)
    };
    assert_eq!(refused(&facts(&held), &empty), Some("last-healthy"), "nobody declared it");
    assert_eq!(refused(&replaced(&held), &empty), None);
    let mut let_in = empty.clone();
    let_in.pools[0].admission = Admission::Open;
    assert_eq!(refused(&replaced(&held), &let_in), Some("last-healthy"), "nobody would answer");
    // The last server ends only when the table in force holds what is new, and no longer names it.
    let last = id("site-1-a");
    let stops = |in_force| {
        let gone = edge(&[]);
        let facts = WatchdogFacts { edge: Some(&gone), ..replaced(in_force) };
        check(&facts, EffectFacts::Stop { instance: &last }).is_ok()
    };
    let mut unheld = empty.clone();
    unheld.pools[0].admission = Admission::Open;
    assert!(stops(&empty) && !stops(&unheld));
}

#[test]
fn one_writer_wants_the_newest_lease_and_nobody_who_had_one_before() {
    use hornero_model::{Actor, Digest, Event, EventBody, LeaseToken, Timestamp, VolumeName};
    let orders = VolumeName::new("orders").unwrap();
    let mut churn = crate::Churn::default();
    let mut leased = |token: u64, instance: &str| {
        let body = EventBody::VolumeLeased {
            volume: orders.clone(),
            lease: LeaseToken(token),
            service: name("site"),
            instance: id(instance),
        };
        let zero = Digest::from_bytes([0; 32]);
        churn.apply(&Event {
            sequence: token,
            time: Timestamp(token),
            by: Actor::hornero("test"),
            body,
            previous: zero,
            hash: zero,
        });
    };
    leased(1, "site-1-a");
    leased(2, "site-2-a");
    let (service, volumes) = (name("site"), [orders.clone()]);
    let start = |instance| EffectFacts::Start { service: &service, instance, volumes: &volumes };
    let (first, second) = (id("site-1-a"), id("site-2-a"));
    let facts = |alive: &[&InstanceId]| WatchdogFacts {
        churn: Some(&churn),
        alive: alive.iter().map(|id| (*id).clone()).collect(),
        ..WatchdogFacts::default()
    };
    check_that(&facts(&[]), start(&second), Ok(()));
    check_that(&facts(&[&second]), start(&second), Ok(()));
    check_that(
        &facts(&[]),
        start(&first),
        Err(("one-writer", "`site-1-a` has not the newest lease of volume `orders`")),
    );
    check_that(
        &facts(&[&first]),
        start(&second),
        Err(("one-writer", "`site-1-a` had volume `orders`, and is not gone")),
    );
    check_that(
        &WatchdogFacts::default(),
        start(&second),
        Err(("one-writer", "`site-2-a` has not the newest lease of volume `orders`")),
    );
}
