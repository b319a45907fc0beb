//! The control thread: the table in force, the sets' counters, the backends' probers, what the workers are told.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hornero_home::{TermError, Terms};
use hornero_model::{BackendStatus, ReleaseNumber, RouteTable, ServiceName, Term};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, spawn_local},
};

use crate::{
    admin::protocol::TakeoverReport,
    backend::Backend,
    error::EdgeError,
    health::{News, probe_for_ever},
    listening::{Listening, Sockets, spread},
    options::EdgeOptions,
    persist,
    predecessor::Predecessor,
    prepare::{Means, prepare},
    probe,
    sets::{SetKey, Sets},
    table::{self, Table},
    thread::Command,
    tls::Certificates,
    worker::Common,
};

/// The state of the control thread.
pub(crate) struct Control {
    pub(crate) options: EdgeOptions,
    pub(crate) common: Arc<Common>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    /// The version of the status.
    pub(crate) version: watch::Sender<u64>,
    pub(crate) sets: Sets,
    /// Told where somebody begins to wait for a service of which nothing runs.
    pub(crate) wanted: Arc<Notify>,
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
    /// The term of the control that gave it to this process; none of one from disk, or of a predecessor.
    pub(crate) given_by: Cell<Option<Term>>,
    /// The table that was made ready last, until one is put in force.
    pub(crate) ready: RefCell<Option<Arc<Table>>>,
    pub(crate) certificates: Certificates,
    probers: RefCell<Vec<(Arc<Backend>, AbortHandle)>>,
    /// What asks the releases that share requests, while some do.
    asking: RefCell<Vec<AbortHandle>>,
    /// Every listening socket: what a successor gets.
    pub(crate) listening: Listening,
    /// Held while a table is put in force.
    pub(crate) applying: tokio::sync::Mutex<()>,
    persisted: Cell<bool>,
    /// Which control is obeyed.
    terms: Terms,
    /// The newest term of control that is known here.
    pub(crate) term: Cell<Term>,
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
        let terms = Terms::of(&options.state_dir.join("terms"));
        // Where it can't be read, nothing is let in either.
        let term = Cell::new(terms.newest().unwrap_or_default());
        Rc::new(Self {
            terms,
            term,
            sets: Sets::new(workers.len()),
            wanted: Arc::default(),
            handover_timeout: Cell::new(options.limits.handover_timeout),
            certificates: Certificates::new(&options.state_dir),
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
            given_by: Cell::default(),
            ready: RefCell::default(),
            probers: RefCell::default(),
            asking: RefCell::default(),
            listening: Listening::default(),
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

    /// Lets in what a control of `term` asks, and remembers the term where it is the newest.
    pub(crate) async fn obey(&self, term: Option<Term>) -> Result<(), EdgeError> {
        let _no_other = self.applying.lock().await;
        self.admit(term).await
    }

    /// The same while no other question is let in. Without a term somebody asks who is let in whatever comes.
    pub(crate) async fn admit(&self, term: Option<Term>) -> Result<(), EdgeError> {
        let Some(term) = term else { return Ok(()) };
        let terms = self.terms.clone();
        let admitted = tokio::task::spawn_blocking(move || terms.admit(term)).await;
        match admitted.map_err(|error| EdgeError::Runtime(std::io::Error::other(error)))? {
            Ok(()) => {}
            Err(error @ TermError::Over { .. }) => return Err(EdgeError::TermOver(error)),
            Err(error @ TermError::File { .. }) => return Err(EdgeError::Term(error)),
        }
        if self.term.replace(term) != term {
            self.bump();
        }
        Ok(())
    }

    /// Puts the first table in force: from disk, or from a predecessor with its sockets and its view of health.
    pub(crate) async fn start(
        self: &Rc<Self>,
        source: RouteTable,
        health: &[BackendStatus],
        inherited: BTreeMap<SocketAddr, Vec<OwnedFd>>,
    ) -> Result<(), EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        let table = self.prepare(source, health)?;
        let mut fresh = self.listening.keep(inherited.into_iter().collect());
        fresh.extend(self.open_missing(&table));
        self.switch(table, fresh).await;
        Ok(())
    }

    /// Makes a table ready to be used; nothing of it takes effect.
    pub(crate) fn prepare(
        &self,
        source: RouteTable,
        health: &[BackendStatus],
    ) -> Result<Arc<Table>, EdgeError> {
        let means = Means {
            certificates: &self.certificates,
            rooms: &self.common.rooms,
            sets: &self.sets,
            wanted: &self.wanted,
        };
        prepare(source, &self.table(), health, &means)
    }

    /// Opens the listeners that are not open yet, as far as possible; duplicates of their sockets.
    pub(crate) fn open_missing(&self, table: &Table) -> Sockets {
        // The listeners are a successor's: only what is still connected here follows the table.
        if self.is_leaving() {
            return Vec::new();
        }
        self.listening.keep(self.listening.open_missing(table, self.workers.len()))
    }

    /// Tries the listeners again that could not be opened.
    pub(crate) async fn retry_listening(self: &Rc<Self>) {
        let _one_at_a_time = self.applying.lock().await;
        let table = self.table();
        if !self.listening.lacks_any(&table) || self.is_leaving() {
            return;
        }
        let fresh = self.open_missing(&table);
        if !fresh.is_empty() {
            let persisted = self.persisted.get();
            self.switch(table, fresh).await;
            self.persisted.set(persisted);
        }
    }

    /// Has every thread use `table`; the time from the first to the last in milliseconds.
    pub(crate) async fn switch(self: &Rc<Self>, table: Arc<Table>, fresh: Sockets) -> f64 {
        // What it shares with the table before it is not shared with this one.
        self.ready.borrow_mut().take();
        let receiving: BTreeSet<SetKey> = receiving_sets(&table);
        self.sets.retire_all_but(&receiving);
        self.probe(&table);
        // Closed here first: once the workers have emptied the queues and closed theirs, nothing can queue again.
        self.listening.retain(&table);
        let predecessor = self.predecessor.borrow().clone();
        if let Some(predecessor) = predecessor {
            predecessor.apply(&table.source).await;
        }
        let shares = spread(fresh, self.workers.len());
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
        self.sets.forget_unused(&table, &receiving);
        self.common
            .rooms
            .keep(|address| table.listeners.iter().any(|listener| listener.address == *address));
        self.certificates.keep(&table.source.listeners);
        *self.table.borrow_mut() = table;
        self.ask_releases();
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

    /// Asks the releases that share requests in the table in force, in the place of whom was asked before: nobody while this
    /// edge leaves, since its successor asks.
    pub(crate) fn ask_releases(&self) {
        let wanted = if self.is_leaving() { Vec::new() } else { probe::wanted(&self.table()) };
        let asking = wanted.into_iter().map(|release| spawn_local(probe::ask_for_ever(release)));
        let before = self.asking.replace(asking.map(|task| task.abort_handle()).collect());
        before.iter().for_each(AbortHandle::abort);
    }

    pub(crate) async fn persist(&self, table: &Arc<Table>) -> Result<(), EdgeError> {
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

    /// Cuts off what is in flight on a release, where a table is named while that one is in force; how many requests.
    pub(crate) async fn cut_under(
        &self,
        service: ServiceName,
        release: ReleaseNumber,
        generation: Option<u64>,
        term: Option<Term>,
    ) -> Result<u64, EdgeError> {
        let _no_new_table = self.applying.lock().await;
        self.admit(term).await?;
        let current = self.table().source.generation;
        match generation.filter(|given| *given != current) {
            Some(given) => Err(EdgeError::OtherTable { given, current }),
            None => Ok(self.cut(service, release).await),
        }
    }

    async fn cut(&self, service: ServiceName, release: ReleaseNumber) -> u64 {
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

fn receiving_sets(table: &Table) -> BTreeSet<SetKey> {
    let mut receiving = BTreeSet::new();
    for pool in &table.source.pools {
        let shares = pool.traffic.iter().chain(&pool.previews);
        receiving.extend(shares.map(|share| (pool.name.clone(), share.release)));
    }
    receiving
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
