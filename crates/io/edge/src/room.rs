//! The rooms for connections: how many each listener and source holds, counted over all threads.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use hornero_model::{ConnectionCounters, EdgeConnections};

use crate::{
    limits::{LISTENER_RESERVE, Limits, SLACK, SOURCE_SHARE},
    source::{Source, Sources},
};

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Outside,
    /// The home's own servers, which call services by name.
    Internal,
}

/// What becomes of one connection more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Within,
    /// In the place of another one.
    Beyond,
    Refused,
}

/// Judges one more than `before` by a limit. What was given up is still there for a moment, so some more may come
/// before it has gone.
pub(crate) fn fit(before: usize, limit: usize, slack: usize) -> Fit {
    match before {
        _ if before < limit => Fit::Within,
        _ if before < limit + slack => Fit::Beyond,
        _ => Fit::Refused,
    }
}

/// The connections of all listeners of one kind.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) kind: Kind,
    limit: usize,
    pub(crate) source_limit: usize,
    /// By how much both may be passed while what was given up closes.
    pub(crate) slack: usize,
    /// What each listener can always have.
    reserve: usize,
    /// What all listeners together can have beyond their reserves.
    pub(crate) shared_limit: AtomicUsize,
    shared: AtomicUsize,
    open: AtomicUsize,
    /// The most that were open since it was last asked.
    peak: AtomicUsize,
    pub(crate) sources: Sources,
    given_up: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) refused_by_source: AtomicU64,
    slow_heads: AtomicU64,
    bad_proxy_headers: AtomicU64,
}

impl Room {
    fn new(kind: Kind, limit: usize, slack: usize) -> Arc<Self> {
        Arc::new(Self {
            kind,
            limit,
            source_limit: (limit / SOURCE_SHARE).max(1),
            slack,
            reserve: limit / LISTENER_RESERVE,
            shared_limit: AtomicUsize::new(limit),
            shared: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            sources: Sources::default(),
            given_up: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_by_source: AtomicU64::new(0),
            slow_heads: AtomicU64::new(0),
            bad_proxy_headers: AtomicU64::new(0),
        })
    }

    /// Half at least is shared, however many listeners have reserves.
    fn share_among(&self, listeners: usize) {
        let shared = self.limit.saturating_sub(self.reserve * listeners).max(self.limit / 2);
        self.shared_limit.store(shared, Relaxed);
    }

    fn read(&self) -> ConnectionCounters {
        ConnectionCounters {
            open: self.open.load(Relaxed) as u64,
            limit: self.limit as u64,
            source_limit: self.source_limit as u64,
            given_up: self.given_up.load(Relaxed),
            refused: self.refused.load(Relaxed),
            refused_by_source: self.refused_by_source.load(Relaxed),
            slow_heads: self.slow_heads.load(Relaxed),
            bad_proxy_headers: self.bad_proxy_headers.load(Relaxed),
        }
    }
}

/// The connections of one listener, over all threads.
#[derive(Debug)]
pub(crate) struct Gauge {
    address: SocketAddr,
    pub(crate) room: Arc<Room>,
    open: AtomicUsize,
    /// Those that came while the listener had a limit for each source.
    sources: OnceLock<Sources>,
}

impl Gauge {
    /// The listener's address in the table.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kind(&self) -> Kind {
        self.room.kind
    }

    pub(crate) fn sources(&self) -> &Sources {
        self.sources.get_or_init(Sources::default)
    }

    /// Whether it holds more than its reserve, so that giving one up makes room for others.
    pub(crate) fn is_beyond_reserve(&self) -> bool {
        self.open.load(Relaxed) > self.room.reserve
    }

    /// A client took too long for its head.
    pub(crate) fn count_slow_head(&self) {
        self.room.slow_heads.fetch_add(1, Relaxed);
    }

    /// A trusted proxy did not say for whom its connection is.
    pub(crate) fn count_bad_proxy_header(&self) {
        self.room.bad_proxy_headers.fetch_add(1, Relaxed);
    }

    /// A connection was closed to make room.
    pub(crate) fn count_given_up(&self) {
        self.room.given_up.fetch_add(1, Relaxed);
    }

    /// Counts a connection in; how many the listener had, and how many there were beyond reserves, if it is beyond its own.
    pub(crate) fn enter(&self) -> (usize, Option<usize>) {
        let open = self.room.open.fetch_add(1, Relaxed) + 1;
        if open > self.room.peak.load(Relaxed) {
            self.room.peak.store(open, Relaxed);
        }
        let before = self.open.fetch_add(1, Relaxed);
        let is_shared = before >= self.room.reserve;
        (before, is_shared.then(|| self.room.shared.fetch_add(1, Relaxed)))
    }

    pub(crate) fn leave(&self) {
        self.room.open.fetch_sub(1, Relaxed);
        if self.open.fetch_sub(1, Relaxed) > self.room.reserve {
            self.room.shared.fetch_sub(1, Relaxed);
        }
    }
}

