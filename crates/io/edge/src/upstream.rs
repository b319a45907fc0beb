//! A thread's own view of the table: which backend is next, its idle connections, and what to do when none answers.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    task::Waker,
    time::{Duration, Instant},
};

use hornero_model::{Health, PoolName};
use rustix::io::Errno;
use tokio::pin;

use crate::{
    buffer::Buffer,
    counters::{LaneCounters, Ticket},
    limits::ATTEMPTS,
    net::Sock,
    slot::Slot,
    table::{Backend, ListenerRules, Table},
    worker::Worker,
};

/// How long what was given up gets to close before the next try to connect.
const RELIEF_PAUSE: Duration = Duration::from_millis(5);
/// Idle connections kept for one backend by one thread; more than its share of a burst would hold the backend's
/// files for nothing.
const IDLE_PER_BACKEND: usize = 256;

/// A backend with this thread's idle connections to it.
#[derive(Debug)]
pub(crate) struct LocalBackend {
    pub(crate) shared: Arc<Backend>,
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    sock: Sock,
    since_ms: u64,
}

/// How sure a kept-alive connection must be before a request goes on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// The request can be repeated if the connection turns out closed.
    Likely,
    /// It can't: ask the kernel first.
    Certain,
    /// Always connect anew.
    Never,
}

impl LocalBackend {
    fn take_idle(&self, reuse: Reuse) -> Option<Sock> {
        if reuse == Reuse::Never {
            return None;
        }
        let mut context = std::task::Context::from_waker(Waker::noop());
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { sock, .. }) = idle.pop() {
            let suspicious = reuse == Reuse::Certain || sock.may_be_stale(&mut context);
            if !(suspicious && sock.is_stale()) {
                return Some(sock);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was complete.
    pub(crate) fn put_idle(&self, sock: Sock, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_PER_BACKEND {
            idle.push(Idle { sock, since_ms: now_ms });
        }
    }

    /// Closes connections that were last used before `oldest_ms`.
    pub(crate) fn drop_idle_before(&self, oldest_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        // The oldest are first: the newest are taken and put back at the end.
        let old = idle.iter().take_while(|idle| idle.since_ms < oldest_ms).count();
        idle.drain(..old);
    }

    /// The table no longer has the backend: its idle connections close, those in use close after their answer.
    pub(crate) fn retire(backend: &Rc<Self>) {
        backend.retired.set(true);
        backend.idle.borrow_mut().clear();
    }
}

/// The set of a pool that gets new requests.
#[derive(Debug)]
pub(crate) struct LocalSet {
    pub(crate) counters: Rc<LaneCounters>,
    pub(crate) backends: Vec<Rc<LocalBackend>>,
}

/// A pool as this thread sees it.
#[derive(Debug)]
pub(crate) struct LocalPool {
    pub(crate) name: PoolName,
    pub(crate) active: Option<LocalSet>,
    next: Cell<usize>,
}

impl LocalPool {
    /// The next healthy backend that was not tried; those under suspicion only when there is no other.
    fn pick(&self, tried: &[Rc<LocalBackend>]) -> Option<Rc<LocalBackend>> {
        let backends = &self.active.as_ref()?.backends;
        let start = self.next.get();
        let mut suspect = None;
        for offset in 0..backends.len() {
            let index = (start + offset) % backends.len();
            let backend = &backends[index];
            let untried = !tried.iter().any(|tried| Rc::ptr_eq(tried, backend));
            if backend.shared.health() != Health::Healthy || !untried {
                continue;
            }
            if !backend.shared.is_suspect() {
                self.next.set(index + 1);
                return Some(backend.clone());
            }
            suspect.get_or_insert_with(|| backend.clone());
        }
        suspect
    }
}

/// A table as this thread sees it.
#[derive(Debug, Default)]
pub(crate) struct LocalTable {
    table: Option<Arc<Table>>,
    pub(crate) pools: Vec<Rc<LocalPool>>,
    /// Backends of active sets: only they have connections.
    pub(crate) backends: Vec<Rc<LocalBackend>>,
}

impl LocalTable {
    /// A thread's view of `table`, with the connections that it had by the `previous` one.
    pub(crate) fn new(table: Arc<Table>, previous: &LocalTable, lane: usize) -> Self {
        let mut backends = Vec::new();
        let mut keep = |shared: &Arc<Backend>| {
            let known = previous.backends.iter().find(|old| Arc::ptr_eq(&old.shared, shared));
            let backend = known.cloned().unwrap_or_else(|| {
                Rc::new(LocalBackend {
                    shared: shared.clone(),
                    idle: RefCell::new(Vec::new()),
                    retired: Cell::new(false),
                })
            });
            backends.push(backend.clone());
            backend
        };
        let pools = table
            .pools
            .iter()
            .map(|pool| {
                let active = pool.active.as_ref().map(|(counters, backends)| LocalSet {
                    counters: LaneCounters::new(counters.clone(), lane),
                    backends: backends.iter().map(&mut keep).collect(),
                });
                // Threads begin at different backends, so that few requests spread as well as many.
                Rc::new(LocalPool { name: pool.name.clone(), active, next: Cell::new(lane) })
            })
            .collect();
        Self { table: Some(table), pools, backends }
    }

    pub(crate) fn listener(&self, address: &SocketAddr) -> Option<&ListenerRules> {
        let listeners = &self.table.as_ref()?.listeners;
        let index = listeners.binary_search_by(|listener| listener.address.cmp(address)).ok()?;
        listeners.get(index)
    }

    /// Whether `pool` is of this table, not of one before.
    fn has(&self, pool: &Rc<LocalPool>) -> bool {
        self.pools.iter().any(|own| Rc::ptr_eq(own, pool))
    }
}

/// A connection to a backend, in use by one request.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) sock: Sock,
    pub(crate) input: Buffer,
    pub(crate) backend: Rc<LocalBackend>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
}

impl Upstream {
    /// Gives the connection back for the next request; its last answer was complete.
    pub(crate) fn finish(self, now_ms: u64) {
        if self.input.is_empty() {
            self.backend.put_idle(self.sock, now_ms);
        }
    }
}

/// Why a request gets no connection to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No backend is there or healthy: 503.
    NoBackend,
    /// Healthy ones were there, but none could be reached: 502.
    Unreachable,
}

