//! One edge: what it has, may come to have, and may still route to by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hornero_model::{EdgeStatus, InstanceId, Pool, ReleaseCounters, RouteTable, Spread, Timestamp};

/// What is known of one edge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownEdge {
    /// Its last status; none while it can't be reached.
    pub status: Option<Arc<EdgeStatus>>,
    /// Since when it can't be reached.
    pub away_since: Option<Timestamp>,
    /// The last table that it said to have prepared.
    pub prepared: Option<u64>,
    /// The table that it confirmed to this process.
    pub in_force: Option<Arc<InForce>>,
    /// Other tables that it was given and may put in force yet, or has. Oldest first.
    pub unsettled: Vec<RouteTable>,
    /// Since when the table in force is known without a break.
    pub known_since: Timestamp,
    /// When instances were seen to get no new requests of it any more, where that was after `known_since`.
    pub left_at: BTreeMap<InstanceId, Timestamp>,
}

/// A route table that was confirmed, by one edge or by all of a region.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    /// The table.
    pub table: RouteTable,
    /// How long the edge took to put it in force, in milliseconds; of several the one that took longest.
    pub switch_ms: f64,
    /// When the confirmation was seen, the last one of several.
    pub at: Timestamp,
    /// The counters at that moment.
    pub counters: Vec<ReleaseCounters>,
    /// How many edges confirmed it, and how long after one another.
    pub spread: Spread,
}

impl KnownEdge {
    /// One that can't be reached yet.
    pub fn away(since: Timestamp) -> Self {
        Self { away_since: Some(since), ..Self::default() }
    }

    /// It is given a table to put in force.
    pub fn sent(&mut self, table: &RouteTable) {
        // Of two that say the same the newer one is enough, or one that the edge refuses for ever would fill the memory.
        self.unsettled.retain(|other| !other.says_same(table));
        self.unsettled.push(table.clone());
    }

    /// It confirmed a table: no older one comes into force any more.
    pub fn confirmed(
        &mut self,
        table: RouteTable,
        switch_ms: f64,
        counters: Vec<ReleaseCounters>,
        now: Timestamp,
    ) {
        self.note_leaving(&table, now);
        self.unsettled.retain(|other| other.generation > table.generation);
        let spread = Spread { edges: 1, skew_ms: 0.0 };
        self.in_force = Some(Arc::new(InForce { table, switch_ms, at: now, counters, spread }));
    }

    /// It tells that it has the table with this number in force. It is kept where it is one that it was given: another
    /// control process may have given it one with the same number.
    pub fn saw_generation(&mut self, generation: u64, now: Timestamp) {
        let (unsettled, over) =
            self.unsettled.drain(..).partition(|other| other.generation >= generation);
        self.unsettled = unsettled;
        // They may have been in force until just now, without a word of it.
        let over: Vec<RouteTable> = over;
        self.left_at.extend(over.iter().flat_map(receivers).map(|id| (id.clone(), now)));
        let in_force = self.in_force.as_ref().map(|in_force| in_force.table.generation);
        let expected = self.unsettled.iter().any(|other| other.generation == generation);
        if in_force != Some(generation) && !expected {
            // Another table than those this process knows of: an edge that lost its last one, or a late one.
            self.in_force = None;
        }
    }

    /// The tables that it has or may come to have, as far as they are known.
    pub fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        self.unsettled.iter().chain(self.in_force.iter().map(|in_force| &in_force.table))
    }

    /// Whether it has prepared a table, or has it in force.
    pub(crate) fn is_ready_for(&self, generation: u64) -> bool {
        self.prepared == Some(generation) || self.follows(generation)
    }

    /// Whether it confirmed this table as the one in force.
    pub(crate) fn follows(&self, generation: u64) -> bool {
        self.in_force.as_ref().is_some_and(|of| of.table.generation == generation)
    }

    /// The highest number of a table that it has or may come to have.
    pub(crate) fn newest(&self) -> u64 {
        let told = self.status.as_ref().map_or(0, |status| status.generation);
        self.tables().map(|table| table.generation).fold(told, u64::max)
    }

    /// Whether it might still route to an instance; unknown counts as yes.
    pub(crate) fn routes_to(&self, instance: &InstanceId, left_out: bool) -> bool {
        let lists = |table: &RouteTable| {
            let mut backends = table.pools.iter().flat_map(|pool| &pool.backends);
            backends.any(|backend| backend.instance == *instance)
        };
        let Some(status) = &self.status else {
            return !left_out || self.in_force.is_none() || self.tables().any(lists);
        };
        let names = |in_force: &Arc<InForce>| {
            in_force.table.generation > status.generation || lists(&in_force.table)
        };
        status.backends.iter().any(|backend| backend.instance == *instance)
            || self.unsettled.iter().any(lists)
            || self.in_force.as_ref().map_or(status.generation != 0, names)
    }

    /// Whether it might listen on an address; unknown counts as yes.
    pub(crate) fn listens_on(&self, address: IpAddr, left_out: bool) -> bool {
        let listens =
            |table: &RouteTable| table.listeners.iter().any(|of| of.address.ip() == address);
        let Some(status) = &self.status else {
            return !left_out || self.in_force.is_none() || self.tables().any(listens);
        };
        let in_force = self.in_force.as_ref().map(|in_force| listens(&in_force.table));
        self.unsettled.iter().any(listens) || in_force.unwrap_or(status.generation != 0)
    }

    /// When an instance that gets no new requests by the table in force got its last one, at the latest; none while it
    /// gets some, or may.
    pub(crate) fn left_at(&self, instance: &InstanceId) -> Option<Timestamp> {
        self.in_force.as_ref()?;
        if self.tables().any(|table| receivers(table).any(|receiver| receiver == instance)) {
            return None;
        }
        Some(self.left_at.get(instance).copied().unwrap_or(self.known_since))
    }

    /// Takes in that a table is in force, as to who gets requests by it.
    fn note_leaving(&mut self, table: &RouteTable, now: Timestamp) {
        if self.in_force.is_none() {
            (self.known_since, self.left_at) = (now, Default::default());
            return;
        }
        // Who gets requests in a pool that stays as it is, gets them still.
        let mut left: BTreeSet<InstanceId> = BTreeSet::new();
        for before in self.tables() {
            let others = before.other_pools(table);
            let others = before.pools.iter().filter(|pool| others.contains(&pool.name));
            left.extend(others.flat_map(|pool| receivers_of(pool)).cloned());
        }
        let may_receive = |id: &&InstanceId| left.contains(*id) || self.left_at.contains_key(*id);
        let receiving: BTreeSet<InstanceId> =
            receivers(table).filter(may_receive).cloned().collect();
        self.left_at.retain(|id, _| !receiving.contains(id));
        let left = left.into_iter().filter(|id| !receiving.contains(id));
        self.left_at.extend(left.map(|id| (id, now)));
    }
}

/// The instances that get requests by a table.
fn receivers(table: &RouteTable) -> impl Iterator<Item = &InstanceId> {
    table.pools.iter().flat_map(|pool| receivers_of(pool))
}

/// Those that get the requests of a pool.
fn receivers_of(pool: &Pool) -> impl Iterator<Item = &InstanceId> {
    let receive = pool.backends.iter().filter(|backend| pool.receives(backend.release));
    receive.map(|backend| &backend.instance)
}
