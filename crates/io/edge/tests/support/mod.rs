//! Edges, tables, backends and clients for the tests: real sockets, each test on loopback addresses of its own.
#![allow(dead_code)]

pub mod backend;
pub mod client;
pub mod h2c;
pub mod process;
pub mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use hornero_edge::{Applied, Edge, EdgeClient, EdgeOptions};
use hornero_model::{
    Admission, Check, EdgeStatus, HealthContract, HttpCheck, InstanceId, Listener, Millis, Pool,
    PoolBackend, PoolName, PortName, Protocol, ReleaseNumber, RouteRule, RouteTable, ServiceName,
    Share, TcpCheck,
};

/// An address that no other test listens on: 127/8 is all loopback, so the process and a count make it unique.
pub fn address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let octet = |value: u32| u8::try_from(value % 250 + 2).unwrap();
    let ip = Ipv4Addr::new(127, octet(process / 250), octet(process), octet(count));
    SocketAddr::new(ip.into(), u16::try_from(8000 + count / 250).unwrap())
}

/// Polls until `condition` holds; panics with `what` after ten seconds.
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(Duration::from_secs(10), what, condition);
}

/// Polls until `condition` holds; panics with `what` when it takes longer than `patience`.
pub fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn service() -> ServiceName {
    ServiceName::new("site").unwrap()
}

pub fn pool_name() -> PoolName {
    PoolName { service: service(), port: PortName::new("http").unwrap() }
}

/// A contract with `GET /health`, checked every 20 ms.
pub fn contract(port: u16) -> HealthContract {
    HealthContract {
        check: Check::Http(HttpCheck {
            port,
            path: "/health".to_owned(),
            status: Some(200),
            contains: None,
        }),
        interval: Millis(20),
        timeout: Millis(1000),
        unhealthy_after: 2,
        healthy_after: 1,
        start_timeout: Millis(10_000),
    }
}

pub fn tcp_contract(port: u16) -> HealthContract {
    HealthContract { check: Check::Tcp(TcpCheck { port }), ..contract(port) }
}

/// A table of one listener and one pool, whose sets are given by release.
pub fn table(
    generation: u64,
    listener: SocketAddr,
    active: Option<u32>,
    sets: &[(u32, &[SocketAddr])],
) -> RouteTable {
    table_of(generation, listener, Protocol::Http, active, sets, contract)
}

pub fn table_of(
    generation: u64,
    listener: SocketAddr,
    protocol: Protocol,
    active: Option<u32>,
    sets: &[(u32, &[SocketAddr])],
    contract: impl Fn(u16) -> HealthContract,
) -> RouteTable {
    let backends = sets
        .iter()
        .flat_map(|(release, addresses)| {
            let contract = &contract;
            addresses.iter().map(move |address| {
                let id = format!("site-{release}-{}", hex(*address));
                PoolBackend {
                    instance: InstanceId::new(id).unwrap(),
                    release: ReleaseNumber(*release),
                    address: *address,
                    health: Some(contract(address.port())),
                    proxy_protocol: None,
                    health_proxy_protocol: None,
                }
            })
        })
        .collect();
    RouteTable {
        generation,
        listeners: [Listener {
            address: listener,
            protocol,
            tls: None,
            certificates: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            limits: hornero_model::ListenerLimits::default(),
            rules: vec![RouteRule::new(pool_name())],
        }]
        .into_iter()
        .collect(),
        pools: [Pool {
            name: pool_name(),
            protocol,
            http2: false,
            idle_timeout: None,
            traffic: active
                .map(|release| Share::whole(ReleaseNumber(release)))
                .into_iter()
                .collect(),
            previews: Vec::new(),
            sticky: None,
            probe: None,
            admission: Admission::Open,
            backends,
            health: None,
        }]
        .into_iter()
        .collect(),
    }
}

fn hex(address: SocketAddr) -> String {
    format!("{address}").replace(['.', ':'], "-")
}

/// An edge with a directory of its own and one listener.
pub struct TestEdge {
    pub edge: Option<Edge>,
    pub admin: EdgeClient,
    pub listener: SocketAddr,
    pub dir: tempfile::TempDir,
    generation: u64,
}

impl TestEdge {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut EdgeOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        adjust(&mut options);
        let edge = Edge::start(options).unwrap();
        let admin = EdgeClient::new(dir.path());
        Self { edge: Some(edge), admin, listener: address(), dir, generation: 0 }
    }

    /// An edge in front of one healthy release 1.
    pub fn before(backends: &[SocketAddr]) -> Self {
        let mut edge = Self::start();
        edge.apply(Some(1), &[(1, backends)]);
        edge.until_healthy(backends.len());
        edge
    }

    pub fn apply(&mut self, active: Option<u32>, sets: &[(u32, &[SocketAddr])]) -> Applied {
        self.generation += 1;
        let table = table(self.generation, self.listener, active, sets);
        self.admin.apply(&table).unwrap()
    }

    pub fn put(&mut self, mut table: RouteTable) -> Applied {
        self.generation += 1;
        table.generation = self.generation;
        self.admin.apply(&table).unwrap()
    }

    /// The table on its disk.
    pub fn admin_table(&self) -> RouteTable {
        let text = std::fs::read(self.dir.path().join("routes.json")).unwrap();
        let stored: serde_json::Value = serde_json::from_slice(&text).unwrap();
        serde_json::from_value(stored["table"].clone()).unwrap()
    }

    pub fn until_healthy(&mut self, count: usize) {
        self.until_status("backends are healthy", |status| {
            let healthy = |backend: &&hornero_model::BackendStatus| {
                backend.health == hornero_model::Health::Healthy
            };
            status.backends.iter().filter(healthy).count() == count
        });
    }

    /// Follows the status by `wait` until `condition` holds.
    pub fn until_status(
        &mut self,
        what: &str,
        condition: impl Fn(&EdgeStatus) -> bool,
    ) -> EdgeStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut status = self.admin.status().unwrap();
        while !condition(&status) {
            assert!(Instant::now() < deadline, "timed out waiting until {what}: {status:?}");
            status = self.admin.wait(status.version, Millis(50)).unwrap();
        }
        status
    }

    /// (requests, in flight, failed, server errors) of a release.
    pub fn counters(&mut self, release: u32) -> (u64, u64, u64, u64) {
        let status = self.admin.status().unwrap();
        counters(&status, release)
    }
}

pub fn counters(status: &EdgeStatus, release: u32) -> (u64, u64, u64, u64) {
    status
        .counters
        .iter()
        .find(|counter| counter.release == ReleaseNumber(release))
        .map_or((0, 0, 0, 0), |counter| {
            (counter.requests, counter.in_flight, counter.failed, counter.server_errors)
        })
}

pub fn options(dir: &Path) -> EdgeOptions {
    EdgeOptions { threads: 2, ..EdgeOptions::new(dir) }
}
