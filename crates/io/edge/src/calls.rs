//! Which of the home's own servers called which pool: a lane per thread, each told by itself, since each begins anew by itself.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hornero_model::{EdgeCalls, Millis, PoolName, SeenCall, Timestamp};

/// What a lane remembers at most: more than all instances of a home calling a dozen services each.
const CALLS: usize = 16_384;
/// Addresses of instances are given again after ten minutes at the earliest: what has been silent for so long may be another
/// server's next time, and is counted anew.
const SILENCE: Millis = Millis(600_000);

/// What a server called.
#[derive(Debug)]
struct Called {
    pool: PoolName,
    requests: u64,
    since: Timestamp,
    last: Timestamp,
}

/// One thread's calls. Its lock is contended only while somebody asks.
#[derive(Debug, Default)]
struct Lane {
    callers: HashMap<IpAddr, Vec<Called>>,
    count: usize,
    uncounted: u64,
}

/// The calls of all threads.
#[derive(Debug)]
pub(crate) struct Calls(Box<[Mutex<Lane>]>);

impl Calls {
    /// None yet.
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    /// Counts a call.
    pub(crate) fn count(&self, lane: usize, from: IpAddr, pool: &PoolName, now: Timestamp) {
        if let Some(lane) = self.0.get(lane) {
            locked(lane).count(from.to_canonical(), pool, now);
        }
    }

    /// All that are known, by caller, pool and lane.
    pub(crate) fn read(&self, now: Timestamp) -> EdgeCalls {
        let (mut calls, mut uncounted) = (Vec::new(), 0);
        for (number, lane) in (0..).zip(&self.0) {
            let mut lane = locked(lane);
            lane.forget_silent(now);
            uncounted += lane.uncounted;
            let called = lane.callers.iter().flat_map(|(from, of)| of.iter().map(|of| (*from, of)));
            calls.extend(called.map(|(from, called)| SeenCall {
                from,
                pool: called.pool.clone(),
                lane: number,
                requests: called.requests,
                since: called.since,
                last: called.last,
            }));
        }
        calls.sort_by(|one, other| {
            (one.from, &one.pool, one.lane).cmp(&(other.from, &other.pool, other.lane))
        });
        EdgeCalls { pid: std::process::id(), calls, uncounted }
    }
}

fn locked(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    fn count(&mut self, from: IpAddr, pool: &PoolName, now: Timestamp) {
        let known = self.callers.get_mut(&from);
        if let Some(called) = known.and_then(|of| of.iter_mut().find(|of| of.pool == *pool)) {
            if now.since(called.last) >= SILENCE {
                (called.requests, called.since) = (0, now);
            }
            called.requests += 1;
            called.last = now;
            return;
        }
        if self.count >= CALLS {
            self.forget_silent(now);
        }
        if self.count >= CALLS {
            self.uncounted += 1;
            return;
        }
        let called = Called { pool: pool.clone(), requests: 1, since: now, last: now };
        self.callers.entry(from).or_default().push(called);
        self.count += 1;
    }

    fn forget_silent(&mut self, now: Timestamp) {
        self.callers.retain(|_, of| {
            of.retain(|called| now.since(called.last) < SILENCE);
            !of.is_empty()
        });
        self.count = self.callers.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(service: &str) -> PoolName {
        PoolName { service: service.parse().unwrap(), port: "http".parse().unwrap() }
    }

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a40_1000 + last).into())
    }

    #[test]
    fn each_thread_counts_for_itself_and_anew_after_a_long_silence() {
        let calls = Calls::new(2);
        let at = |seconds: u64| Timestamp(1_000_000 + seconds * 1_000);
        calls.count(0, address(1), &pool("orders"), at(0));
        calls.count(1, address(1), &pool("orders"), at(3));
        calls.count(1, address(1), &pool("users"), at(4));
        let read = calls.read(at(5));
        let seen: Vec<_> = read.calls.iter().map(|of| (of.requests, of.since, of.last)).collect();
        assert_eq!(seen, [(1, at(0), at(0)), (1, at(3), at(3)), (1, at(4), at(4))]);
        // Silent for ten minutes in one thread, which counts anew; what the other counts goes on.
        calls.count(0, address(1), &pool("orders"), at(602));
        let read = calls.read(at(602));
        let seen: Vec<_> = read.calls.iter().map(|of| (of.lane, of.requests, of.since)).collect();
        assert_eq!(seen, [(0, 1, at(602)), (1, 1, at(3)), (1, 1, at(4))]);
        assert!(calls.read(at(2_000)).calls.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let calls = Calls::new(1);
        let now = Timestamp(1_000_000);
        for caller in 0..u32::try_from(CALLS).unwrap() + 10 {
            calls.count(0, address(caller), &pool("orders"), now);
        }
        let read = calls.read(now);
        assert_eq!((read.calls.len(), read.uncounted), (CALLS, 10));
        // Room comes back with silence.
        calls.count(0, address(70_000), &pool("orders"), now.after(SILENCE));
        assert_eq!(calls.read(now.after(SILENCE)).calls.len(), 1);
    }
}
