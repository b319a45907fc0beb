//! The control thread: the table in force, the sets' counters, the backends' probers, what the workers are told.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hornero_model::{
    BackendStatus, EdgeStatus, Listener, ListenerFault, ReleaseNumber, RouteTable, ServiceName,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, spawn_local},
};

use crate::{
    admin::protocol::{Applied, EdgeIdentity, Greeting, TakeoverReport},
    edge::EdgeOptions,
    error::EdgeError,
    health::{News, probe_for_ever},
    net::{lacks_family, open_listeners},
    persist,
    sets::{SetKey, Sets},
    table::{self, Backend, ListenerRules, PoolSets, Table, validate},
    takeover::Predecessor,
    tls::{self, Certificates},
    worker::{Command, Common},
};

/// How often a listener that could not be opened at start is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// The state of the control thread.
pub(crate) struct Control {
    pub(crate) options: EdgeOptions,
    pub(crate) common: Arc<Common>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    /// The version of the status.
    pub(crate) version: watch::Sender<u64>,
    pub(crate) sets: Sets,
    pub(crate) predecessor: RefCell<Option<Rc<Predecessor>>>,
    /// Told when the predecessor has ended.
    pub(crate) predecessor_gone: Notify,
    /// How this edge took over.
    pub(crate) takeover: RefCell<Option<TakeoverReport>>,
    /// Connections of successors that were told that this edge has let go.
    pub(crate) successors: Cell<usize>,
    /// Told when the last of them breaks.
    pub(crate) orphaned: Notify,
    /// How long what is open may go on once a successor has taken over.
    pub(crate) handover_timeout: Cell<Duration>,
    table: RefCell<Arc<Table>>,
    pub(crate) certificates: Certificates,
    /// Why listeners could not be opened; each is tried again and again, and the others serve.
    unopened: RefCell<BTreeMap<SocketAddr, String>>,
    probers: RefCell<Vec<(Arc<Backend>, AbortHandle)>>,
    /// Every listening socket; the workers have duplicates. What a successor gets. Kept until the end, so that this edge
    /// can accept again should its successor die.
    pub(crate) sockets: RefCell<BTreeMap<SocketAddr, Vec<OwnedFd>>>,
    /// Held while a table is put in force.
    pub(crate) applying: tokio::sync::Mutex<()>,
    persisted: Cell<bool>,
    /// Whether the listening sockets have gone to a successor, or the edge drains to exit.
    pub(crate) leaving: watch::Sender<bool>,
    /// Told when a client asks the edge to stop.
    pub(crate) stop: Arc<Notify>,
}

