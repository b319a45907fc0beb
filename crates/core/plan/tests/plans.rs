//! A world and a wish go in; the plan comes out.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use expect_test::{Expect, expect};
use hornero_model::{
    Actor, BackendStatus, CanaryPolicy, Check, Digest, Directory, EdgeName, EdgeStatus, Health,
    HealthContract, HttpCheck, ImageName, InstanceHandle, InstanceId, InstanceState, Keep, KeyName,
    Location, Millis, OnInconclusive, Place, PoolName, Port, PortName, Protocol, PublicKey,
    Release, ReleaseNumber, Resources, RolloutPolicy, Route, ServiceName, ServiceSpec, Strategy,
    Timestamp, TrustedKey,
};
use hornero_plan::{Action, DesiredImage, clashes, plan};
use hornero_rollout::{Facts, Instance, KnownEdge, Running, Service, ServingSet, World};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn port(text: &str) -> PortName {
    PortName::new(text).unwrap()
}

fn site() -> ServiceSpec {
    let resources = Resources { memory_bytes: 64 << 20, cpu_millis: 1_000, pids: 256 };
    let image_name = ImageName::new("site").unwrap();
    ServiceSpec {
        instances: 2,
        ports: vec![Port::new(port("http"), 8080, Protocol::Http)],
        health: Some(HealthContract {
            check: Check::Http(HttpCheck {
                port: 8080,
                path: "/".to_owned(),
                status: None,
                contains: None,
            }),
            interval: Millis(500),
            timeout: Millis(1_000),
            unhealthy_after: 3,
            healthy_after: 1,
            start_timeout: Millis(30_000),
        }),
        routes: vec![route(8000)],
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(30_000),
            keep_warm: Millis(600_000),
            watch: Millis(2_000),
        },
        egress: true,
        ..ServiceSpec::of_image(name("site"), image_name, Digest::of(b"one"), resources)
    }
}

fn route(listen: u16) -> Route {
    Route::new(listen, port("http"), Protocol::Http)
}

fn release(number: u32, spec: ServiceSpec) -> (ReleaseNumber, Release) {
    let number = ReleaseNumber(number);
    let release = Release {
        number,
        spec_digest: Release::digest_of(&spec),
        spec,
        created: Timestamp(0),
        by: Actor::hornero("a test"),
    };
    (number, release)
}

