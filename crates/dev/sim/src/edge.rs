//! The simulated edge: health checks, requests that take their time, counters, tables by generation.

mod probing;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use hornero_model::{
    Admission, Health, InstanceId, Pool, PoolName, ReleaseCounters, ReleaseNumber, RouteTable,
    ServiceName, Share, Term,
};

use crate::{
    IdleGates, Random, SimEngine,
    pools::{draw, draw_preview, gets, is_held, receivers},
    probed::SimProbed,
    scenario::DRAIN_TIMEOUT,
};

/// How old what control knows may be: a step of the edge, a late observation, and an effect on its way.
const LATE_NEWS_MS: u64 = 400;
/// Failed checks in a row after which a backend is unhealthy.
const UNHEALTHY_AFTER: u32 = 2;

/// The edge and the requests in it.
#[derive(Debug, Default)]
pub struct SimEdge {
    table: RouteTable,
    /// The table that it has prepared, until it has one in force.
    prepared: Option<RouteTable>,
    pid: u32,
    version: u64,
    term: Term,
    health: BTreeMap<InstanceId, (Health, u32)>,
    /// When each instance last got no new requests any more.
    left_at: BTreeMap<InstanceId, u64>,
    /// What was ended by a stop after its drain, together with all of its release.
    stopped: Vec<(InstanceId, ServiceName, ReleaseNumber, u64)>,
    /// When each instance last passed a check.
    last_passed: BTreeMap<InstanceId, u64>,
    counters: BTreeMap<(PoolName, ReleaseNumber), Counted>,
    requests: Vec<SimRequest>,
    /// Requests that wait at a pool, by it.
    waiting: BTreeMap<PoolName, u64>,
    /// Pools of which nothing has to run.
    pub idle: IdleGates,
    /// Whether control can reach it.
    pub reachable: bool,
    /// Whether it was out of reach for so long that others went on without it, until it follows them.
    pub(crate) was_away: bool,
    /// Why it refuses every table, where it does.
    pub(crate) refuses: Option<String>,
    /// Ports whose listeners can't serve, as without a certificate.
    pub broken: BTreeSet<u16>,
    /// Requests that come to each pool at once, beside the one that always does.
    pub rush: u64,
    /// Services that somebody takes down by force: they may lose requests.
    pub forced: BTreeSet<ServiceName>,
    /// What went wrong that must not: found while it ran.
    pub violations: Vec<String>,
    /// The counters at the moment of each table.
    history: BTreeMap<u64, Vec<ReleaseCounters>>,
    /// Requests that failed through no fault of a server of theirs, by service.
    pub failed: BTreeMap<ServiceName, u64>,
}

