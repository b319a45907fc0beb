//! What the connections of one thread of the edge share: its clock, its slots, its view of the table in force.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use hornero_model::{PoolName, Timestamp};
use tokio::sync::Notify;

use crate::{
    calls::Calls,
    clock::Clock,
    limits::{LARGE_HEADS, LINGERING, Limits},
    room::Rooms,
    slots::Slots,
    spare::Scope,
    table::Table,
    view::LocalTable,
};

/// Connections given up at once when the process has no files left: enough for some new ones with their backends', and
/// of few only the oldest.
const RELIEF: usize = 32;
const RELIEF_SHARE: usize = 8;

/// What all threads share, none of it touched for a request in the ordinary course.
#[derive(Debug)]
pub(crate) struct Common {
    /// Client connections open.
    pub(crate) rooms: Rooms,
    /// Requests that wait for a healthy backend.
    pub(crate) holding: AtomicUsize,
    /// What the home's own servers call; each thread has a lane of its own.
    pub(crate) calls: Calls,
}

impl Common {
    pub(crate) fn new(rooms: Rooms, threads: usize) -> Self {
        Self { rooms, holding: AtomicUsize::new(0), calls: Calls::new(threads) }
    }
}

/// The state of one thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) limits: Arc<Limits>,
    pub(crate) common: Arc<Common>,
    pub(crate) clock: Clock,
    pub(crate) slots: Rc<Slots>,
    /// Told when held requests should look again.
    pub(crate) changed: Notify,
    pub(crate) held: Cell<usize>,
    lane: usize,
    lingering: Rc<Cell<usize>>,
    large_heads: Rc<Cell<usize>>,
    table: RefCell<Rc<LocalTable>>,
    draws: Cell<u32>,
    /// While draining: how long a connection may lie idle.
    draining_idle_ms: Cell<Option<u64>>,
}

impl Worker {
    /// The state of thread `lane` without connections, by its first table.
    pub(crate) fn new(
        lane: usize,
        limits: Arc<Limits>,
        common: Arc<Common>,
        table: Arc<Table>,
    ) -> Self {
        Self {
            limits,
            common,
            clock: Clock::new(),
            slots: Rc::default(),
            changed: Notify::new(),
            held: Cell::new(0),
            lane,
            lingering: Rc::new(Cell::new(0)),
            large_heads: Rc::new(Cell::new(0)),
            table: RefCell::new(Rc::new(LocalTable::new(table, &LocalTable::default(), lane))),
            // Each thread begins elsewhere.
            draws: Cell::new(RandomState::new().hash_one(lane) as u32),
            draining_idle_ms: Cell::new(None),
        }
    }

    pub(crate) fn table(&self) -> Rc<LocalTable> {
        self.table.borrow().clone()
    }

    /// Uses `table` from now on, with the connections to backends that it has by the one before.
    pub(crate) fn use_table(&self, table: Arc<Table>) -> Rc<LocalTable> {
        let next = Rc::new(LocalTable::new(table, &self.table.borrow(), self.lane));
        let previous = self.table.replace(next.clone());
        previous.retire_missing(&next);
        self.changed.notify_waiters();
        next
    }

    /// A number from all of `u32` with equal chances, for a request.
    ///
    /// Steps of the golden ratio (a Weyl sequence): they fill the range more evenly than chance would, also among every
    /// second, third or other regular part of the requests. It costs an addition.
    pub(crate) fn draw(&self) -> u32 {
        /// 2^32 divided by the golden ratio.
        const STEP: u32 = 0x9E37_79B9;
        let draw = self.draws.get().wrapping_add(STEP);
        self.draws.set(draw);
        draw
    }

    /// Counts a request of one of the home's own servers, which called by a name inside Hornero's network.
    pub(crate) fn count_call(&self, from: IpAddr, pool: &PoolName) {
        self.common.calls.count(self.lane, from, pool, Timestamp::now());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining_idle_ms.get().is_some()
    }

    /// Has connections end once they lie idle for so long; none has them go on again.
    pub(crate) fn set_draining(&self, idle_ms: Option<u64>) {
        self.draining_idle_ms.set(idle_ms);
    }

    /// Reads the clock, and ends what has been silent or idle for too long.
    pub(crate) fn tick(&self) {
        let now_ms = self.clock.tick();
        let idle_before_ms =
            self.draining_idle_ms.get().map(|idle_ms| now_ms.saturating_sub(idle_ms));
        self.slots.tick(now_ms, idle_before_ms);
        for backend in &self.table.borrow().backends {
            let span = backend.idle_timeout.get().unwrap_or(self.limits.backend_idle);
            let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            backend.drop_idle_before(now_ms.saturating_sub(span_ms));
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
        let connections = self.slots.count();
        for _ in 0..(connections / RELIEF_SHARE).clamp(1, RELIEF) {
            if !self.slots.give_up_oldest(Scope::All) {
                return;
            }
        }
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