/// A world in which `releases` were made and the one at `serving` serves with two instances, of which the first
/// `healthy` are healthy.
fn world(releases: Vec<ServiceSpec>, serving: u32, healthy: usize) -> (World, Facts) {
    let mut world = World::default();
    let (mut facts, mut status) = (Facts::default(), EdgeStatus::default());
    let number = ReleaseNumber(serving);
    let mut instances = BTreeSet::new();
    for index in 0..2 {
        let id = InstanceId::compose(&name("site"), number, &format!("t{index}")).unwrap();
        let instance = Instance {
            id: id.clone(),
            service: name("site"),
            release: number,
            state: InstanceState::Serving,
            cause: None,
            created: Timestamp(0),
            since: Timestamp(0),
            recycle: None,
            quarantine: None,
            touched: None,
            region: Default::default(),
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let handle = InstanceHandle::new("1");
        let location = Location { address, place: Place::local(), handle };
        facts.running.insert(id.clone(), Running { location, since: Timestamp(0) });
        status.backends.push(BackendStatus {
            pool: PoolName { service: name("site"), port: port("http") },
            instance: id.clone(),
            release: number,
            health: if index < healthy { Health::Healthy } else { Health::Unhealthy },
            last_error: None,
        });
        world.instances.insert(instance);
        instances.insert(id);
    }
    facts.edges.insert(EdgeName::default(), KnownEdge::default());
    facts.here.saw_edge(&EdgeName::default(), status, Timestamp(0));
    let numbered = (1..).zip(releases).map(|(number, spec)| release(number, spec));
    let service = Service {
        name: name("site"),
        releases: numbered.collect(),
        proven: BTreeSet::from([number]),
        served: BTreeSet::from([number]),
        serving: (serving > 0).then_some(ServingSet {
            release: number,
            terms: number,
            leaving: None,
            instances,
        }),
        warm: None,
        last_receipt: None,
        directory: None,
        removed: serving == 0,
        made: vec![],
        failures: 0,
        last_failure: None,
        recycle_failures: 0,
        last_recycle_failure: None,
        restoring: 0,
        host_starts: Vec::new(),
        listener_spells: Vec::new(),
        canaries: BTreeMap::new(),
        interventions: BTreeMap::new(),
        failed: BTreeMap::new(),
        shared: None,
        scaled: None,
        scaling: 0,
        made_by_load: Vec::new(),
        steps: BTreeMap::new(),
    };
    world.services = BTreeMap::from([(name("site"), service)]);
    (world, facts)
}

fn check(
    images: &[DesiredImage],
    wanted: &[ServiceSpec],
    (world, facts): &(World, Facts),
    expected: Expect,
) {
    let plan = plan(None, images, wanted, world, facts);
    expected.assert_eq(&serde_json::to_string_pretty(&plan).unwrap());
}

fn image(name: &str, bake: Option<&str>) -> DesiredImage {
    DesiredImage { name: ImageName::new(name).unwrap(), bake: bake.map(str::to_owned) }
}

#[test]
fn what_serves_whole_needs_nothing() {
    let images = [image("site", None)];
    check(
        &images,
        &[site()],
        &world(vec![site()], 1, 2),
        expect![[r#"
        {
          "changes": []
        }"#]],
    );
}

#[test]
fn what_is_not_there_is_created() {
    let images = [image("base", None), image("site", Some("`public/index.html` is new"))];
    let mut unbaked = site();
    unbaked.image = Digest::from_bytes([0; 32]);
    check(
        &images,
        &[unbaked],
        &(World::default(), Facts::default()),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "image",
              "object": "site",
              "action": "bake",
              "reason": "`public/index.html` is new"
            },
            {
              "kind": "service",
              "object": "site",
              "action": "create",
              "reason": "it does not exist yet"
            }
          ]
        }"#]],
    );
    // It was taken down.
    check(
        &[],
        &[site()],
        &world(vec![site()], 0, 0),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "create",
              "reason": "it was taken down"
            }
          ]
        }"#]],
    );
}

