//! One thread of the edge: its runtime, its listening sockets, its view of the table, its connections.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant, SystemTime},
};

use hornero_model::{ReleaseNumber, ServiceName};
use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, LocalSet, spawn_local},
};

use crate::{
    admission::Rooms,
    counters::LaneCounters,
    date::{DATE_BYTES, http_date},
    limits::{ACCEPTED_AT_ONCE, LARGE_HEADS, LINGERING, Limits},
    net::watch,
    serve::{Origin, serve_connection},
    slot::{Signal, Slot, SlotGuard},
    spare::{Scope, Spare},
    table::Table,
    upstream::{LocalBackend, LocalPool, LocalTable},
};

/// How exact deadlines are; each connection's is looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// How long a kept-alive connection without a request is left open while a successor takes over: a busy client sends
/// one in that time, and learns from the answer that the connection ends.
pub(crate) const HANDOVER_IDLE_MS: u64 = 5_000;
/// The same when the edge stops for good: its clients are about to lose it anyway.
pub(crate) const STOP_IDLE_MS: u64 = 1_000;
/// Pause after the system ran out of files or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Connections given up at once when the process has no files left: enough for some new ones with their backends', and
/// of few only the oldest.
const RELIEF: usize = 32;
const RELIEF_SHARE: usize = 8;

/// What the control thread tells a worker.
pub(crate) enum Command {
    /// Uses another table from now on, and listens on more sockets.
    Apply { table: Arc<Table>, sockets: Vec<(SocketAddr, OwnedFd)>, done: oneshot::Sender<()> },
    /// A backend's health changed: held requests look again.
    HealthChanged,
    /// Interrupts the requests of one release; answers how many.
    Cut { service: ServiceName, release: ReleaseNumber, done: oneshot::Sender<u64> },
    /// Accepts nothing more, but first what waits in the queues unless a successor shares them; then tells once nothing
    /// is open.
    Drain { take_queued: bool, idle_ms: u64, done: oneshot::Sender<()> },
    /// Accepts again: the successor is gone.
    Resume { sockets: Vec<(SocketAddr, OwnedFd)>, done: oneshot::Sender<()> },
    /// Interrupts everything.
    CutAll,
    /// Ends the thread.
    End,
}

/// What all threads share, none of it touched for a request in the ordinary course.
#[derive(Debug)]
pub(crate) struct Common {
    /// Client connections open.
    pub(crate) rooms: Rooms,
    /// Requests that wait for a healthy backend.
    pub(crate) holding: AtomicUsize,
}

impl Common {
    pub(crate) fn new(rooms: Rooms) -> Self {
        Self { rooms, holding: AtomicUsize::new(0) }
    }
}

/// The task that accepts from a socket, and the socket.
type Accepting = (AbortHandle, Rc<AsyncFd<OwnedFd>>);

/// The state of one thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) lane: usize,
    pub(crate) limits: Arc<Limits>,
    pub(crate) common: Arc<Common>,
    pub(crate) slots: RefCell<Vec<Rc<Slot>>>,
    /// Which of them can be given up.
    pub(crate) spare: Spare,
    /// Told when the last slot has gone.
    pub(crate) emptied: Notify,
    /// Told when held requests should look again.
    pub(crate) changed: Notify,
    pub(crate) held: Cell<usize>,
    lingering: Rc<Cell<usize>>,
    large_heads: Rc<Cell<usize>>,
    table: RefCell<Rc<LocalTable>>,
    accepting: RefCell<BTreeMap<SocketAddr, Vec<Accepting>>>,
    started: Instant,
    now_ms: Cell<u64>,
    date: Cell<[u8; DATE_BYTES]>,
    /// While draining: how long a connection may lie idle.
    draining_idle_ms: Cell<Option<u64>>,
}

impl Worker {
    pub(crate) fn table(&self) -> Rc<LocalTable> {
        self.table.borrow().clone()
    }

