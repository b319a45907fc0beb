//! Counters of one release in one pool: a lane per thread, each written by its thread alone, summed when read.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hornero_model::{PoolName, ReleaseCounters, ReleaseNumber};
use tokio::sync::Notify;

/// One thread's counters, alone on its cache lines (128: pairs of lines are fetched together).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    requests: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    server_errors: AtomicU64,
}

/// The counters of one release in one pool.
#[derive(Debug)]
pub(crate) struct SetCounters {
    pool: PoolName,
    release: ReleaseNumber,
    lanes: Box<[Lane]>,
    /// What a predecessor counted before it handed over: requests, failed, server errors, still in flight there.
    inherited: Mutex<[u64; 4]>,
    /// Whether the set is out of traffic, so that its last request must be reported.
    retired: AtomicBool,
    /// Told whenever a request of a retired set ends.
    ended: Arc<Notify>,
}

/// Adds one to a counter that only the calling thread writes: a plain load and store, no locked instruction.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}

impl SetCounters {
    pub(crate) fn new(
        pool: PoolName,
        release: ReleaseNumber,
        threads: usize,
        ended: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pool,
            release,
            lanes: (0..threads).map(|_| Lane::default()).collect(),
            inherited: Mutex::new([0; 4]),
            retired: AtomicBool::new(false),
            ended,
        })
    }

    pub(crate) fn pool(&self) -> &PoolName {
        &self.pool
    }

    pub(crate) fn release(&self) -> ReleaseNumber {
        self.release
    }

    /// Set before the table that retires the set goes to the threads, so that no end after it is missed.
    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }

    /// Replaces what the predecessor counted.
    pub(crate) fn inherit(&self, counters: &ReleaseCounters) {
        *self.inherited.lock().unwrap_or_else(PoisonError::into_inner) =
            [counters.requests, counters.failed, counters.server_errors, counters.in_flight];
    }

    /// The predecessor is gone: what it still had in flight was cut off with it.
    pub(crate) fn settle_inherited(&self) {
        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        inherited[1] += inherited[3];
        inherited[3] = 0;
    }

    pub(crate) fn read(&self) -> ReleaseCounters {
        let [mut requests, mut failed, mut server_errors, mut in_flight] =
            *self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends before beginnings: the difference is never less than what is in flight.
        let ended: u64 = self.lanes.iter().map(|lane| lane.ended.load(Ordering::Acquire)).sum();
        let begun: u64 = self.lanes.iter().map(|lane| lane.requests.load(Ordering::Acquire)).sum();
        for lane in &self.lanes {
            failed += lane.failed.load(Ordering::Acquire);
            server_errors += lane.server_errors.load(Ordering::Acquire);
        }
        requests += begun;
        in_flight += begun.saturating_sub(ended);
        ReleaseCounters {
            pool: self.pool.clone(),
            release: self.release,
            requests,
            in_flight,
            failed,
            server_errors,
        }
    }
}

/// A thread's hold on the counters of a set.
#[derive(Debug)]
pub(crate) struct LaneCounters {
    set: Arc<SetCounters>,
    lane: usize,
}

impl LaneCounters {
    pub(crate) fn new(set: Arc<SetCounters>, lane: usize) -> Rc<Self> {
        Rc::new(Self { set, lane })
    }

    pub(crate) fn set(&self) -> &Arc<SetCounters> {
        &self.set
    }

    fn lane(&self) -> &Lane {
        &self.set.lanes[self.lane]
    }
}

/// A request in flight; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    counters: Rc<LaneCounters>,
    failed: bool,
}

impl Ticket {
    pub(crate) fn begin(counters: Rc<LaneCounters>) -> Self {
        bump(&counters.lane().requests);
        Self { counters, failed: false }
    }

    /// Whether it counts for the set of `counters`, by whichever table that was named.
    pub(crate) fn is_on(&self, counters: &Rc<LaneCounters>) -> bool {
        Arc::ptr_eq(&self.counters.set, &counters.set)
    }

    /// Counts the request as failed, once.
    pub(crate) fn fail(&mut self) {
        if !self.failed {
            self.failed = true;
            bump(&self.counters.lane().failed);
        }
    }

    /// Counts an answer of 500 or more that the instance gave.
    pub(crate) fn server_error(&self) {
        bump(&self.counters.lane().server_errors);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        bump(&self.counters.lane().ended);
        if self.counters.set.retired.load(Ordering::Relaxed) {
            self.counters.set.ended.notify_one();
        }
    }
}
