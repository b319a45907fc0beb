//! Requests that wait at pools of which nothing runs, and services to which none come.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{Admission, EventBody, PoolName, PoolWaiting, ServiceName};
use hornero_rollout::World;

/// How old what control decides by may be.
const LATE_NEWS_MS: u64 = 2_500;
/// For how long requests are remembered.
const REMEMBERED_MS: u64 = 30_000;

/// The gates of an edge that only a server opens.
#[derive(Debug, Default)]
pub struct IdleGates {
    /// Services to which no requests come.
    pub silent: BTreeSet<ServiceName>,
    /// How long the longest of those that were let in waited, in milliseconds.
    pub longest_wait_ms: u64,
    /// When each request that waits came, the first one first.
    waiting: BTreeMap<PoolName, Vec<u64>>,
    /// When requests came.
    came: BTreeMap<ServiceName, BTreeSet<u64>>,
}

impl IdleGates {
    /// A request comes, or none does, and those that waited for too long, or are too many, fail: how many, and whether
    /// one that waits is the first.
    pub(crate) fn hold(
        &mut self,
        pool: &PoolName,
        admission: Admission,
        comes: bool,
        now: u64,
    ) -> (usize, bool) {
        let Admission::Idle { wait, at_most } = admission else { return (0, false) };
        let waiting = self.waiting.entry(pool.clone()).or_default();
        let before = waiting.len();
        waiting.retain(|since| now < since + wait.0);
        let mut failed = before - waiting.len();
        let is_first = waiting.is_empty();
        if comes {
            note(&mut self.came, pool, now);
            match waiting.len() < at_most as usize {
                true => waiting.push(now),
                false => failed += 1,
            }
        }
        (failed, is_first && !waiting.is_empty())
    }

    /// How many of those that waited at a pool go on.
    pub(crate) fn let_in(&mut self, pool: &PoolName, comes: bool, now: u64) -> u64 {
        let waited = self.waiting.remove(pool).unwrap_or_default();
        if let Some(first) = waited.first() {
            self.longest_wait_ms = self.longest_wait_ms.max(now - first);
        }
        if comes || !waited.is_empty() {
            note(&mut self.came, pool, now);
        }
        waited.len() as u64
    }

    /// Who waits.
    pub(crate) fn told(&self) -> Vec<PoolWaiting> {
        let waits = self.waiting.iter().filter(|(_, waiting)| !waiting.is_empty());
        waits
            .map(|(pool, waiting)| PoolWaiting {
                pool: pool.clone(),
                requests: u32::try_from(waiting.len()).unwrap_or(u32::MAX),
            })
            .collect()
    }

    /// The edge ends.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What is wrong with an event by which nothing of a service runs any more: requests came to it until now.
    pub(crate) fn too_early(&self, event: &EventBody, before: &World, now: u64) -> Option<String> {
        let EventBody::Scaled { service, to: 0, .. } = event else { return None };
        let spec = &before.services.get(service)?.serving_release()?.spec;
        let Some(to_zero) = spec.to_zero() else {
            return Some(format!(
                "last-healthy: nothing of `{service}` is to run, which nobody declared"
            ));
        };
        // What came since the last news could not be known.
        let known = now.saturating_sub(LATE_NEWS_MS);
        let quiet = now.saturating_sub(to_zero.idle.0)..known;
        let last = self.came.get(service)?.range(quiet).next_back()?;
        Some(format!("last-healthy: `{service}` sleeps {} ms after a request", now - last))
    }

    /// Forgets who waits where there is nothing to wait at any more.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&PoolName) -> bool) {
        self.waiting.retain(|pool, _| is_there(pool));
    }
}

fn note(came: &mut BTreeMap<ServiceName, BTreeSet<u64>>, pool: &PoolName, now: u64) {
    let came = came.entry(pool.service.clone()).or_default();
    *came = came.split_off(&now.saturating_sub(REMEMBERED_MS));
    came.insert(now);
}
