//! Counters of one release in one pool: a lane per thread, each written by its thread alone, summed when read.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hornero_model::{
    AnswerClasses, LatencyBucket, PoolName, ProbeCounters, ReleaseCounters, ReleaseNumber,
};
use tokio::sync::Notify;

/// One thread's counters, alone on its cache lines (128: pairs of lines are fetched together).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    requests: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    server_errors: AtomicU64,
    held: AtomicU64,
    retries: AtomicU64,
    /// By class: 1xx, 2xx, 3xx, 4xx.
    answers: [AtomicU64; 4],
    latency_sum_us: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// 2 KiB, made with the first answer: many sets never get one on every thread.
    latency: OnceLock<Box<[AtomicU64; LatencyBucket::COUNT]>>,
}

/// The counters of one release in one pool.
#[derive(Debug)]
pub(crate) struct SetCounters {
    pool: PoolName,
    release: ReleaseNumber,
    lanes: Box<[Lane]>,
    /// What a predecessor counted before it handed over, and what is still in flight there.
    inherited: Mutex<ReleaseCounters>,
    /// What came of this edge's own requests, once it made any.
    probes: Mutex<Option<Box<ProbeCounters>>>,
    /// Whether the set is out of traffic, so that its last request must be reported.
    retired: AtomicBool,
    /// Told whenever a request of a retired set ends.
    ended: Arc<Notify>,
}

/// Adds one to a counter that only the calling thread writes.
fn bump(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds to a counter that only the calling thread writes: a plain load and store, no locked instruction.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Release);
}

impl SetCounters {
    pub(crate) fn new(
        pool: PoolName,
        release: ReleaseNumber,
        threads: usize,
        ended: Arc<Notify>,
    ) -> Arc<Self> {
        let inherited = ReleaseCounters::new(pool.clone(), release);
        Arc::new(Self {
            pool,
            release,
            lanes: (0..threads).map(|_| Lane::default()).collect(),
            inherited: Mutex::new(inherited),
            probes: Mutex::default(),
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
        *self.inherited() = counters.clone();
    }

    /// The predecessor is gone: what it still had in flight was cut off with it.
    pub(crate) fn settle_inherited(&self) {
        let mut inherited = self.inherited();
        inherited.failed += inherited.in_flight;
        inherited.in_flight = 0;
    }

    fn inherited(&self) -> MutexGuard<'_, ReleaseCounters> {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request of the edge's own: the status of its answer and how long that took, or none where none came.
    pub(crate) fn probed(&self, answer: Option<(u16, Duration)>) {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let probes = probes.get_or_insert_default();
        probes.requests += 1;
        match answer {
            None => probes.failed += 1,
            Some((status, took)) => {
                probes.server_errors += u64::from(status >= 500);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                probes.latency.add(LatencyBucket::of_micros(micros), 1);
            }
        }
    }

    /// What came of the edge's own requests, those of a predecessor included.
    fn probes(&self) -> Option<Box<ProbeCounters>> {
        let own = self.probes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (own, self.inherited().probes.clone()) {
            (Some(mut own), Some(inherited)) => {
                own.merge(&inherited);
                Some(own)
            }
            (own, inherited) => own.or(inherited),
        }
    }

    /// Requests begun and in flight, without those of a predecessor.
    fn begun(&self) -> (u64, u64) {
        // Ends before beginnings: the difference is never less than what is in flight.
        let ended: u64 = self.lanes.iter().map(|lane| lane.ended.load(Ordering::Acquire)).sum();
        let begun: u64 = self.lanes.iter().map(|lane| lane.requests.load(Ordering::Acquire)).sum();
        (begun, begun.saturating_sub(ended))
    }

    /// Requests in flight, here and at a predecessor.
    pub(crate) fn in_flight(&self) -> u64 {
        self.begun().1 + self.inherited().in_flight
    }

    /// Everything but the latencies.
    pub(crate) fn read_counts(&self) -> ReleaseCounters {
        let inherited = self.inherited();
        let (begun, in_flight) = self.begun();
        let sum = |counter: fn(&Lane) -> &AtomicU64| -> u64 {
            self.lanes.iter().map(|lane| counter(lane).load(Ordering::Acquire)).sum()
        };
        let mut answers = AnswerClasses {
            upgraded: sum(|lane| &lane.answers[0]),
            success: sum(|lane| &lane.answers[1]),
            redirect: sum(|lane| &lane.answers[2]),
            client_error: sum(|lane| &lane.answers[3]),
        };
        answers.merge(&inherited.answers);
        ReleaseCounters {
            requests: inherited.requests + begun,
            in_flight: inherited.in_flight + in_flight,
            failed: inherited.failed + sum(|lane| &lane.failed),
            server_errors: inherited.server_errors + sum(|lane| &lane.server_errors),
            held: inherited.held + sum(|lane| &lane.held),
            retries: inherited.retries + sum(|lane| &lane.retries),
            answers,
            bytes_in: Some(inherited.bytes_in.unwrap_or(0) + sum(|lane| &lane.bytes_in)),
            bytes_out: Some(inherited.bytes_out.unwrap_or(0) + sum(|lane| &lane.bytes_out)),
            ..ReleaseCounters::new(self.pool.clone(), self.release)
        }
    }

    /// Everything.
    pub(crate) fn read(&self) -> ReleaseCounters {
        let (mut latency, mut latency_sum_us) = {
            let inherited = self.inherited();
            (inherited.latency.clone(), inherited.latency_sum_us)
        };
        for lane in &self.lanes {
            latency_sum_us += lane.latency_sum_us.load(Ordering::Acquire);
        }
        for counts in self.lanes.iter().filter_map(|lane| lane.latency.get()) {
            for (bucket, count) in LatencyBucket::all().zip(counts.iter()) {
                latency.add(bucket, count.load(Ordering::Acquire));
            }
        }
        let probes = self.probes();
        ReleaseCounters { latency, latency_sum_us, probes, ..self.read_counts() }
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

    /// Counts bytes that went to an instance.
    pub(crate) fn sent(&self, count: usize) {
        add(&self.lane().bytes_in, count as u64);
    }

    /// Counts bytes that came from an instance.
    pub(crate) fn received(&self, count: usize) {
        add(&self.lane().bytes_out, count as u64);
    }
}

/// A request in flight; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    counters: Rc<LaneCounters>,
    failed: bool,
    begun: Instant,
}

impl Ticket {
    pub(crate) fn begin(counters: Rc<LaneCounters>) -> Self {
        bump(&counters.lane().requests);
        Self { counters, failed: false, begun: Instant::now() }
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

    /// Counts the request as one that waited before it was let in.
    pub(crate) fn held(&self) {
        bump(&self.counters.lane().held);
    }

    /// Counts another attempt, after one that reached no server or got no word from it.
    pub(crate) fn retried(&self) {
        bump(&self.counters.lane().retries);
    }

    /// Counts an answer that the instance gave, when its head is there: how long it took, and whether it is a server error.
    pub(crate) fn answered(&self, status: u16) {
        let lane = self.counters.lane();
        match lane.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            Some(class) => bump(class),
            None => bump(&lane.server_errors),
        }
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let latency = lane
            .latency
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; LatencyBucket::COUNT]));
        bump(&latency[LatencyBucket::of_micros(micros).index()]);
        add(&lane.latency_sum_us, micros);
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
