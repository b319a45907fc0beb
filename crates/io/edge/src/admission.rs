//! Who may connect: how many connections a source and a listener may hold, and what is counted of those that may not.
//!
//! Listeners for the outside and those for the home's own servers have rooms of their own, so that neither fills the
//! other's. In a room each listener has a reserve that no other can take, and no source can hold more than a share. A
//! connection beyond a limit takes the place of the oldest one on which no request is under way; where there is none,
//! it is refused.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use hornero_model::{ConnectionCounters, EdgeConnections};

use crate::{
    limits::{LISTENER_RESERVE, Limits, SLACK, SOURCE_SHARE},
    slot::Slot,
    spare::Scope,
    worker::Worker,
};

/// Parts of the table of sources, each with a lock of its own: threads that accept at the same time rarely meet.
const SHARDS: usize = 64;

/// What connections are counted by: an IPv4 address, or the /64 that one IPv6 host usually has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Outside,
    /// The home's own servers, which call services by name.
    Internal,
}

/// What becomes of one connection more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Within,
    /// In the place of another one.
    Beyond,
    Refused,
}

/// Judges one more than `before` by a limit. What was given up is still there for a moment, so some more may come
/// before it has gone.
fn judge(before: usize, limit: usize, slack: usize) -> Verdict {
    match before {
        _ if before < limit => Verdict::Within,
        _ if before < limit + slack => Verdict::Beyond,
        _ => Verdict::Refused,
    }
}

/// The connections of all listeners of one kind.
#[derive(Debug)]
pub(crate) struct Room {
    kind: Kind,
    limit: usize,
    source_limit: usize,
    /// By how much both may be passed while what was given up closes.
    slack: usize,
    /// What each listener can always have.
    reserve: usize,
    /// What all listeners together can have beyond their reserves.
    shared_limit: AtomicUsize,
    shared: AtomicUsize,
    open: AtomicUsize,
    /// The most that were open since it was last asked.
    peak: AtomicUsize,
    sources: Box<[Mutex<HashMap<Source, usize>>]>,
    hasher: RandomState,
    given_up: AtomicU64,
    refused: AtomicU64,
    refused_by_source: AtomicU64,
    slow_heads: AtomicU64,
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
            sources: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            given_up: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_by_source: AtomicU64::new(0),
            slow_heads: AtomicU64::new(0),
        })
    }

    /// Half at least is shared, however many listeners have reserves.
    fn share_among(&self, listeners: usize) {
        let shared = self.limit.saturating_sub(self.reserve * listeners).max(self.limit / 2);
        self.shared_limit.store(shared, Relaxed);
    }

    fn source(&self, source: Source) -> MutexGuard<'_, HashMap<Source, usize>> {
        let shard = self.hasher.hash_one(source) % SHARDS as u64;
        self.sources[shard as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `source` in; how many it had before.
    fn enter_source(&self, source: Source) -> usize {
        let mut sources = self.source(source);
        let count = sources.entry(source).or_default();
        *count += 1;
        *count - 1
    }

    fn leave_source(&self, source: Source) {
        let mut sources = self.source(source);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
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
        }
    }
}

/// The connections of one listener, over all threads.
#[derive(Debug)]
pub(crate) struct Gauge {
    room: Arc<Room>,
    open: AtomicUsize,
}

impl Gauge {
    pub(crate) fn kind(&self) -> Kind {
        self.room.kind
    }

    /// Whether it holds more than its reserve, so that giving one up makes room for others.
    pub(crate) fn is_beyond_reserve(&self) -> bool {
        self.open.load(Relaxed) > self.room.reserve
    }

    /// A client took too long for its head.
    pub(crate) fn count_slow_head(&self) {
        self.room.slow_heads.fetch_add(1, Relaxed);
    }

    /// A connection was closed to make room.
    pub(crate) fn count_given_up(&self) {
        self.room.given_up.fetch_add(1, Relaxed);
    }

    /// Counts a connection in; what would be beyond the reserve before it, if it is.
    fn enter(&self) -> Option<usize> {
        let open = self.room.open.fetch_add(1, Relaxed) + 1;
        if open > self.room.peak.load(Relaxed) {
            self.room.peak.store(open, Relaxed);
        }
        let before = self.open.fetch_add(1, Relaxed);
        (before >= self.room.reserve).then(|| self.room.shared.fetch_add(1, Relaxed))
    }

    fn leave(&self) {
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
        let fresh = || Arc::new(Gauge { room: room.clone(), open: AtomicUsize::new(0) });
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
    pub(crate) source: Source,
    pub(crate) gauge: Arc<Gauge>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its source has too many, each with a request under way.
    Source,
    /// There are too many in all, each with a request under way.
    Full,
}

/// A client connection among all; leaving counts it out.
#[derive(Debug)]
pub(crate) struct Admission(Place);

impl Admission {
    /// Counts a connection in. Where there are too many, an older one on which no request is under way is given up.
    pub(crate) fn new(worker: &Worker, slot: &Slot, place: Place) -> Result<Self, Refused> {
        let room = &place.gauge.room;
        let of_source = room.enter_source(place.source);
        let shared = place.gauge.enter();
        let kind = room.kind;
        let admission = Self(place);
        let room = &admission.0.gauge.room;
        let makes_room = |verdict, scope| match verdict {
            Verdict::Within => Some(false),
            Verdict::Beyond => worker.give_up_oldest(scope).then_some(true),
            Verdict::Refused => None,
        };
        let source = Scope::Source(kind, admission.0.source);
        let Some(made) = makes_room(judge(of_source, room.source_limit, room.slack), source) else {
            room.refused_by_source.fetch_add(1, Relaxed);
            return Err(Refused::Source);
        };
        let shared_limit = room.shared_limit.load(Relaxed);
        let verdict =
            shared.map_or(Verdict::Within, |before| judge(before, shared_limit, room.slack));
        // One of the same source that goes makes room for this one as well.
        let enough = made && verdict != Verdict::Refused;
        if !enough && makes_room(verdict, Scope::Room(kind)).is_none() {
            room.refused.fetch_add(1, Relaxed);
            return Err(Refused::Full);
        }
        slot.set_place(admission.0.clone());
        Ok(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.gauge.room.leave_source(self.0.source);
        self.0.gauge.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_counted_by_its_64() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn a_listener_keeps_its_reserve_while_another_takes_all_that_is_shared() {
        let limits = Limits { max_connections: 1280, ..Limits::default() };
        let rooms = Rooms::new(&limits, 1, None);
        let [flooded, other] =
            ["127.0.0.1:1", "127.0.0.1:2"].map(|listener| rooms.gauge(listener.parse().unwrap()));
        rooms.keep(|_| true);
        let room = &rooms.outside;
        let fits = |before: Option<usize>| {
            before.is_none_or(|before| {
                judge(before, room.shared_limit.load(Relaxed), 0) == Verdict::Within
            })
        };
        let count = (0..2000).take_while(|_| fits(flooded.enter())).count();
        assert_eq!(count, 1270, "all but the reserve of the other");
        assert!(flooded.is_beyond_reserve());
        assert_eq!((0..20).take_while(|_| fits(other.enter())).count(), 10);
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