#[test]
fn what_differs_is_named() {
    let mut wanted = site();
    wanted.image = Digest::of(b"two");
    wanted.instances = 3;
    wanted.ports[0].container = 9090;
    wanted.ports.push(Port::new(port("sql"), 5432, Protocol::Tcp));
    let health = wanted.health.as_mut().unwrap();
    health.interval = Millis(250);
    health.check = Check::Http(HttpCheck {
        port: 9090,
        path: "/up".to_owned(),
        status: Some(204),
        contains: None,
    });
    wanted.routes =
        vec![route(8001), Route { host: Some("a.example.org".to_owned()), ..route(8001) }];
    wanted.rollout.keep_warm = Millis(0);
    wanted.resources = Resources { memory_bytes: 1 << 30, cpu_millis: 1_500, pids: 256 };
    wanted.egress = false;
    wanted.depends_on = vec![name("db")];
    wanted.max_age = Some(Millis(72 * 3_600_000));
    wanted.stop_signal = Some(hornero_model::StopSignal::Quit);
    wanted.stop_grace = Some(Millis(60_000));
    wanted.routes[0].redirect_to = Some(443);
    check(
        &[],
        std::slice::from_ref(&wanted),
        &world(vec![site()], 1, 2),
        expect![[r#"
            {
              "changes": [
                {
                  "kind": "service",
                  "object": "site",
                  "action": "replace",
                  "reason": "image `site` changed from 7692c3ad3540 to 3fc4ccfe7458, `depends_on.db` added, `egress` changed from true to false, `health.http.path` changed from `/` to `/up`, `health.http.port` changed from 8080 to 9090, `health.http.status` set to 204, `health.interval` changed from 500ms to 250ms, `instances` changed from 2 to 3, `max_age` set to 3days, `port.http.container` changed from 8080 to 9090, `port.sql` added, `resources.cpus` changed from 1 to 1.5, `resources.memory` changed from 64MiB to 1GiB, `rollout.keep_warm` changed from 10m to 0s, `route.8000` removed, `route.8001` added, `route.8001 a.example.org` added, `stop_grace` set to 1m, `stop_signal` set to `SIGQUIT`"
                }
              ]
            }"#]],
    );

    let mut tcp = wanted.clone();
    tcp.health.as_mut().unwrap().check = Check::Tcp(hornero_model::TcpCheck { port: 9090 });
    tcp.routes.reverse();
    tcp.max_age = None;
    tcp.keep = Keep { releases: 5, days: 30 };
    tcp.trust = vec![TrustedKey {
        name: KeyName::new("ci").unwrap(),
        public_key: PublicKey::from_bytes([1; 32]),
    }];
    check(
        &[],
        &[tcp],
        &world(vec![wanted], 1, 2),
        expect![[r#"
            {
              "changes": [
                {
                  "kind": "service",
                  "object": "site",
                  "action": "replace",
                  "reason": "`health.http` removed, `health.tcp` added, `keep_days` changed from 0 to 30, `max_age` no longer 3days, the order of `routes` changed, `trust.ci` added"
                }
              ]
            }"#]],
    );
}

#[test]
fn an_image_still_to_be_baked_replaces() {
    let images = [image("site", Some("package `nginx-light` is newer in the lock"))];
    // The digest of the last bake says nothing about the next.
    check(
        &images,
        &[site()],
        &world(vec![site()], 1, 2),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "image",
              "object": "site",
              "action": "bake",
              "reason": "package `nginx-light` is newer in the lock"
            },
            {
              "kind": "service",
              "object": "site",
              "action": "replace",
              "reason": "image `site` is to be baked"
            }
          ]
        }"#]],
    );
}

#[test]
fn what_died_is_repaired() {
    check(
        &[],
        &[site()],
        &world(vec![site()], 1, 1),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "repair",
              "reason": "1 of 2 instances serve healthy"
            }
          ]
        }"#]],
    );
    let (mut world, mut facts) = world(vec![site()], 1, 0);
    world.services.get_mut(&name("site")).unwrap().failures = 10;
    facts.here.lost_edge(&EdgeName::default(), Timestamp(0));
    check(
        &[],
        &[site()],
        &(world, facts),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "repair",
              "reason": "0 of 2 instances serve healthy; replacing was given up after 10 failures in a row"
            }
          ]
        }"#]],
    );
}

#[test]
fn the_newest_release_comes_again_after_a_rollback() {
    let mut newer = site();
    newer.instances = 4;
    check(
        &[],
        &[newer.clone()],
        &world(vec![site(), newer], 1, 2),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "scale",
              "reason": "`site@2` is the newest release and does not serve, `instances` changed from 2 to 4; 2 instances are started beside those that run"
            }
          ]
        }"#]],
    );
}

#[test]
fn services_of_other_directories_stay() {
    check(
        &[],
        &[],
        &world(vec![site()], 1, 2),
        expect![[r#"
        {
          "changes": []
        }"#]],
    );
}

#[test]
fn equal_worlds_give_equal_plans() {
    let mut wanted = site();
    wanted.egress = false;
    let (world, facts) = world(vec![site()], 1, 2);
    let first = plan(None, &[], std::slice::from_ref(&wanted), &world, &facts);
    assert_eq!(first, plan(None, &[], &[wanted], &world, &facts));
    assert_eq!(first.changes.len(), 1);
}

#[test]
fn an_image_that_is_to_be_baked_says_nothing_of_its_base() {
    let serving = ServiceSpec { base: Some(Digest::of(b"base")), ..site() };
    let wanted = ServiceSpec { image: Digest::from_bytes([0; 32]), base: None, ..site() };
    check(
        &[],
        &[wanted],
        &world(vec![serving], 1, 2),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "replace",
              "reason": "image `site` is to be baked"
            }
          ]
        }"#]],
    );
}

