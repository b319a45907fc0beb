//! A world and a wish go in; the plan comes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use expect_test::{Expect, expect};
use hornero_model::{
    Actor, BackendStatus, Check, Digest, EdgeStatus, Health, HealthContract, HttpCheck, ImageName,
    InstanceId, InstanceState, Keep, KeyName, Millis, PoolName, Port, PortName, Protocol,
    PublicKey, Release, ReleaseNumber, Resources, RolloutPolicy, Route, ServiceKind, ServiceName,
    ServiceSpec, Strategy, Timestamp, TrustedKey,
};
use hornero_plan::{DesiredImage, plan};
use hornero_rollout::{Facts, Instance, Running, Service, ServingSet, World};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn port(text: &str) -> PortName {
    PortName::new(text).unwrap()
}

fn site() -> ServiceSpec {
    ServiceSpec {
        name: name("site"),
        image_name: ImageName::new("site").unwrap(),
        image: Digest::of(b"one"),
        base: None,
        kind: ServiceKind::Stateless,
        instances: 2,
        ports: vec![Port { name: port("http"), container: 8080, protocol: Protocol::Http }],
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
            start_timeout: Millis(30_000),
        }),
        routes: vec![route(8000)],
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: Millis(30_000),
            keep_warm: Millis(600_000),
            watch: Millis(2_000),
        },
        resources: Resources { memory_bytes: 64 << 20, cpu_millis: 1_000, pids: 256 },
        egress: true,
        depends_on: vec![],
        max_age: None,
        trust: Vec::new(),
        keep: Keep::default(),
    }
}

fn route(listen: u16) -> Route {
    Route {
        listen,
        address: None,
        port: port("http"),
        host: None,
        path_prefix: None,
        protocol: Protocol::Http,
        tls: None,
    }
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
    let mut facts = Facts { edge: Some(EdgeStatus::default()), ..Facts::default() };
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
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        facts.running.insert(id.clone(), Running { address, pid: 1, since: Timestamp(0) });
        facts.edge.as_mut().unwrap().backends.push(BackendStatus {
            pool: PoolName { service: name("site"), port: port("http") },
            instance: id.clone(),
            release: number,
            health: if index < healthy { Health::Healthy } else { Health::Unhealthy },
            last_error: None,
        });
        world.instances.insert(id.clone(), instance);
        instances.insert(id);
    }
    let numbered = (1..).zip(releases).map(|(number, spec)| release(number, spec));
    let service = Service {
        name: name("site"),
        releases: numbered.collect(),
        proven: BTreeSet::from([number]),
        serving: (serving > 0).then_some(ServingSet { release: number, instances }),
        warm: None,
        last_receipt: None,
        removed: serving == 0,
        made: vec![],
        failures: 0,
        last_failure: None,
        restoring: 0,
        host_starts: Vec::new(),
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
    let plan = plan(images, wanted, world, facts);
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
    wanted.ports.push(Port { name: port("sql"), container: 5432, protocol: Protocol::Tcp });
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
              "reason": "image `site` changed from 7692c3ad3540 to 3fc4ccfe7458, `depends_on.db` added, `egress` changed from true to false, `health.http.path` changed from `/` to `/up`, `health.http.port` changed from 8080 to 9090, `health.http.status` set to 204, `health.interval` changed from 500ms to 250ms, `instances` changed from 2 to 3, `max_age` set to 3days, `port.http.container` changed from 8080 to 9090, `port.sql` added, `resources.cpus` changed from 1 to 1.5, `resources.memory` changed from 64MiB to 1GiB, `rollout.keep_warm` changed from 10m to 0s, `route.8000` removed, `route.8001` added, `route.8001 a.example.org` added"
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
    facts.edge = None;
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
              "action": "replace",
              "reason": "`site@2` is the newest release and does not serve, `instances` changed from 2 to 4"
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
    let first = plan(&[], std::slice::from_ref(&wanted), &world, &facts);
    assert_eq!(first, plan(&[], &[wanted], &world, &facts));
    assert_eq!(first.changes.len(), 1);
}