/// What is counted of a release.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    requests: u64,
    failed: u64,
    server_errors: u64,
    probed: SimProbed,
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

    /// Whether it does what a control of this term asks; the newest that it has heard of is remembered.
    pub fn obey(&mut self, term: Term) -> bool {
        self.term = self.term.max(term);
        term == self.term
    }

    /// Makes a table ready, or says why not.
    pub fn prepare(&mut self, table: &RouteTable) -> Result<(), String> {
        if let Some(reason) = &self.refuses {
            return Err(reason.clone());
        }
        if table.generation <= self.table.generation && *table != self.table {
            return Err(format!("table {} is in force", self.table.generation));
        }
        self.prepared = Some(table.clone());
        Ok(())
    }

    /// Puts a table in force, or says why not.
    pub fn apply(
        &mut self,
        table: RouteTable,
        engine: &SimEngine,
        now: u64,
        going_down: &[ServiceName],
    ) -> Result<(), String> {
        if table == self.table {
            return Ok(());
        }
        if table.generation <= self.table.generation {
            return Err(format!("table {} is in force", self.table.generation));
        }
        for pool in &self.table.pools {
            let answers = |pool: &Pool| {
                pool.backends.iter().any(|backend| {
                    pool.receives(backend.release)
                        && engine.answers(&backend.instance, now)
                        && self.healthy(&backend.instance)
                })
            };
            let after = table.pools.iter().find(|other| other.name == pool.name);
            if after.is_some_and(|after| is_held(after)) {
                continue;
            }
            if answers(pool)
                && !after.is_some_and(|after| answers(after))
                && !going_down.contains(&pool.name.service)
            {
                // A server may have failed since control last heard, news being late at times; then the next table
                // can't be held against it.
                let lately = |id: &InstanceId| {
                    self.last_passed.get(id).is_some_and(|at| now - at <= LATE_NEWS_MS)
                };
                // One that was away for long follows the others: where requests go was decided without it.
                let alive = after.is_some_and(|after| {
                    self.was_away
                        || after.traffic == pool.traffic
                        || after.backends.iter().any(|backend| {
                            after.receives(backend.release) && lately(&backend.instance)
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
        let (before, after) = (receivers(&self.table), receivers(&table));
        self.left_at.extend(before.difference(&after).map(|id| (id.clone(), now)));
        self.table = table;
        self.prepared = None;
        self.was_away = false;
        self.idle.keep(|pool| self.table.pools.iter().any(|of| of.name == *pool));
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
                let well = engine.was_stopped_well(&request.instance) && !forced;
                if well && self.is_drained(&request, now) {
                    self.note_stopped(&request);
                } else if well {
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
        self.probe(engine, random, now);
        if before != self.inactive_in_flight() || before == 0 {
            self.version += u64::from(before != self.inactive_in_flight());
        }
    }

    /// Whether the server of a request got no new ones for as long as a drain lasts: what is counted with a release that
    /// serves on can't be cut off but by ending it.
    fn is_drained(&self, request: &SimRequest, now: u64) -> bool {
        let left = self.left_at.get(&request.instance);
        !receivers(&self.table).contains(&request.instance)
            && left.is_some_and(|left| now >= left + DRAIN_TIMEOUT.0)
    }

    /// What was ended by a stop since the last call, with a release that gets no requests: its server, whose it was, and
    /// since when it got no new ones. A receipt that says how that release's requests ended must not say otherwise.
    pub(crate) fn take_stopped(&mut self) -> Vec<(InstanceId, ServiceName, ReleaseNumber, u64)> {
        std::mem::take(&mut self.stopped)
    }

    fn note_stopped(&mut self, request: &SimRequest) {
        let pools = self.table.pools.iter().filter(|pool| pool.name == request.pool);
        let serves_on = pools.into_iter().any(|pool| gets(pool, request.release));
        if let (false, Some(left)) = (serves_on, self.left_at.get(&request.instance)) {
            let service = request.pool.service.clone();
            self.stopped.push((request.instance.clone(), service, request.release, *left));
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
            if let Admission::Held { until, at_most } = pool.admission {
                self.hold(&pool.name, (until.0, u64::from(at_most)), &pool.traffic, now);
                continue;
            }
            let comes = !self.idle.silent.contains(&pool.name.service);
            if matches!(pool.admission, Admission::Idle { .. }) && !self.has_receiver(pool) {
                self.hold_idle(pool, comes, now);
                continue;
            }
            let waited = self.waiting.remove(&pool.name).unwrap_or(0);
            let waited = waited + self.idle.let_in(&pool.name, comes, now);
            for _ in 0..waited + if comes { 1 + self.rush } else { 0 } {
                self.begin_request(pool, engine, random, now);
            }
        }
    }

    /// A request comes to a pool that lets nothing in: it waits, where it may.
    fn hold(&mut self, pool: &PoolName, (until, at_most): (u64, u64), traffic: &[Share], now: u64) {
        let Some(share) = traffic.first() else { return };
        let waiting = self.waiting.entry(pool.clone()).or_default();
        let refused =
            if now >= until { std::mem::take(waiting) + 1 } else { u64::from(*waiting >= at_most) };
        *waiting += u64::from(now < until && refused == 0);
        for _ in 0..refused {
            self.counters.entry((pool.clone(), share.release)).or_default().requests += 1;
            self.fail(pool, share.release);
        }
    }

    /// A request comes to a pool of which nothing runs, or none does.
    fn hold_idle(&mut self, pool: &Pool, comes: bool, now: u64) {
        let (failed, is_news) = self.idle.hold(&pool.name, pool.admission, comes, now);
        self.version += u64::from(is_news);
        let Some(share) = pool.traffic.first() else { return };
        for _ in 0..failed {
            self.counters.entry((pool.name.clone(), share.release)).or_default().requests += 1;
            self.fail(&pool.name, share.release);
        }
    }

    /// Whether something healthy gets the requests of a pool.
    fn has_receiver(&self, pool: &Pool) -> bool {
        let mut receives = pool.backends.iter().filter(|of| pool.receives(of.release));
        receives.any(|of| self.healthy(&of.instance))
    }

    fn begin_request(&mut self, pool: &Pool, engine: &SimEngine, random: &mut Random, now: u64) {
        {
            let Some(drawn) = draw(&pool.traffic, random) else { return };
            let shown = draw_preview(&pool.previews, random);
            let drawn = shown.unwrap_or(drawn);
            let ready = |release: ReleaseNumber| -> Vec<&InstanceId> {
                let of_release = pool.backends.iter().filter(|backend| backend.release == release);
                of_release.map(|of| &of.instance).filter(|id| self.healthy(id)).collect()
            };
            let others = pool.traffic.iter().map(|share| share.release);
            let mut releases = iter::once(drawn).chain(others);
            let release = releases.find(|of| !ready(*of).is_empty()).unwrap_or(drawn);
            let ready = ready(release);
            let instance = (!ready.is_empty()).then(|| (*random.choose(&ready)).clone());
            let counted = self.counters.entry((pool.name.clone(), release)).or_default();
            counted.requests += 1;
            if instance.as_ref().is_some_and(|id| engine.errs(id)) && random.chance(20) {
                counted.server_errors += 1;
            }
            // Its checks may not have noticed yet.
            let Some(instance) = instance.filter(|id| engine.answers(id, now)) else {
                self.fail(&pool.name, release);
                return;
            };
            let lasts = match random.between(0, 99) {
                0 => random.between(1_000, 6_000),
                1..=10 => random.between(100, 500),
                _ => random.between(1, 60),
            };
            let pool = pool.name.clone();
            self.requests.push(SimRequest { pool, release, instance, ends: now + lasts });
        }
    }

    /// Cuts off what is in flight on a release while the table of `generation` is in force, or says why not.
    pub fn cut(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
        generation: u64,
        now: u64,
    ) -> Result<(), String> {
        if generation != self.table.generation {
            return Err(format!("table {} is in force", self.table.generation));
        }
        let receives =
            self.table.pools.iter().any(|pool| {
                pool.name.service == *service && pool.receives(release) && !is_held(pool)
            });
        if receives {
            self.violations.push(format!(
                "no-lost-request: `{service}@{release}` was cut off while it got the traffic"
            ));
        }
        let (cut, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.requests).into_iter().partition(|request| {
                service.is_of(&request.pool.service) && request.release == release
            });
        self.requests = left;
        for request in cut {
            self.fail(&request.pool, request.release);
            if !self.forced.contains(service) && !self.is_drained(&request, now) {
                self.violations.push(format!(
                    "no-lost-request: `{service}@{release}` was cut off before its drain was over"
                ));
            }
        }
        self.version += 1;
        Ok(())
    }

    /// Dies and comes back: its table is on disk, everything else is lost.
    pub fn restart(&mut self) {
        self.pid += 1;
        self.version = 0;
        self.prepared = None;
        self.health.clear();
        self.requests.clear();
        self.waiting.clear();
        self.idle.clear();
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

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a request for a service finds a server that it takes for healthy.
    pub(crate) fn serves(&self, service: &ServiceName) -> bool {
        let pools = self.table.pools.iter().filter(|pool| pool.name.service == *service);
        pools.into_iter().any(|pool| self.has_receiver(pool))
    }

    /// The table in force.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Whether it would send a request to an instance.
    pub fn healthy(&self, id: &InstanceId) -> bool {
        self.health.get(id).is_some_and(|state| state.0 == Health::Healthy)
    }

    fn fail(&mut self, pool: &PoolName, release: ReleaseNumber) {
        self.counters.entry((pool.clone(), release)).or_default().failed += 1;
        *self.failed.entry(pool.service.clone()).or_default() += 1;
    }

    fn backends(&self) -> impl Iterator<Item = (&PoolName, &InstanceId, ReleaseNumber)> {
        self.table
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|of| (&pool.name, &of.instance, of.release)))
    }
}
