//! The sets that the edge counts for: one release in one pool each, from the table that first names it to its last
//! request.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hornero_model::{PoolName, ReleaseCounters, ReleaseNumber};
use tokio::sync::Notify;

use crate::{counters::SetCounters, table::Table};

/// One release in one pool.
pub(crate) type SetKey = (PoolName, ReleaseNumber);

/// The counters of all sets; belongs to the control thread.
pub(crate) struct Sets {
    threads: usize,
    sets: RefCell<BTreeMap<SetKey, Arc<SetCounters>>>,
    /// Retired sets that still had something in flight when last looked at.
    busy: RefCell<BTreeSet<SetKey>>,
    ended: Arc<Notify>,
}

impl Sets {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            sets: RefCell::default(),
            busy: RefCell::default(),
            ended: Arc::new(Notify::new()),
        }
    }

    /// Told when a request of a retired set ends.
    pub(crate) fn ended(&self) -> &Notify {
        &self.ended
    }

    /// The counters of a set, made when first asked for.
    pub(crate) fn of(&self, pool: &PoolName, release: ReleaseNumber) -> Arc<SetCounters> {
        let new = || SetCounters::new(pool.clone(), release, self.threads, self.ended.clone());
        self.sets.borrow_mut().entry((pool.clone(), release)).or_insert_with(new).clone()
    }

    /// Done before the threads get the table by which `receiving` get requests, so that no end of a request is missed.
    pub(crate) fn retire_all_but(&self, receiving: &BTreeSet<SetKey>) {
        for (key, set) in &*self.sets.borrow() {
            set.set_retired(!receiving.contains(key));
        }
    }

    /// Notes which retired sets still have something to end, and forgets sets without table and requests.
    pub(crate) fn forget_unused(&self, table: &Table, receiving: &BTreeSet<SetKey>) {
        let named: BTreeSet<SetKey> = table
            .backends
            .iter()
            .map(|backend| (backend.pool.clone(), backend.release))
            .chain(receiving.iter().cloned())
            .collect();
        let mut busy = self.busy.borrow_mut();
        busy.clear();
        self.sets.borrow_mut().retain(|key, set| {
            let in_flight = set.in_flight() > 0;
            if in_flight && !receiving.contains(key) {
                busy.insert(key.clone());
            }
            in_flight || named.contains(key)
        });
    }

    /// Whether a retired set has ended its last request since this was last asked.
    pub(crate) fn take_ended(&self) -> bool {
        let sets = self.sets.borrow();
        let mut busy = self.busy.borrow_mut();
        let before = busy.len();
        busy.retain(|key| sets.get(key).is_some_and(|set| set.in_flight() > 0));
        busy.len() < before
    }

    /// The counters of every set that the table names or that still has requests in flight.
    pub(crate) fn read(&self) -> Vec<ReleaseCounters> {
        self.sets.borrow().values().map(|set| set.read()).collect()
    }

    /// The same without the latencies, for who waits for a switch.
    pub(crate) fn read_counts(&self) -> Vec<ReleaseCounters> {
        self.sets.borrow().values().map(|set| set.read_counts()).collect()
    }

    /// Takes over the counters of a predecessor that still drains.
    pub(crate) fn inherit(&self, counters: &[ReleaseCounters]) {
        for counter in counters {
            self.of(&counter.pool, counter.release).inherit(counter);
        }
        self.ended.notify_one();
    }

    /// The predecessor is gone.
    pub(crate) fn settle_inherited(&self) {
        for set in self.sets.borrow().values() {
            set.settle_inherited();
        }
        self.ended.notify_one();
    }
}
