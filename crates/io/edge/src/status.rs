//! What an edge tells of itself: its status, its listeners' faults, who it is.

use hornero_model::{BackendStatus, EdgeStatus, Listener, ListenerFault, PoolWaiting, RouteTls};

use crate::{
    admin::protocol::{EdgeIdentity, Greeting},
    control::Control,
    table::Table,
};

/// Who waits at the gates of a table.
fn waiting(table: &Table) -> Vec<PoolWaiting> {
    let gates = table.pools.iter().filter_map(|pool| Some((&pool.name, pool.gate.as_ref()?)));
    let waiting = gates.map(|(name, gate)| (name, gate.waiting())).filter(|(_, of)| *of > 0);
    waiting.map(|(name, requests)| PoolWaiting { pool: name.clone(), requests }).collect()
}

impl Control {
    /// What this edge tells of itself.
    pub(crate) fn identity(&self) -> EdgeIdentity {
        EdgeIdentity {
            greeting: Greeting::of(&self.options.version),
            pid: std::process::id(),
            connections: self.connections(),
            leaving: self.is_leaving(),
            succession: self.takeover.borrow().clone(),
        }
    }

    /// The table in force and what is seen of it.
    pub(crate) fn status(&self) -> EdgeStatus {
        let table = self.table();
        // The version changes on this thread only, but requests end on others: a set seen empty here is news, so that
        // no two statuses of one version differ in that.
        let counters = loop {
            let counters = self.sets.read();
            if !self.sets.take_ended() {
                break counters;
            }
            self.bump();
        };
        let backends = table
            .backends
            .iter()
            .map(|backend| BackendStatus {
                pool: backend.pool.clone(),
                instance: backend.instance.clone(),
                release: backend.release,
                health: backend.health(),
                last_error: backend.last_error(),
            })
            .collect();
        EdgeStatus {
            pid: std::process::id(),
            generation: table.source.generation,
            version: *self.version.borrow(),
            backends,
            counters,
            connections: Some(self.common.rooms.read()),
            faults: self.faults(&table),
            term: self.term.get(),
            waiting: waiting(&table),
        }
    }

    /// Listeners of the table that can't serve, or not as they should.
    fn faults(&self, table: &Table) -> Vec<ListenerFault> {
        let faults = |listener: &Listener| {
            let address = listener.address;
            if let Some(reason) = self.listening.fault(&address) {
                return vec![ListenerFault { address, reason, serves: false, certificate: None }];
            }
            let of_files = |(files, reason, serves): (RouteTls, String, bool)| {
                let certificate = Some(files.certificate);
                ListenerFault { address, reason, serves, certificate }
            };
            self.certificates.faults(listener).into_iter().map(of_files).collect()
        };
        table.source.listeners.iter().flat_map(|listener| faults(listener)).collect()
    }
}
