//! Services of which nothing has to run: what may end, and what may not.

use hornero_model::{
    Actor, Admission, BackendStatus, Digest, EdgeStatus, Event, EventBody, Health, ImageName,
    InstanceId, Millis, Pool, PoolBackend, PoolName, PortName, Protocol, Release, ReleaseNumber,
    Resources, RouteTable, Scale, ServiceName, ServiceSpec, Share, Timestamp, ToZero,
};

use crate::{Churn, EffectFacts, Seen, WatchdogFacts, check};

const ONE: ReleaseNumber = ReleaseNumber(1);

fn site() -> ServiceName {
    ServiceName::new("site").unwrap()
}

fn server() -> InstanceId {
    InstanceId::new("site-1-a").unwrap()
}

/// What the ledger says of a service with this `scale` that was scaled in these steps.
fn churn(to_zero: bool, scaled: &[(u32, u32)]) -> Churn {
    let to_zero =
        to_zero.then_some(ToZero { idle: Millis(1), hold: Millis(30_000), hold_requests: 9 });
    let scale = Scale {
        minimum: u32::from(to_zero.is_none()),
        maximum: 4,
        in_flight: Some(10),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(1_000),
        to_zero,
    };
    let resources = Resources { memory_bytes: 1, cpu_millis: 1, pids: 1 };
    let image = ImageName::new("site").unwrap();
    let spec = ServiceSpec::of_image(site(), image, Digest::of(b"site"), resources);
    let spec = ServiceSpec { scale: Some(scale), ..spec };
    let by = Actor::hornero("test");
    let release = Release {
        number: ONE,
        spec,
        spec_digest: Digest::of(b"spec"),
        created: Timestamp(0),
        by: by.clone(),
    };
    let scaled =
        scaled.iter().map(|(from, to)| EventBody::Scaled { service: site(), from: *from, to: *to });
    let mut churn = Churn::default();
    let bodies = [
        EventBody::ReleaseCreated { release: Box::new(release) },
        EventBody::ServiceAdjusted { service: site(), release: ONE },
    ];
    for (number, body) in bodies.into_iter().chain(scaled).enumerate() {
        let sequence = number as u64 + 1;
        let hash = Digest::of(b"event");
        let by = by.clone();
        churn.apply(&Event { sequence, time: Timestamp(0), by, body, previous: hash, hash });
    }
    churn
}

/// A table whose one pool holds requests in this way, with the server in it or without.
fn table(admission: Admission, has_server: bool) -> RouteTable {
    let backend = PoolBackend {
        instance: server(),
        release: ONE,
        address: "10.0.0.1:80".parse().unwrap(),
        health: None,
        proxy_protocol: None,
        health_proxy_protocol: None,
    };
    let pool = Pool {
        name: PoolName { service: site(), port: PortName::new("http").unwrap() },
        protocol: Protocol::Http,
        http2: false,
        idle_timeout: None,
        traffic: vec![Share::whole(ONE)],
        previews: Vec::new(),
        sticky: None,
        probe: None,
        admission,
        backends: has_server.then_some(backend).into_iter().collect(),
        health: None,
    };
    let pools = [pool].into_iter().collect();
    RouteTable { generation: 7, listeners: Default::default(), pools }
}

fn edge(in_table: bool) -> EdgeStatus {
    let backend = BackendStatus {
        pool: PoolName { service: site(), port: PortName::new("http").unwrap() },
        instance: server(),
        release: ONE,
        health: Health::Healthy,
        last_error: None,
    };
    let backends = in_table.then_some(backend).into_iter().collect();
    EdgeStatus { pid: 1, generation: 7, version: 1, backends, ..EdgeStatus::default() }
}

const IDLE: Admission = Admission::Idle { wait: Millis(30_000), at_most: 9 };

/// What forbids an effect where the server runs, is healthy, and is in the table in force or was taken from it.
fn refused(churn: &Churn, in_force: &RouteTable, effect: EffectFacts<'_>) -> Option<&'static str> {
    let has_server = in_force.pools.iter().any(|pool| !pool.backends.is_empty());
    let edge = edge(has_server);
    let seen = Seen { service: site(), release: ONE, running: true, holds_volumes: false };
    let facts = WatchdogFacts {
        edge: Some(&edge),
        in_force: Some(in_force),
        engine: [(server(), seen)].into(),
        serving: [(site(), ONE)].into(),
        churn: Some(churn),
        ..WatchdogFacts::default()
    };
    check(&facts, effect).err().map(|refusal| refusal.invariant)
}

#[test]
fn the_last_server_leaves_only_what_rests_by_the_ledger_and_holds_requests() {
    let (with, without) = (table(IDLE, true), table(IDLE, false));
    let open = table(Admission::Open, false);
    let take = |churn: &Churn, after| refused(churn, &with, EffectFacts::Apply { table: after });
    let id = server();
    let stop =
        |churn: &Churn, in_force| refused(churn, in_force, EffectFacts::Stop { instance: &id });
    let asleep = churn(true, &[(1, 0)]);
    assert_eq!((take(&asleep, &without), stop(&asleep, &without)), (None, None));
    // A table that answers 503 in the meantime is none.
    assert_eq!(take(&asleep, &open), Some("last-healthy"));
    assert_eq!(stop(&asleep, &open), Some("last-healthy"));
    for awake in [
        churn(true, &[]),
        churn(true, &[(1, 0), (0, 1)]),
        churn(true, &[(1, 2), (2, 1)]),
        // Nobody declared that it may.
        churn(false, &[(1, 0)]),
    ] {
        assert_eq!(take(&awake, &without), Some("last-healthy"));
        assert_eq!(stop(&awake, &without), Some("last-healthy"));
    }
}

#[test]
fn requests_are_cut_off_only_once_nothing_gets_them() {
    let asleep = churn(true, &[(1, 0)]);
    let service = site();
    let cut = EffectFacts::Cut { service: &service, release: ONE };
    assert_eq!(refused(&asleep, &table(IDLE, true), cut), Some("no-lost-request"));
    assert_eq!(refused(&asleep, &table(IDLE, false), cut), None);
}
