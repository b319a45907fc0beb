//! Tables that the edge was given and that may be in force without a word of it; and who gets no requests any more.

use std::collections::BTreeSet;

use hornero_model::{InstanceId, ReleaseCounters, RouteTable, Timestamp};

use crate::planted::{Bug, planted};
use crate::{Facts, InForce};

impl Facts {
    /// The edge is given a table.
    pub fn sent(&mut self, table: &RouteTable) {
        // Of two that say the same the newer one is enough, or one that the edge refuses for ever would fill the memory.
        self.unsettled
            .retain(|other| (&other.listeners, &other.pools) != (&table.listeners, &table.pools));
        self.unsettled.push(table.clone());
    }

    /// The edge confirmed a table: no older one comes into force any more.
    pub fn confirmed(&mut self, table: RouteTable, switch_ms: f64, counters: Vec<ReleaseCounters>) {
        self.note_leaving(&table);
        self.unsettled.retain(|other| other.generation > table.generation);
        self.in_force = Some(InForce { table, switch_ms, at: self.now, counters });
    }

    /// The edge tells that it has the table with this number in force. It is kept where it is one that it was given:
    /// another control process may have given it one with the same number.
    pub fn saw_generation(&mut self, generation: u64) {
        let (unsettled, over) =
            self.unsettled.drain(..).partition(|other| other.generation >= generation);
        self.unsettled = unsettled;
        // They may have been in force until just now, without a word of it.
        let over: Vec<RouteTable> = over;
        self.left_at.extend(over.iter().flat_map(receivers).map(|id| (id.clone(), self.now)));
        let in_force = self.in_force.as_ref().map(|in_force| in_force.table.generation);
        let expected = self.unsettled.iter().any(|other| other.generation == generation);
        if in_force != Some(generation) && !expected {
            // Another table than those this process knows of: an edge that lost its last one, or a late one.
            self.in_force = None;
        }
    }

    /// The number of the next table: beyond every one that is or may come in force, so that it is refused after none.
    pub fn next_generation(&self) -> u64 {
        let in_force = self.in_force.iter().map(|in_force| in_force.table.generation);
        let unsettled = self.unsettled.iter().map(|table| table.generation);
        let step = u64::from(!planted(Bug::RepeatsGenerations));
        in_force.chain(unsettled).fold(self.generation(), u64::max) + step
    }

    /// When an instance that gets no new requests by the table in force got its last one, at the latest; none while it
    /// gets some, or may.
    pub fn left_at(&self, instance: &InstanceId) -> Option<Timestamp> {
        let in_force = self.in_force.as_ref()?;
        let mut tables = self.unsettled.iter().chain([&in_force.table]);
        if tables.any(|table| receivers(table).any(|receiver| receiver == instance)) {
            return None;
        }
        Some(self.left_at.get(instance).copied().unwrap_or(self.known_since))
    }

    /// Takes in that a table is in force, as to who gets requests by it.
    fn note_leaving(&mut self, table: &RouteTable) {
        let now = self.now;
        let Some(before) = &self.in_force else {
            (self.known_since, self.left_at) = (now, Default::default());
            return;
        };
        let receiving: BTreeSet<&InstanceId> = receivers(table).collect();
        let tables = self.unsettled.iter().chain([&before.table]);
        let left = tables.flat_map(receivers).filter(|id| !receiving.contains(id)).cloned();
        let left: BTreeSet<InstanceId> = left.collect();
        self.left_at.retain(|id, _| !receiving.contains(id));
        self.left_at.extend(left.into_iter().map(|id| (id, now)));
    }
}

/// The instances that get requests by a table.
fn receivers(table: &RouteTable) -> impl Iterator<Item = &InstanceId> {
    table.pools.iter().flat_map(|pool| {
        let receive = pool.backends.iter().filter(move |backend| pool.receives(backend.release));
        receive.map(|backend| &backend.instance)
    })
}
