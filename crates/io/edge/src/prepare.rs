//! A route table made ready to be used: its pools with their backends, its listeners with their rules and certificates.

use std::sync::Arc;

use hornero_model::{BackendStatus, CopyOnWrite, Listener, Pool, RouteTable, Share};
use tokio::sync::Notify;

use crate::{
    backend::Backend,
    error::EdgeError,
    gate::Gate,
    room::Rooms,
    rules::ListenerRules,
    sets::Sets,
    sticky::Stickiness,
    table::{PoolSet, PoolSets, Table},
    tls::Certificates,
    validity::validate,
};

/// What a table is made ready with.
pub(crate) struct Means<'a> {
    pub(crate) certificates: &'a Certificates,
    pub(crate) rooms: &'a Rooms,
    pub(crate) sets: &'a Sets,
    /// Told where somebody begins to wait for a service of which nothing runs.
    pub(crate) wanted: &'a Arc<Notify>,
}

/// Makes a table ready in the place of `current`; nothing of it takes effect. What was seen of backends' `health` counts
/// as seen here.
pub(crate) fn prepare(
    source: RouteTable,
    current: &Table,
    health: &[BackendStatus],
    means: &Means<'_>,
) -> Result<Arc<Table>, EdgeError> {
    // What rules lead to is the same where the pools are: of a listener that is so too nothing has to be looked at or made anew.
    let same_places = current.has_places_of(&source);
    let known =
        |listener: &CopyOnWrite<Listener>| current.rules_of(listener).filter(|_| same_places);
    validate(&source, |listener| known(listener).is_some())
        .map_err(|fault| EdgeError::InvalidTable { generation: source.generation, fault })?;
    let places = source.pools.iter().enumerate().map(|(index, pool)| (&pool.name, index)).collect();
    let mut listeners = Vec::new();
    for listener in &source.listeners {
        let tls = means.certificates.of(listener);
        let gauge = means.rooms.gauge(listener.address);
        let is_same = |of: &&Arc<ListenerRules>| of.is_with(tls.as_ref(), &gauge);
        let rules = match known(listener).filter(is_same) {
            Some(rules) => Arc::clone(rules),
            None => Arc::new(ListenerRules::new(listener, &places, tls, gauge)),
        };
        listeners.push(rules);
    }
    listeners.sort_by_key(|listener| listener.address);
    let (mut pools, mut backends) = (Vec::new(), Vec::new());
    for pool in &source.pools {
        let own = backends_of(pool, current, health);
        pools.push(sets_of(pool, &own, current, means));
        backends.extend(own);
    }
    Ok(Arc::new(Table { source, listeners, pools, backends }))
}

/// The backends of a pool, those that are known already among them.
fn backends_of(pool: &Pool, current: &Table, health: &[BackendStatus]) -> Vec<Arc<Backend>> {
    let mut backends = Vec::new();
    for backend in &pool.backends {
        let known = current.backends.iter().find(|known| known.is(pool, backend));
        let backend = known.cloned().unwrap_or_else(|| Backend::new(pool, backend));
        let seen = health.iter().find(|seen| {
            seen.pool == backend.pool
                && seen.instance == backend.instance
                && seen.release == backend.release
        });
        if let Some(seen) = seen {
            backend.set_health(seen.health);
        }
        backends.push(backend);
    }
    backends
}

fn sets_of(pool: &Pool, backends: &[Arc<Backend>], current: &Table, means: &Means<'_>) -> PoolSets {
    let sets = means.sets;
    for backend in backends {
        sets.of(&pool.name, backend.release);
    }
    let set = |share: &Share| {
        let serving = backends.iter().filter(|backend| backend.release == share.release);
        PoolSet {
            weight: share.weight,
            counters: sets.of(&pool.name, share.release),
            backends: serving.cloned().collect(),
        }
    };
    let before = current.pools.iter().find(|before| before.name == pool.name);
    PoolSets {
        name: pool.name.clone(),
        http2: pool.http2,
        idle_timeout: pool.idle_timeout.map(|span| span.duration()),
        sets: pool.traffic.iter().map(set).collect(),
        previews: pool.previews.iter().map(set).collect(),
        sticky: Stickiness::of(pool).map(Arc::new),
        gate: Gate::of(
            pool.admission,
            before.and_then(|before| before.gate.as_ref()),
            means.wanted,
        ),
    }
}
