//! The simulated edge: health checks, requests that take their time, counters, tables by generation.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{
    BackendStatus, EdgeStatus, Health, InstanceId, Listener, ListenerFault, Pool, PoolName,
    ReceiptBody, ReleaseCounters, ReleaseNumber, RouteTable, ServiceName,
};

use crate::{Random, SimEngine};

/// How old what control knows may be: a step of the edge, a late observation, and an effect on its way.
const LATE_NEWS_MS: u64 = 400;
/// Failed checks in a row after which a backend is unhealthy.
const UNHEALTHY_AFTER: u32 = 2;

/// The edge and the requests in it.
#[derive(Debug, Default)]
pub struct SimEdge {
    table: RouteTable,
    pid: u32,
    version: u64,
    health: BTreeMap<InstanceId, (Health, u32)>,
    /// When each instance last passed a check.
    last_passed: BTreeMap<InstanceId, u64>,
    counters: BTreeMap<(PoolName, ReleaseNumber), (u64, u64)>,
    requests: Vec<SimRequest>,
    /// Whether control can reach it.
    pub reachable: bool,
    /// Ports whose listeners can't serve, as without a certificate.
    pub broken: BTreeSet<u16>,
    /// Services that somebody takes down by force: they may lose requests.
    pub forced: BTreeSet<ServiceName>,
    /// What went wrong that must not: found while it ran.
    pub violations: Vec<String>,
    /// The counters at the moment of each table.
    history: BTreeMap<u64, Vec<ReleaseCounters>>,
    /// Requests that failed through no fault of a server of theirs, by service.
    pub failed: BTreeMap<ServiceName, u64>,
}

#[derive(Debug, Clone)]
struct SimRequest {
    pool: PoolName,
    release: ReleaseNumber,
    instance: InstanceId,
    ends: u64,
}

impl SimEdge {
    /// An edge without a table.
    pub fn new() -> Self {
        Self { pid: 1, reachable: true, ..Self::default() }
    }

    /// Puts a table in force, or says why not.
    pub fn apply(
        &mut self,
        table: RouteTable,
        engine: &SimEngine,
        now: u64,
        going_down: &[ServiceName],
    ) -> Result<(), String> {
        if table.generation <= self.table.generation {
            return Err(format!("table {} is in force", self.table.generation));
        }
        for pool in &self.table.pools {
            let answers = |pool: &Pool| {
                pool.active.is_some_and(|active| {
                    pool.backends.iter().any(|backend| {
                        backend.release == active
                            && engine.answers(&backend.instance, now)
                            && self.healthy(&backend.instance)
                    })
                })
            };
            let after = table.pools.iter().find(|other| other.name == pool.name);
            if answers(pool)
                && !after.is_some_and(answers)
                && !going_down.contains(&pool.name.service)
            {
                // A server may have failed since control last heard, news being late at times; then the next table
                // can't be held against it.
                let lately = |id: &InstanceId| {
                    self.last_passed.get(id).is_some_and(|at| now - at <= LATE_NEWS_MS)
                };
                let alive = after.is_some_and(|after| {
                    after.active == pool.active
                        || after.backends.iter().any(|backend| {
                            Some(backend.release) == after.active && lately(&backend.instance)
                        })
                });
                if !alive {
                    self.violations.push(format!(
                        "last-healthy: table {} takes the last healthy server from `{}`",
                        table.generation, pool.name
                    ));
                }
            }
        }
        self.history.insert(table.generation, self.counters());
        self.table = table;
        self.version += 1;
        let names: Vec<InstanceId> = self.backends().map(|(_, id, _)| id.clone()).collect();
        self.health.retain(|id, _| names.contains(id));
        Ok(())
    }

    /// Checks backends, ends requests, begins new ones.
    pub fn tick(&mut self, engine: &SimEngine, random: &mut Random, now: u64, load: bool) {
        self.check_health(engine, now);
        let (ended, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.requests)
            .into_iter()
            .partition(|request| request.ends <= now || !engine.runs(&request.instance));
        self.requests = left;
        let before = self.inactive_in_flight();
        for request in ended {
            if request.ends > now {
                self.fail(&request.pool, request.release);
                let forced = self.forced.contains(&request.pool.service);
                if engine.was_stopped_well(&request.instance) && !forced {
                    self.violations.push(format!(
                        "no-lost-request: `{}` was stopped with a request in flight",
                        request.instance
                    ));
                }
            }
        }
        if load {
            self.begin_requests(engine, random, now);
        }
        if before != self.inactive_in_flight() || before == 0 {
            self.version += u64::from(before != self.inactive_in_flight());
        }
    }

    fn check_health(&mut self, engine: &SimEngine, now: u64) {
        let ids: Vec<InstanceId> = self.backends().map(|(_, id, _)| id.clone()).collect();
        for id in ids {
            let state = self.health.entry(id.clone()).or_insert((Health::Unknown, 0));
            let before = state.0;
            if engine.answers(&id, now) {
                *state = (Health::Healthy, 0);
                self.last_passed.insert(id.clone(), now);
            } else {
                state.1 += 1;
                if state.0 == Health::Healthy && state.1 >= UNHEALTHY_AFTER {
                    state.0 = Health::Unhealthy;
                }
            }
            self.version += u64::from(before != state.0);
        }
    }