impl Control {
    pub(crate) fn new(
        options: EdgeOptions,
        common: Arc<Common>,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        first_version: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            sets: Sets::new(workers.len()),
            handover_timeout: Cell::new(options.limits.handover_timeout),
            options,
            common,
            workers,
            version: watch::Sender::new(first_version),
            predecessor: RefCell::new(None),
            predecessor_gone: Notify::new(),
            takeover: RefCell::new(None),
            successors: Cell::new(0),
            orphaned: Notify::new(),
            table: RefCell::new(table::empty()),
            certificates: Certificates::default(),
            unopened: RefCell::default(),
            probers: RefCell::default(),
            sockets: RefCell::default(),
            applying: tokio::sync::Mutex::new(()),
            persisted: Cell::new(true),
            leaving: watch::Sender::new(false),
            stop: Arc::new(Notify::new()),
        })
    }

    /// Has the edge drain and exit.
    pub(crate) fn request_stop(&self) {
        self.stop.notify_one();
    }

    pub(crate) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    /// Resolves once the edge leaves.
    pub(crate) async fn left(&self) {
        // The sender lives as long as `self`.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.borrow().clone()
    }

    /// Puts a table in force: checks it, opens what is new, switches every thread, writes it to disk. A listener that can't
    /// serve keeps no other from it: the status tells of it.
    pub(crate) async fn apply(self: &Rc<Self>, source: RouteTable) -> Result<Applied, EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        let current = self.table();
        if source == current.source {
            self.persist(&current).await?;
            return Ok(Applied {
                generation: source.generation,
                switch_ms: 0.0,
                counters: self.sets.read(),
            });
        }
        if source.generation <= current.source.generation {
            return Err(EdgeError::StaleGeneration {
                given: source.generation,
                current: current.source.generation,
            });
        }
        let table = self.prepare(source, &current, &[])?;
        let opened = self.open_missing(&table);
        let fresh = self.keep_sockets(opened);
        let switch_ms = self.switch(table.clone(), fresh).await;
        let counters = self.sets.read();
        self.persist(&table).await?;
        Ok(Applied { generation: table.source.generation, switch_ms, counters })
    }

    /// Puts the first table in force: from disk, or from a predecessor with its sockets and its view of health.
    pub(crate) async fn start(
        self: &Rc<Self>,
        source: RouteTable,
        health: &[BackendStatus],
        inherited: BTreeMap<SocketAddr, Vec<OwnedFd>>,
    ) -> Result<(), EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        let table = self.prepare(source, &self.table(), health)?;
        let mut fresh = self.keep_sockets(inherited.into_iter().collect());
        let opened = self.open_missing(&table);
        fresh.extend(self.keep_sockets(opened));
        self.switch(table, fresh).await;
        spawn_local(retry_listening(self.clone()));
        spawn_local(report_ended(self.clone()));
        spawn_local(tls::watch(self.clone()));
        Ok(())
    }

    /// Makes a table ready to be used; nothing of it takes effect.
    fn prepare(
        &self,
        source: RouteTable,
        current: &Table,
        health: &[BackendStatus],
    ) -> Result<Arc<Table>, EdgeError> {
        validate(&source)
            .map_err(|fault| EdgeError::InvalidTable { generation: source.generation, fault })?;
        let mut listeners = Vec::new();
        for listener in &source.listeners {
            let tls = listener.tls.as_ref().map(|files| self.certificates.of(files));
            let gauge = self.common.rooms.gauge(listener.address);
            listeners.push(ListenerRules::new(listener, &source.pools, tls, gauge));
        }
        listeners.sort_by_key(|listener| listener.address);
        let (mut pools, mut backends) = (Vec::new(), Vec::new());
        for pool in &source.pools {
            let of_pool: Vec<Arc<Backend>> = pool
                .backends
                .iter()
                .map(|backend| {
                    let known = current.backends.iter().find(|known| known.is(pool, backend));
                    known.cloned().unwrap_or_else(|| Backend::new(pool, backend))
                })
                .collect();
            for backend in &of_pool {
                let seen = health.iter().find(|seen| {
                    seen.pool == backend.pool
                        && seen.instance == backend.instance
                        && seen.release == backend.release
                });
                if let Some(seen) = seen {
                    backend.set_health(seen.health);
                }
            }
            let active = pool.active.map(|release| {
                let serving = of_pool.iter().filter(|backend| backend.release == release);
                (self.sets.of(&pool.name, release), serving.cloned().collect())
            });
            for backend in &of_pool {
                self.sets.of(&pool.name, backend.release);
            }
            pools.push(PoolSets { name: pool.name.clone(), active });
            backends.extend(of_pool);
        }
        Ok(Arc::new(Table { source, listeners, pools, backends }))
    }

    /// Opens the listeners that are not open yet, as far as possible.
    fn open_missing(&self, table: &Table) -> Vec<(SocketAddr, Vec<OwnedFd>)> {
        // The listeners are a successor's: only what is still connected here follows the table.
        if self.is_leaving() {
            return Vec::new();
        }
        let sockets = self.sockets.borrow();
        let mut unopened = self.unopened.borrow_mut();
        let before = std::mem::take(&mut *unopened);
        let mut ports: BTreeSet<u16> = sockets.keys().map(SocketAddr::port).collect();
        let mut opened = Vec::new();
        for listener in &table.listeners {
            let address = listener.address;
            if sockets.contains_key(&address) {
                continue;
            }
            // A wildcard and a single address may share a port within one table, not with other processes.
            let exclusive = ports.insert(address.port());
            match open_listeners(address, self.workers.len(), exclusive) {
                Ok(fresh) => opened.push((address, fresh)),
                // A host without IPv6 has all its addresses without it.
                Err(error) if is_all_of_ipv6(address) && lacks_family(&error) => {}
                Err(error) => {
                    let reason = with_source(&error);
                    if before.get(&address) != Some(&reason) {
                        tracing::warn!("{reason}; trying again");
                    }
                    unopened.insert(address, reason);
                }
            }
        }
        opened
    }

    /// Keeps sockets for a successor; duplicates of them, for the workers.
    pub(crate) fn keep_sockets(
        &self,
        opened: Vec<(SocketAddr, Vec<OwnedFd>)>,
    ) -> Vec<(SocketAddr, OwnedFd)> {
        let mut duplicates = Vec::new();
        for (address, fresh) in opened {
            for socket in &fresh {
                match socket.try_clone() {
                    Ok(duplicate) => duplicates.push((address, duplicate)),
                    Err(error) => tracing::warn!("can't use a socket on `{address}`: {error}"),
                }
            }
            self.sockets.borrow_mut().insert(address, fresh);
        }
        duplicates
    }

    /// Spreads sockets over the threads, those of one address evenly.
    pub(crate) fn shares(
        &self,
        sockets: Vec<(SocketAddr, OwnedFd)>,
    ) -> Vec<Vec<(SocketAddr, OwnedFd)>> {
        let mut shares: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut next: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for (address, socket) in sockets {
            let worker = next.entry(address).or_default();
            shares[*worker % self.workers.len()].push((address, socket));
            *worker += 1;
        }
        shares
    }

    /// Has every thread use `table`; the time from the first to the last in milliseconds.
    async fn switch(self: &Rc<Self>, table: Arc<Table>, fresh: Vec<(SocketAddr, OwnedFd)>) -> f64 {
        let active: BTreeSet<SetKey> = active_sets(&table);
        self.sets.retire_all_but(&active);
        self.probe(&table);
        // Closed here first: once the workers have emptied the queues and closed theirs, nothing can queue again.
        self.sockets.borrow_mut().retain(|address, _| {
            table.listeners.iter().any(|listener| listener.address == *address)
        });
        let predecessor = self.predecessor.borrow().clone();
        if let Some(predecessor) = predecessor {
            predecessor.apply(&table.source).await;
        }
        let shares = self.shares(fresh);
        let begun = Instant::now();
        let mut waiting = Vec::new();
        for (worker, sockets) in self.workers.iter().zip(shares) {
            let (done, switched) = oneshot::channel();
            let command = Command::Apply { table: table.clone(), sockets, done };
            // A thread that has ended serves nothing that could follow the old table.
            if worker.send(command).is_ok() {
                waiting.push(switched);
            }
        }
        for switched in waiting {
            let _ = switched.await;
        }
        let switch_ms = begun.elapsed().as_secs_f64() * 1000.0;
        self.sets.forget_unused(&table, &active);
        self.common
            .rooms
            .keep(|address| table.listeners.iter().any(|listener| listener.address == *address));
        self.certificates.keep(|files| {
            table.source.listeners.iter().any(|listener| listener.tls.as_ref() == Some(files))
        });
        *self.table.borrow_mut() = table;
        self.persisted.set(false);
        self.bump();
        switch_ms
    }

    /// Starts probers for new backends and ends those of backends that are gone.
    fn probe(self: &Rc<Self>, table: &Table) {
        let mut probers = self.probers.borrow_mut();
        probers.retain(|(backend, prober)| {
            let kept = table.backends.iter().any(|kept| Arc::ptr_eq(kept, backend));
            if !kept {
                prober.abort();
            }
            kept
        });
        for backend in &table.backends {
            if !probers.iter().any(|(known, _)| Arc::ptr_eq(known, backend)) {
                let prober = spawn_local(probe_for_ever(backend.clone(), Reporter(self.clone())));
                probers.push((backend.clone(), prober.abort_handle()));
            }
        }
    }

    async fn persist(&self, table: &Arc<Table>) -> Result<(), EdgeError> {
        // The file is a successor's once this edge leaves.
        if self.persisted.get() || self.is_leaving() {
            return Ok(());
        }
        let (state_dir, table) = (self.options.state_dir.clone(), table.clone());
        let boot = self.options.boot.clone();
        let saved = tokio::task::spawn_blocking(move || {
            persist::save(&state_dir, boot.as_ref(), &table.source)
        })
        .await;
        saved.map_err(|error| EdgeError::Runtime(std::io::Error::other(error)))??;
        self.persisted.set(true);
        Ok(())
    }

    pub(crate) fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// How many client connections are open.
    pub(crate) fn connections(&self) -> u64 {
        self.common.rooms.open()
    }

    /// What this edge tells of itself.
    pub(crate) fn identity(&self) -> EdgeIdentity {
        EdgeIdentity {
            greeting: Greeting::of(&self.options.version),
            pid: std::process::id(),
            connections: self.connections(),
            leaving: self.is_leaving(),
            succession: self.takeover.borrow().clone(),
        }
    }

    pub(crate) fn status(&self) -> EdgeStatus {
        let table = self.table();
        // The version changes on this thread only, but requests end on others: a set seen empty here is news, so that
        // no two statuses of one version differ in that.
        let counters = loop {
            let counters = self.sets.read();
            if !self.sets.take_ended() {
                break counters;
            }
            self.bump();
        };
        let backends = table
            .backends
            .iter()
            .map(|backend| BackendStatus {
                pool: backend.pool.clone(),
                instance: backend.instance.clone(),
                release: backend.release,
                health: backend.health(),
                last_error: backend.last_error(),
            })
            .collect();
        EdgeStatus {
            pid: std::process::id(),
            generation: table.source.generation,
            version: *self.version.borrow(),
            backends,
            counters,
            connections: Some(self.common.rooms.read()),
            faults: self.faults(&table),
        }
    }

    /// Listeners of the table that can't serve, or not as they should.
    fn faults(&self, table: &Table) -> Vec<ListenerFault> {
        let unopened = self.unopened.borrow();
        let fault = |listener: &Listener| {
            let (reason, serves) = match unopened.get(&listener.address) {
                Some(reason) => (reason.clone(), false),
                None => self.certificates.fault(listener.tls.as_ref()?)?,
            };
            Some(ListenerFault { address: listener.address, reason, serves })
        };
        table.source.listeners.iter().filter_map(fault).collect()
    }

    /// Cuts off what is in flight on a release; how many requests.
    pub(crate) async fn cut(&self, service: ServiceName, release: ReleaseNumber) -> u64 {
        let predecessor = self.predecessor.borrow().clone();
        let mut count = match predecessor {
            Some(predecessor) => predecessor.cut(&service, release).await,
            None => 0,
        };
        for worker in &self.workers {
            let (done, cut) = oneshot::channel();
            if worker.send(Command::Cut { service: service.clone(), release, done }).is_ok() {
                count += cut.await.unwrap_or(0);
            }
        }
        count
    }
}