    /// Milliseconds since the thread began, as exact as a tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The date for answers, as exact as a tick.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        self.date.get()
    }

    /// The point in time `span` from now, as a slot's deadline.
    pub(crate) fn deadline_ms(&self, span: Duration) -> u64 {
        self.now_ms.get().saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining_idle_ms.get().is_some()
    }

    fn tick(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        self.spare.tick();
        self.date.set(http_date(SystemTime::now()));
        let idle_before_ms =
            self.draining_idle_ms.get().map(|idle_ms| now_ms.saturating_sub(idle_ms));
        for slot in &*self.slots.borrow() {
            slot.tick(now_ms, idle_before_ms);
        }
        let oldest_ms =
            now_ms.saturating_sub(u64::try_from(self.limits.backend_idle.as_millis()).unwrap_or(0));
        for backend in &self.table.borrow().backends {
            backend.drop_idle_before(oldest_ms);
        }
    }

    /// Leave to stay with a connection that is refused; none while many are.
    pub(crate) fn linger(&self) -> Option<Counted> {
        Counted::new(&self.lingering, LINGERING)
    }

    /// Leave to read a head beyond the usual buffer; none while many are read.
    pub(crate) fn large_head(&self) -> Option<Counted> {
        Counted::new(&self.large_heads, LARGE_HEADS)
    }

    /// Gives files back to a process that has no more: connections to backends that lie idle, and the oldest of clients
    /// on which no request is under way.
    pub(crate) fn relieve(&self) {
        for backend in &self.table.borrow().backends {
            backend.drop_idle_before(u64::MAX);
        }
        let connections = self.slots.borrow().len();
        for _ in 0..(connections / RELIEF_SHARE).clamp(1, RELIEF) {
            if !self.give_up_oldest(Scope::All) {
                return;
            }
        }
    }

    fn apply(self: &Rc<Self>, table: Arc<Table>, sockets: Vec<(SocketAddr, OwnedFd)>) {
        let next = Rc::new(LocalTable::new(table, &self.table.borrow(), self.lane));
        let previous = self.table.replace(next.clone());
        previous.retire_missing(&next);
        self.changed.notify_waiters();
        self.listen_on(sockets);
        let gone: Vec<SocketAddr> = self
            .accepting
            .borrow()
            .keys()
            .filter(|address| next.listener(address).is_none())
            .copied()
            .collect();
        for address in gone {
            self.stop_listening(address, true);
        }
    }

    fn listen_on(self: &Rc<Self>, sockets: Vec<(SocketAddr, OwnedFd)>) {
        for (address, socket) in sockets {
            if let Err(error) = self.listen(address, socket) {
                tracing::warn!("can't wait for connections on `{address}`: {error}");
            }
        }
    }

    fn listen(self: &Rc<Self>, address: SocketAddr, socket: OwnedFd) -> io::Result<()> {
        let socket = Rc::new(watch(socket)?);
        let task = spawn_local(accept_for_ever(self.clone(), address, socket.clone()));
        let mut accepting = self.accepting.borrow_mut();
        accepting.entry(address).or_default().push((task.abort_handle(), socket));
        Ok(())
    }

    fn stop_listening(self: &Rc<Self>, address: SocketAddr, take_queued: bool) {
        let sockets = self.accepting.borrow_mut().remove(&address).unwrap_or_default();
        for (task, socket) in sockets {
            task.abort();
            if take_queued {
                // What is in the queue has been promised an answer by the handshake.
                while accept_one(self, address, socket.get_ref()).is_ok() {}
            }
        }
    }

    fn cut(&self, matches: impl Fn(&LaneCounters) -> bool) -> u64 {
        let slots: Vec<Rc<Slot>> = self.slots.borrow().iter().cloned().collect();
        let mut count = 0;
        for slot in slots {
            if slot.uses(&matches) {
                slot.interrupt(Signal::Cut);
                count += 1;
            }
        }
        count
    }

    fn drain(self: &Rc<Self>, take_queued: bool, idle_ms: u64) {
        let addresses: Vec<SocketAddr> = self.accepting.borrow().keys().copied().collect();
        for address in addresses {
            self.stop_listening(address, take_queued);
        }
        self.draining_idle_ms.set(Some(idle_ms));
        // HTTP/2 connections say goodbye now; others with their next answer.
        self.changed.notify_waiters();
    }
}