    fn begin_requests(&mut self, engine: &SimEngine, random: &mut Random, now: u64) {
        let pools = self.table.pools.clone();
        for pool in &pools {
            let Some(active) = pool.active else { continue };
            let ready: Vec<&InstanceId> = pool
                .backends
                .iter()
                .filter(|backend| backend.release == active && self.healthy(&backend.instance))
                .map(|backend| &backend.instance)
                .collect();
            self.counters.entry((pool.name.clone(), active)).or_default().0 += 1;
            if ready.is_empty() {
                self.fail(&pool.name, active);
                continue;
            }
            let instance = (*random.choose(&ready)).clone();
            if !engine.answers(&instance, now) {
                // Its checks have not noticed yet.
                self.fail(&pool.name, active);
                continue;
            }
            let lasts = match random.between(0, 99) {
                0 => random.between(1_000, 6_000),
                1..=10 => random.between(100, 500),
                _ => random.between(1, 60),
            };
            let pool = pool.name.clone();
            self.requests.push(SimRequest { pool, release: active, instance, ends: now + lasts });
        }
    }

    /// Cuts off what is in flight on a release.
    pub fn cut(&mut self, service: &ServiceName, release: ReleaseNumber) {
        let active = self
            .table
            .pools
            .iter()
            .any(|pool| pool.name.service == *service && pool.active == Some(release));
        if active {
            self.violations.push(format!(
                "no-lost-request: `{service}@{release}` was cut off while it got the traffic"
            ));
        }
        let (cut, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.requests)
            .into_iter()
            .partition(|request| request.pool.service == *service && request.release == release);
        self.requests = left;
        for request in cut {
            self.fail(&request.pool, request.release);
        }
        self.version += 1;
    }

    /// Dies and comes back: its table is on disk, everything else is lost.
    pub fn restart(&mut self) {
        self.pid += 1;
        self.version = 0;
        self.health.clear();
        self.requests.clear();
        self.counters.clear();
    }

    /// Started with its host: its table names addresses of servers that are gone, and is kept without them.
    pub fn start_on_another_boot(&mut self) {
        self.restart();
        self.reachable = true;
        for pool in &mut self.table.pools {
            pool.backends.clear();
        }
    }

    /// What a receipt says that was not so.
    pub fn contradiction(&self, receipt: &ReceiptBody) -> Option<String> {
        let counters = self.history.get(&receipt.generation)?;
        let in_flight: u64 = counters
            .iter()
            .filter(|of| of.pool.service == receipt.service && Some(of.release) == receipt.from)
            .map(|of| of.in_flight)
            .sum();
        let told = receipt.drained + receipt.cut_off;
        if told != in_flight {
            return Some(format!("{in_flight} requests were in flight, {told} are accounted for"));
        }
        let failed = self.failed.get(&receipt.service).copied().unwrap_or(0);
        (receipt.requests_failed > failed).then(|| {
            format!("{failed} requests failed in all, {} in one switch", receipt.requests_failed)
        })
    }

    /// Its status.
    pub fn status(&self) -> EdgeStatus {
        let backends = self.backends().map(|(pool, id, release)| BackendStatus {
            pool: pool.clone(),
            instance: id.clone(),
            release,
            health: self.health.get(id).map_or(Health::Unknown, |state| state.0),
            last_error: None,
        });
        EdgeStatus {
            pid: self.pid,
            generation: self.table.generation,
            version: self.version,
            backends: backends.collect(),
            counters: self.counters(),
            connections: None,
            faults: self.faults(),
        }
    }

    fn faults(&self) -> Vec<ListenerFault> {
        let broken = |listener: &&Listener| self.broken.contains(&listener.address.port());
        let fault = |listener: &Listener| ListenerFault {
            address: listener.address,
            reason: "there is no certificate".to_owned(),
            serves: false,
        };
        self.table.listeners.iter().filter(broken).map(fault).collect()
    }

    /// Counters of every release it knows.
    pub fn counters(&self) -> Vec<ReleaseCounters> {
        self.counters
            .iter()
            .map(|((pool, release), (requests, failed))| ReleaseCounters {
                pool: pool.clone(),
                release: *release,
                requests: *requests,
                in_flight: self
                    .requests
                    .iter()
                    .filter(|request| request.pool == *pool && request.release == *release)
                    .count() as u64,
                failed: *failed,
                server_errors: 0,
            })
            .collect()
    }

    /// The table in force.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Requests in flight on releases that get no new ones.
    pub fn inactive_in_flight(&self) -> usize {
        let active = |request: &&SimRequest| {
            !self
                .table
                .pools
                .iter()
                .any(|pool| pool.name == request.pool && pool.active == Some(request.release))
        };
        self.requests.iter().filter(active).count()
    }

    /// Whether it would send a request to an instance.
    pub fn healthy(&self, id: &InstanceId) -> bool {
        self.health.get(id).is_some_and(|state| state.0 == Health::Healthy)
    }

    fn fail(&mut self, pool: &PoolName, release: ReleaseNumber) {
        self.counters.entry((pool.clone(), release)).or_default().1 += 1;
        *self.failed.entry(pool.service.clone()).or_default() += 1;
    }

    fn backends(&self) -> impl Iterator<Item = (&PoolName, &InstanceId, ReleaseNumber)> {
        self.table
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|of| (&pool.name, &of.instance, of.release)))
    }
}