/// Both rooms, and the listeners in them.
#[derive(Debug)]
pub(crate) struct Rooms {
    outside: Arc<Room>,
    internal: Arc<Room>,
    /// First and last address of listeners for the home's own servers.
    internal_addresses: Option<(IpAddr, IpAddr)>,
    gauges: Mutex<BTreeMap<SocketAddr, Arc<Gauge>>>,
}

impl Rooms {
    pub(crate) fn new(
        limits: &Limits,
        threads: usize,
        internal_addresses: Option<(IpAddr, IpAddr)>,
    ) -> Self {
        let room = |kind, limit| Room::new(kind, limit, threads * SLACK);
        Self {
            outside: room(Kind::Outside, limits.max_connections),
            internal: room(Kind::Internal, limits.max_internal_connections),
            internal_addresses,
            gauges: Mutex::default(),
        }
    }

    /// The gauge of a listener, the same one by every table.
    pub(crate) fn gauge(&self, listener: SocketAddr) -> Arc<Gauge> {
        let address = listener.ip();
        let internal =
            self.internal_addresses.is_some_and(|(first, last)| (first..=last).contains(&address));
        let room = if internal { &self.internal } else { &self.outside };
        let fresh = || {
            Arc::new(Gauge {
                address: listener,
                room: room.clone(),
                open: AtomicUsize::new(0),
                sources: OnceLock::new(),
            })
        };
        self.gauges().entry(listener).or_insert_with(fresh).clone()
    }

    /// Shares the rooms among the listeners that are left.
    pub(crate) fn keep(&self, is_kept: impl Fn(&SocketAddr) -> bool) {
        let mut gauges = self.gauges();
        gauges.retain(|listener, _| is_kept(listener));
        for room in [&self.outside, &self.internal] {
            room.share_among(gauges.values().filter(|gauge| gauge.kind() == room.kind).count());
        }
    }

    fn gauges(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Gauge>>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> u64 {
        [&self.outside, &self.internal].map(|room| room.open.load(Relaxed) as u64).iter().sum()
    }

    /// About how many were open at most since this was last asked.
    pub(crate) fn take_peak(&self) -> u64 {
        [&self.outside, &self.internal].map(|room| room.peak.swap(0, Relaxed) as u64).iter().sum()
    }

    pub(crate) fn read(&self) -> EdgeConnections {
        EdgeConnections { outside: self.outside.read(), internal: self.internal.read() }
    }
}

/// Where a connection is counted.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Who connected; later, who a trusted proxy says did.
    pub(crate) source: Cell<Source>,
    pub(crate) gauge: Arc<Gauge>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_keeps_its_reserve_while_another_takes_all_that_is_shared() {
        let limits = Limits { max_connections: 1280, ..Limits::default() };
        let rooms = Rooms::new(&limits, 1, None);
        let [flooded, other] =
            ["127.0.0.1:1", "127.0.0.1:2"].map(|listener| rooms.gauge(listener.parse().unwrap()));
        rooms.keep(|_| true);
        let room = &rooms.outside;
        let is_within = |before: Option<usize>| {
            before
                .is_none_or(|before| fit(before, room.shared_limit.load(Relaxed), 0) == Fit::Within)
        };
        let count = (0..2000).take_while(|_| is_within(flooded.enter().1)).count();
        assert_eq!(count, 1270, "all but the reserve of the other");
        assert!(flooded.is_beyond_reserve());
        assert_eq!((0..20).take_while(|_| is_within(other.enter().1)).count(), 10);
        for _ in 0..=count {
            flooded.leave();
        }
        assert_eq!(room.open.load(Relaxed), 11);
        assert_eq!(room.shared.load(Relaxed), 1, "that of the other beyond its reserve");
    }

    #[test]
    fn rooms_are_apart() {
        let limits = Limits::default();
        let range = ("10.64.1.0".parse().unwrap(), "10.64.15.255".parse().unwrap());
        let rooms = Rooms::new(&limits, 1, Some(range));
        let kind = |listener: &str| rooms.gauge(listener.parse().unwrap()).kind();
        assert_eq!(kind("10.64.1.0:80"), Kind::Internal);
        assert_eq!(kind("10.64.15.255:80"), Kind::Internal);
        assert_eq!(kind("10.64.0.1:80"), Kind::Outside);
        assert_eq!(kind("10.64.16.0:80"), Kind::Outside);
        assert_eq!(kind("0.0.0.0:80"), Kind::Outside);
        assert_eq!(kind("[::]:80"), Kind::Outside);
    }
}