/// What was tried already for one request.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    tried: Vec<Rc<LocalBackend>>,
    count: usize,
    /// Whether it has been moved to another backend after a fresh connection broke.
    moved: bool,
    hold_until: Option<Instant>,
}

impl Attempts {
    /// Whether a harmless request is sent again after `backend` closed without a byte of an answer.
    ///
    /// One that had been kept alive may just have been too old. A fresh one says that the backend is in trouble; then
    /// one other is tried and no more, so that a request that kills its server does not kill them all.
    pub(crate) fn after_silence(
        &mut self,
        pool: &LocalPool,
        backend: &Rc<LocalBackend>,
        reused: bool,
    ) -> bool {
        self.count += 1;
        if self.count >= ATTEMPTS {
            return false;
        }
        if reused {
            return true;
        }
        backend.shared.suspect();
        self.tried.push(backend.clone());
        !std::mem::replace(&mut self.moved, true) && pool.pick(&self.tried).is_some()
    }

    /// A backend could not be reached.
    fn refused(&mut self, backend: Rc<LocalBackend>, error: &io::Error) {
        if !is_own_want(error) {
            backend.shared.suspect();
        }
        self.tried.push(backend);
        self.count += 1;
    }

    /// Whether a further attempt is within bounds.
    fn may_retry(&self) -> bool {
        self.count < ATTEMPTS
    }

    /// Waits until a backend of `pool` can be tried (again); false when the time or the room for waiting is up.
    async fn hold(&mut self, worker: &Worker, pool: &LocalPool) -> bool {
        if worker.held.get() >= worker.limits.hold_queue {
            return false;
        }
        let until = *self.hold_until.get_or_insert_with(|| Instant::now() + worker.limits.hold);
        let changed = worker.changed.notified();
        pin!(changed);
        changed.as_mut().enable();
        let _held = Held::new(worker);
        // The prober tells of changes only while somebody waits: look again now that it knows.
        fence(Ordering::SeqCst);
        if pool.pick(&self.tried).is_some() {
            return true;
        }
        self.tried.clear();
        self.count = 0;
        tokio::time::timeout_at(until.into(), changed).await.is_ok()
    }
}

/// Finds a backend of the pool's active set and a connection to it, and begins the request's ticket.
///
/// `pool` and `ticket` follow the table: a request that waits over a switch goes to the new set.
pub(crate) async fn acquire(
    worker: &Worker,
    slot: &Slot,
    pool: &mut Rc<LocalPool>,
    ticket: &mut Option<Ticket>,
    attempts: &mut Attempts,
    reuse: Reuse,
) -> Result<Upstream, Refusal> {
    loop {
        let table = worker.table();
        if !table.has(pool) {
            *pool = table.pool_named(pool).ok_or(Refusal::NoBackend)?;
        }
        let set = pool.active.as_ref().ok_or(Refusal::NoBackend)?;
        let Some(backend) = pool.pick(&attempts.tried) else {
            if attempts.hold(worker, pool).await {
                continue;
            }
            let tried = !attempts.tried.is_empty();
            ticket.get_or_insert_with(|| slot.begin(set.counters.clone())).fail();
            return Err(if tried { Refusal::Unreachable } else { Refusal::NoBackend });
        };
        if !ticket.as_ref().is_some_and(|ticket| ticket.is_on(&set.counters)) {
            *ticket = Some(slot.begin(set.counters.clone()));
        }
        if let Some(sock) = backend.take_idle(reuse) {
            return Ok(Upstream { sock, input: Buffer::default(), backend, reused: true });
        }
        match Sock::connect(backend.shared.address, worker.limits.connect_timeout).await {
            Ok(sock) => {
                return Ok(Upstream { sock, input: Buffer::default(), backend, reused: false });
            }
            Err(error) if is_want_of_files(&error) && attempts.may_retry() => {
                worker.relieve();
                attempts.count += 1;
                tokio::time::sleep(RELIEF_PAUSE).await;
                continue;
            }
            Err(error) => attempts.refused(backend, &error),
        }
        if !attempts.may_retry() {
            if let Some(ticket) = ticket {
                ticket.fail();
            }
            return Err(Refusal::Unreachable);
        }
    }
}

/// Whether this process or host lacks something for a connection, which says nothing about the other side.
pub(crate) fn is_own_want(error: &io::Error) -> bool {
    is_want_of_files(error)
        || [Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL]
            .iter()
            .any(|own| error.raw_os_error() == Some(own.raw_os_error()))
}

fn is_want_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|own| error.raw_os_error() == Some(own.raw_os_error()))
}

struct Held<'a>(&'a Worker);

impl<'a> Held<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.held.set(worker.held.get() + 1);
        worker.common.holding.fetch_add(1, Ordering::SeqCst);
        Self(worker)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get() - 1);
        self.0.common.holding.fetch_sub(1, Ordering::SeqCst);
    }
}