/// One of a bounded number; leaving counts it out.
#[derive(Debug)]
pub(crate) struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>, limit: usize) -> Option<Self> {
        (count.get() < limit).then(|| {
            count.set(count.get() + 1);
            Self(count.clone())
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn accept_for_ever(worker: Rc<Worker>, address: SocketAddr, socket: Rc<AsyncFd<OwnedFd>>) {
    let mut accepted = 0;
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        match accept_one(&worker, address, socket.get_ref()) {
            Ok(()) | Err(Errno::INTR | Errno::CONNABORTED) => {
                accepted += 1;
                if accepted % ACCEPTED_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(error) => {
                tracing::warn!("can't accept on `{address}`: {error}");
                worker.relieve();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept_one(worker: &Rc<Worker>, address: SocketAddr, socket: &OwnedFd) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (connection, peer) = acceptfrom_with(socket, flags)?;
    let Some(Ok(peer)) = peer.map(SocketAddr::try_from) else { return Ok(()) };
    // Counted from here, so that a draining thread does not end before it.
    let slot = SlotGuard::new(worker);
    spawn_local(serve_connection(
        worker.clone(),
        slot,
        Origin { peer, listener: address },
        connection,
    ));
    Ok(())
}

/// Runs a worker until its commands end; tells `drained` its lane whenever it has drained.
pub(crate) fn run(
    lane: usize,
    limits: Arc<Limits>,
    common: Arc<Common>,
    table: Arc<Table>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    drained: &mpsc::UnboundedSender<usize>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let worker = Rc::new(Worker {
        lane,
        limits,
        common,
        slots: RefCell::new(Vec::new()),
        spare: Spare::default(),
        emptied: Notify::new(),
        changed: Notify::new(),
        held: Cell::new(0),
        lingering: Rc::new(Cell::new(0)),
        large_heads: Rc::new(Cell::new(0)),
        table: RefCell::new(Rc::new(LocalTable::new(table, &LocalTable::default(), lane))),
        accepting: RefCell::new(BTreeMap::new()),
        started: Instant::now(),
        now_ms: Cell::new(0),
        date: Cell::new(http_date(SystemTime::now())),
        draining_idle_ms: Cell::new(None),
    });
    local.block_on(&runtime, async {
        spawn_local(tick_for_ever(worker.clone()));
        let mut told = false;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::End) | None => return,
                    Some(command) => obey(&worker, command),
                },
                () = worker.emptied.notified() => {}
            }
            let empty = worker.is_draining() && worker.slots.borrow().is_empty();
            if empty && !told {
                // Whoever started the thread may be gone.
                let _ = drained.send(lane);
            }
            told = empty;
        }
    });
    Ok(())
}

async fn tick_for_ever(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        worker.tick();
    }
}

fn obey(worker: &Rc<Worker>, command: Command) {
    // Whoever asked may be gone; what was asked is done all the same.
    match command {
        Command::Apply { table, sockets, done } => {
            worker.apply(table, sockets);
            let _ = done.send(());
        }
        Command::HealthChanged => worker.changed.notify_waiters(),
        Command::Cut { service, release, done } => {
            let count = worker.cut(|counters| {
                counters.set().release() == release && counters.set().pool().service == service
            });
            let _ = done.send(count);
        }
        Command::Drain { take_queued, idle_ms, done } => {
            worker.drain(take_queued, idle_ms);
            let _ = done.send(());
        }
        Command::Resume { sockets, done } => {
            worker.draining_idle_ms.set(None);
            worker.listen_on(sockets);
            let _ = done.send(());
        }
        Command::CutAll => {
            let slots: Vec<Rc<Slot>> = worker.slots.borrow().iter().cloned().collect();
            for slot in slots {
                slot.interrupt(Signal::Cut);
            }
        }
        Command::End => {}
    }
}

impl LocalTable {
    /// Backends that the next table lacks lose their idle connections.
    fn retire_missing(&self, next: &LocalTable) {
        for backend in &self.backends {
            if !next.backends.iter().any(|kept| Rc::ptr_eq(kept, backend)) {
                LocalBackend::retire(backend);
            }
        }
    }

    /// The pool of the same name in the table in force now.
    pub(crate) fn pool_named(&self, pool: &LocalPool) -> Option<Rc<LocalPool>> {
        self.pools.iter().find(|other| other.name == pool.name).cloned()
    }
}
