//! Route tables as the edge uses them: listeners with their rules, pools with their sets and backends.

use std::{sync::Arc, time::Duration};

use hornero_model::{CopyOnWrite, Listener, Pool, PoolName, RouteTable};

use crate::{
    backend::Backend, counters::SetCounters, gate::Gate, rules::ListenerRules, sticky::Stickiness,
};

/// A table in force.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) source: RouteTable,
    /// Sorted by address.
    pub(crate) listeners: Vec<Arc<ListenerRules>>,
    pub(crate) pools: Vec<PoolSets>,
    /// Every backend of every set.
    pub(crate) backends: Vec<Arc<Backend>>,
}

impl Table {
    /// Whether another table has the same pools in the same places, each with the protocol that it has here.
    pub(crate) fn has_places_of(&self, other: &RouteTable) -> bool {
        let own = &self.source.pools;
        let same = |(own, other): (&CopyOnWrite<Pool>, &CopyOnWrite<Pool>)| {
            (&own.name, own.protocol) == (&other.name, other.protocol)
        };
        own.len() == other.pools.len() && own.iter().zip(&other.pools).all(same)
    }

    /// What was made of a listener that is the same in this table.
    pub(crate) fn rules_of(&self, listener: &CopyOnWrite<Listener>) -> Option<&Arc<ListenerRules>> {
        let place = self.listeners.binary_search_by(|of| of.address.cmp(&listener.address)).ok()?;
        self.listeners.get(place).filter(|of| of.source == *listener)
    }
}

/// The sets behind one pool.
#[derive(Debug)]
pub(crate) struct PoolSets {
    pub(crate) name: PoolName,
    /// Whether its servers are asked by HTTP/2.
    pub(crate) http2: bool,
    /// How long connections to its servers may lie idle, where it is said.
    pub(crate) idle_timeout: Option<Duration>,
    /// The sets that get new requests; their weights make the whole.
    pub(crate) sets: Vec<PoolSet>,
    /// What previews get of them beforehand.
    pub(crate) previews: Vec<PoolSet>,
    /// By what requests stick to one of the sets.
    pub(crate) sticky: Option<Arc<Stickiness>>,
    /// Where new requests wait, while they do.
    pub(crate) gate: Option<Arc<Gate>>,
}

/// A set that gets new requests.
#[derive(Debug)]
pub(crate) struct PoolSet {
    pub(crate) weight: u32,
    pub(crate) counters: Arc<SetCounters>,
    pub(crate) backends: Vec<Arc<Backend>>,
}

/// The table before the first.
pub(crate) fn empty() -> Arc<Table> {
    Arc::new(Table {
        source: RouteTable::default(),
        listeners: Vec::new(),
        pools: Vec::new(),
        backends: Vec::new(),
    })
}