#[test]
fn a_canary_says_its_shares() {
    let mut wanted = site();
    wanted.image = Digest::of(b"two");
    wanted.rollout.strategy = Strategy::Canary(CanaryPolicy {
        steps: vec![1_000, 2_550],
        step_timeout: Millis(60_000),
        on_inconclusive: OnInconclusive::Abort,
        sticky: None,
        judge: None,
        probe: None,
    });
    check(
        &[],
        &[wanted],
        &world(vec![site()], 1, 2),
        expect![[r#"
        {
          "changes": [
            {
              "kind": "service",
              "object": "site",
              "action": "replace",
              "reason": "image `site` changed from 7692c3ad3540 to 3fc4ccfe7458, `rollout.on_inconclusive` set to `abort`, `rollout.step_timeout` set to 1m, `rollout.steps` set to `10%, 25.5%`, `rollout.strategy` changed from `blue_green` to `canary`; as a canary: 10%, 25.5%, then all"
            }
          ]
        }"#]],
    );
}

#[test]
fn a_way_in_that_a_service_of_another_directory_has_is_a_problem() {
    let (world, _) = world(vec![site()], 1, 2);
    let other = ServiceSpec { name: name("other"), ..site() };
    let found = clashes(std::slice::from_ref(&other), &[], &world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].reason,
        "`other` can't listen on `0.0.0.0:8000`: `site` does already, for the same host and path"
    );
    assert_eq!(found[0].remedy, "write another port as `listen`, or take `site` down");
    // Both change together, and the file that has both was looked through when it was read.
    let moved = ServiceSpec { routes: vec![route(8001)], ..site() };
    assert_eq!(clashes(&[moved, other.clone()], &[], &world), []);
    // So does one that goes.
    assert_eq!(clashes(&[other], &[name("site")], &world), []);
}

/// A world in which `site` serves for `/a`.
fn of_directory() -> (World, Facts) {
    let (mut world, facts) = world(vec![site()], 1, 2);
    world.services.get_mut(&name("site")).unwrap().directory = Some(Directory::new("/a").unwrap());
    (world, facts)
}

#[test]
fn a_renamed_service_is_told_from_one_that_goes() {
    let (world, facts) = of_directory();
    let directory = Directory::new("/a").unwrap();
    let web = ServiceSpec { name: name("web"), ..site() };
    let renamed = plan(Some(&directory), &[], std::slice::from_ref(&web), &world, &facts);
    let told: Vec<_> = renamed
        .changes
        .iter()
        .map(|change| (change.object.as_str(), change.action, change.renamed.as_deref()))
        .collect();
    // Both want one way in, so the old one goes first.
    let expected = [("site", Action::Remove, Some("web")), ("web", Action::Create, Some("site"))];
    assert_eq!(told, expected);

    let mut other = ServiceSpec { image: Digest::of(b"other"), routes: vec![route(9_000)], ..web };
    other.ports[0].container = 1;
    let apart = plan(Some(&directory), &[], &[other], &world, &facts);
    let told: Vec<_> = apart
        .changes
        .iter()
        .map(|change| (change.object.as_str(), change.action, change.renamed.as_deref()))
        .collect();
    assert_eq!(told, [("web", Action::Create, None), ("site", Action::Remove, None)]);
}

#[test]
fn guards_speak_of_what_is_another_directorys() {
    let (world, facts) = of_directory();
    let directory = Directory::new("/b").unwrap();
    let web = ServiceSpec { name: name("web"), ..site() };
    let plan = plan(Some(&directory), &[], &[site(), web], &world, &facts);
    let foreign: Vec<_> = plan.foreign.iter().map(|of| of.service.as_str()).collect();
    assert_eq!(foreign, ["site"]);
    assert!(plan.foreign[0].reason.contains("`/a`"), "{:?}", plan.foreign);
    assert!(plan.changes.iter().all(|change| change.action != Action::Remove));
}

#[test]
fn a_changed_environment_is_told_by_its_variables() {
    let env = |pairs: &[(&str, &str)]| ServiceSpec {
        env: pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ..site()
    };
    let long = "x".repeat(200);
    check(
        &[],
        &[env(&[("GREETING", "hello"), ("LONG", &long), ("API_TOKEN", "t0k-two")])],
        &world(vec![env(&[("GREETING", "hi"), ("GONE", "1"), ("API_TOKEN", "t0k-one")])], 1, 2),
        expect![[r#"
            {
              "changes": [
                {
                  "kind": "service",
                  "object": "site",
                  "action": "replace",
                  "reason": "`env.API_TOKEN` changed, `env.GONE` no longer `1`, `env.GREETING` changed from `hi` to `hello`, `env.LONG` set to `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…`"
                }
              ]
            }"#]],
    );
}