fn is_all_of_ipv6(address: SocketAddr) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
}

fn active_sets(table: &Table) -> BTreeSet<SetKey> {
    table.source.pools.iter().filter_map(|pool| Some((pool.name.clone(), pool.active?))).collect()
}

/// An error with what lies behind it, on one line.
pub(crate) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Passes a prober's news on.
struct Reporter(Rc<Control>);

impl News for Reporter {
    fn health_changed(&self) {
        self.0.bump();
    }

    fn usable(&self) {
        // Whoever begins to wait after this look has seen the new state: both sides write first, then read.
        if self.0.common.holding.load(Ordering::SeqCst) > 0 {
            for worker in &self.0.workers {
                let _ = worker.send(Command::HealthChanged);
            }
        }
    }
}

/// Grows the version when a retired set has ended its last request.
async fn report_ended(control: Rc<Control>) {
    loop {
        control.sets.ended().notified().await;
        if control.sets.take_ended() {
            control.bump();
        }
    }
}

/// Tries the listeners again that could not be opened at start.
async fn retry_listening(control: Rc<Control>) {
    loop {
        tokio::time::sleep(LISTEN_RETRY).await;
        let _one_at_a_time = control.applying.lock().await;
        let table = control.table();
        let missing = table
            .listeners
            .iter()
            .any(|listener| !control.sockets.borrow().contains_key(&listener.address));
        if !missing || control.is_leaving() {
            continue;
        }
        let opened = control.open_missing(&table);
        if !opened.is_empty() {
            let fresh = control.keep_sockets(opened);
            let persisted = control.persisted.get();
            control.switch(table, fresh).await;
            control.persisted.set(persisted);
        }
    }
}
