//! Every invariant, allowed and refused.

use hornero_model::{BackendStatus, Health, PoolBackend, PortName, Protocol, ReleaseCounters};

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
    };
    let pool = hornero_model::Pool {
        name: pool_name(),
        protocol: Protocol::Http,
        active: active.map(ReleaseNumber),
        backends: instances.iter().map(backend).collect(),
        health: None,
    };
    RouteTable { generation: 7, listeners: Vec::new(), pools: vec![pool] }
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
    }
}

fn engine(instances: &[(&str, bool)]) -> BTreeMap<InstanceId, Seen> {
    let seen = |(instance, running): &(&str, bool)| {
        let seen = Seen { service: name("site"), release: release_of(instance), running: *running };
        (id(instance), seen)
    };
    instances.iter().map(seen).collect()
}

#[track_caller]
fn check_that(facts: &Facts<'_>, effect: EffectFacts<'_>, expected: Result<(), (&str, &str)>) {
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
        let facts = Facts {
            edge: Some(&edge),
            in_force: Some(&before),
            fit: fit.clone(),
            ..Facts::default()
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
    let facts = Facts {
        edge: Some(&edge),
        in_force: Some(&before),
        engine: engine(&[("site-1-a", true), ("site-2-a", false)]),
        fit: BTreeMap::from([((name("site"), ReleaseNumber(2)), Fitness::Tested)]),
        ..Facts::default()
    };
    let reason = "0 of 1 instances of `site@2` in `site/http` are healthy";
    check_that(&facts, EffectFacts::Apply { table: &after }, Err(("never-unproven", reason)));
}

#[test]
fn a_release_that_served_before_may_come_back_in_part() {
    let before = table(Some(2), &["site-1-a", "site-1-b", "site-2-a"]);
    let after = table(Some(1), &["site-1-a", "site-1-b"]);
    let edge = edge(&[OLD, ("site-1-b", Unhealthy), ("site-2-a", Unhealthy)]);
    let mut facts = Facts { edge: Some(&edge), in_force: Some(&before), ..Facts::default() };
    let reason = "`site@1` is not proven and its image has not passed its tests";
    check_that(&facts, EffectFacts::Apply { table: &after }, Err(("never-unproven", reason)));
    facts.fit.insert((name("site"), ReleaseNumber(1)), Fitness::Proven);
    check_that(&facts, EffectFacts::Apply { table: &after }, Ok(()));
    facts.fit.clear();
    facts.serving.insert(name("site"), ReleaseNumber(1));
    check_that(&facts, EffectFacts::Apply { table: &after }, Ok(()));
}

#[test]
fn last_healthy_keeps_a_pool_answering() {
    let before = table(Some(1), &["site-1-a", "site-1-b"]);
    let edge = edge(&[OLD, ("site-1-b", Unhealthy)]);
    let refused =
        Err(("last-healthy", "pool `site/http` would be left without a healthy instance"));
    let facts = Facts { edge: Some(&edge), in_force: Some(&before), ..Facts::default() };
    let without = |instances: &[&str], active| table(active, instances);
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-a"], Some(1)) }, Ok(()));
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-b"], Some(1)) }, refused);
    check_that(&facts, EffectFacts::Apply { table: &without(&["site-1-a"], None) }, refused);
    check_that(&facts, EffectFacts::Apply { table: &RouteTable::default() }, refused);
    let down = Facts { going_down: BTreeSet::from([name("site")]), ..facts };
    check_that(&down, EffectFacts::Apply { table: &RouteTable::default() }, Ok(()));
}

#[test]
fn last_healthy_lets_go_of_what_does_not_answer_anyway() {
    let before = table(Some(1), &["site-1-a"]);
    let edge = edge(&[("site-1-a", Unhealthy)]);
    let facts = Facts { edge: Some(&edge), in_force: Some(&before), ..Facts::default() };
    check_that(&facts, EffectFacts::Apply { table: &table(Some(1), &[]) }, Ok(()));
}

#[test]
fn last_healthy_keeps_the_last_running_instance_of_what_serves() {
    let edge = edge(&[]);
    let mut facts = Facts {
        edge: Some(&edge),
        engine: engine(&[("site-1-a", true), ("site-1-b", false), ("site-2-a", true)]),
        serving: BTreeMap::from([(name("site"), ReleaseNumber(1))]),
        ..Facts::default()
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
    for (edge, in_force, applying, expected) in [
        (Some(&blank), Some(&without), None, Ok(())),
        (Some(&listed), Some(&without), None, Err(reason)),
        (Some(&blank), Some(&with), None, Err(reason)),
        (Some(&blank), Some(&without), Some(&with), Err(reason)),
        (None, None, None, Err("the edge can't be asked whether it routes to `site-1-a`")),
    ] {
        let facts = Facts { edge, in_force, applying, ..Facts::default() };
        let expected = expected.map_err(|reason| ("no-lost-request", reason));
        check_that(&facts, EffectFacts::Stop { instance: &instance }, expected);
        check_that(&facts, EffectFacts::Remove { instance: &instance }, expected);
    }
}

#[test]
fn only_a_release_without_new_requests_is_cut_off() {
    let in_force = table(Some(2), &["site-1-a", "site-2-a"]);
    let facts = Facts { in_force: Some(&in_force), ..Facts::default() };
    let site = name("site");
    let cut = |release| EffectFacts::Cut { service: &site, release: ReleaseNumber(release) };
    check_that(&facts, cut(1), Ok(()));
    let reason = "`site@2` gets the requests of `site/http`";
    check_that(&facts, cut(2), Err(("no-lost-request", reason)));
    let reason = "it is not known whether `site@1` gets requests";
    check_that(&Facts::default(), cut(1), Err(("no-lost-request", reason)));
}

#[test]
fn churn_is_bounded_by_the_hour() {
    let site = name("site");
    let start = EffectFacts::Start { service: &site };
    for (all, unrequested, expected) in [
        (UNREQUESTED_AN_HOUR, UNREQUESTED_AN_HOUR, Ok(())),
        (61, 61, Err("61 instances of `site` were made in an hour without being asked, 60 may be")),
        (INSTANCES_AN_HOUR, 0, Ok(())),
        (10_001, 0, Err("10001 instances of `site` were made in an hour, 10000 may be")),
    ] {
        let made_last_hour = BTreeMap::from([(site.clone(), Made { all, unrequested })]);
        let facts = Facts { made_last_hour, ..Facts::default() };
        check_that(&facts, start, expected.map_err(|reason| ("bounded-churn", reason)));
    }
    check_that(&Facts::default(), start, Ok(()));
}

#[test]
fn by_force_an_instance_ends_that_is_or_may_be_routed() {
    let status = edge(&[OLD]);
    let instance = id("site-1-a");
    for edge in [Some(&status), None] {
        let mut facts = Facts { edge, engine: engine(&[("site-1-a", true)]), ..Facts::default() };
        facts.going_down.insert(name("site"));
        assert!(check(&facts, EffectFacts::Stop { instance: &instance }).is_err());
        facts.forced.insert(name("site"));
        check_that(&facts, EffectFacts::Stop { instance: &instance }, Ok(()));
    }
}
