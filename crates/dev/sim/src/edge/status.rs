//! What the simulated edge tells of itself: its status, and what it has counted.

use hornero_model::{BackendStatus, EdgeStatus, Health, Listener, ListenerFault, ReleaseCounters};

use super::{SimEdge, SimRequest};
use crate::pools::{gets, is_held};

impl SimEdge {
    /// It confirms the table in force: whoever asked once more is told how things are by then.
    pub(crate) fn confirms(&mut self) -> Vec<ReleaseCounters> {
        let counters = self.counters();
        self.history.insert(self.table.generation, counters.clone());
        counters
    }

    /// Requests that were in flight on a release of a service when it put a table in force; none where it never did.
    pub(crate) fn in_flight_at(
        &self,
        generation: u64,
        counts: impl Fn(&ReleaseCounters) -> bool,
    ) -> Option<u64> {
        let counters = self.history.get(&generation)?;
        Some(counters.iter().filter(|of| counts(of)).map(|of| of.in_flight).sum())
    }

    /// Its status.
    pub fn status(&self) -> EdgeStatus {
        let backends = self.backends().map(|(pool, id, release)| BackendStatus {
            pool: pool.clone(),
            instance: id.clone(),
            release,
            health: self.health.get(id).map_or(Health::Unknown, |state| state.0),
            last_error: None,
        });
        EdgeStatus {
            pid: self.pid,
            generation: self.table.generation,
            version: self.version,
            backends: backends.collect(),
            counters: self.counters(),
            connections: None,
            faults: self.faults(),
            term: self.term,
            waiting: self.idle.told(),
        }
    }

    fn faults(&self) -> Vec<ListenerFault> {
        let listeners = self.table.listeners.iter();
        let broken = listeners.filter(|of| self.broken.contains(&of.address.port()));
        let fault = |listener: &Listener| ListenerFault {
            address: listener.address,
            reason: "there is no certificate".to_owned(),
            serves: false,
            certificate: None,
        };
        broken.map(|listener| fault(listener)).collect()
    }

    /// Counters of every release it knows.
    pub fn counters(&self) -> Vec<ReleaseCounters> {
        self.counters
            .iter()
            .map(|((pool, release), counted)| ReleaseCounters {
                requests: counted.requests,
                in_flight: self
                    .requests
                    .iter()
                    .filter(|request| request.pool == *pool && request.release == *release)
                    .count() as u64,
                failed: counted.failed,
                server_errors: counted.server_errors,
                probes: counted.probed.told(),
                ..ReleaseCounters::new(pool.clone(), *release)
            })
            .collect()
    }

    /// Requests in flight on releases that get no new ones.
    pub fn inactive_in_flight(&self) -> usize {
        let active = |request: &&SimRequest| {
            !self.table.pools.iter().any(|pool| {
                pool.name == request.pool && gets(pool, request.release) && !is_held(pool)
            })
        };
        self.requests.iter().filter(active).count()
    }
}
