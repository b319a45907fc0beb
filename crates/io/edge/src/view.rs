//! A thread's own view of the table in force: where requests go, and the backends with the thread's connections.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use hornero_model::Preview;

use crate::{
    backend::Backend,
    forwarding::Forwarding,
    local_backend::LocalBackend,
    origin::Origin,
    pool::{LocalPool, LocalSet},
    rules::{Ambiguous, Goal, ListenerRules},
    table::{PoolSet, Table},
};

/// Status and text of an answer of the edge's own; of a redirect, where to.
pub(crate) type OwnAnswer = (u16, Cow<'static, str>);

/// The same target at the same host, by TLS.
fn location(port: u16, host: &[u8], target: &[u8]) -> String {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let target = String::from_utf8_lossy(target);
    let target = if target == "*" { "" } else { &*target };
    let slash = if target.starts_with('/') { "" } else { "/" };
    format!("https://{}{port}{slash}{target}", String::from_utf8_lossy(host))
}

/// A table as this thread sees it.
#[derive(Debug, Default)]
pub(crate) struct LocalTable {
    table: Option<Arc<Table>>,
    pub(crate) pools: Vec<Rc<LocalPool>>,
    /// Backends of the sets that get requests: only they have connections.
    pub(crate) backends: Vec<Rc<LocalBackend>>,
}

impl LocalTable {
    /// A thread's view of `table`, with the connections that it had by the `previous` one.
    pub(crate) fn new(table: Arc<Table>, previous: &LocalTable, lane: usize) -> Self {
        let mut backends = Vec::new();
        let mut keep = |shared: &Arc<Backend>, idle_timeout: Option<Duration>| {
            let known = previous.backends.iter().find(|old| Arc::ptr_eq(&old.shared, shared));
            let backend = known.cloned().unwrap_or_else(|| LocalBackend::new(shared.clone()));
            backend.idle_timeout.set(idle_timeout);
            backends.push(backend.clone());
            backend
        };
        let pools = table
            .pools
            .iter()
            .map(|pool| {
                let mut set = |set: &PoolSet| {
                    let of_set = set.backends.iter();
                    let backends = of_set.map(|of| keep(of, pool.idle_timeout)).collect();
                    LocalSet::new(set, backends, lane)
                };
                Rc::new(LocalPool {
                    name: pool.name.clone(),
                    sets: pool.sets.iter().map(&mut set).collect(),
                    previews: pool.previews.iter().map(&mut set).collect(),
                    http2: pool.http2,
                    sticky: pool.sticky.clone(),
                    gate: pool.gate.clone(),
                })
            })
            .collect();
        Self { table: Some(table), pools, backends }
    }

    pub(crate) fn listener(&self, address: &SocketAddr) -> Option<&ListenerRules> {
        let listeners = &self.table.as_ref()?.listeners;
        let index = listeners.binary_search_by(|listener| listener.address.cmp(address)).ok()?;
        listeners.get(index).map(|rules| &**rules)
    }

    /// What is said of a client of `listener`.
    pub(crate) fn forwarding(&self, origin: &Origin, https: bool) -> Forwarding {
        let listener = self.listener(&origin.listener);
        let is_trusted = listener.is_some_and(|listener| listener.trusts(origin.peer.ip()));
        Forwarding::new(origin.peer, https, is_trusted)
    }

    /// Where a request goes, or the edge's own answer to it; `host` without port. `field` gives the value of a field of the
    /// request.
    pub(crate) fn route<'f>(
        &self,
        listener: &SocketAddr,
        host: &[u8],
        target: &[u8],
        field: impl FnOnce(&'static str) -> Option<&'f [u8]>,
    ) -> Result<Rc<LocalPool>, OwnAnswer> {
        let listener = self.listener(listener);
        let found = listener.map_or(Ok(None), |listener| listener.route(host, target));
        match found {
            Ok(Some(Goal::Pool(index))) => Ok(self.pools[index].clone()),
            Ok(Some(Goal::Shown(rule, pool))) => {
                let named = field(Preview::HEADER);
                let shown = listener.and_then(|of| of.rules[rule].shows(named?));
                Ok(self.pools[shown.unwrap_or(pool)].clone())
            }
            Ok(Some(Goal::Redirect(_))) if host.is_empty() => {
                Err((400, Cow::Borrowed("no host that could be redirected to")))
            }
            Ok(Some(Goal::Redirect(port))) => Err((308, Cow::Owned(location(port, host, target)))),
            Ok(None) => Err((404, Cow::Borrowed("no service answers to this host and path"))),
            Err(Ambiguous) => Err((400, Cow::Borrowed("servers read this path in different ways"))),
        }
    }

    /// Whether `pool` is of this table, not of one before.
    pub(crate) fn has(&self, pool: &Rc<LocalPool>) -> bool {
        self.pools.iter().any(|own| Rc::ptr_eq(own, pool))
    }

    /// Backends that the next table lacks lose their idle connections.
    pub(crate) fn retire_missing(&self, next: &LocalTable) {
        for backend in &self.backends {
            if !next.backends.iter().any(|kept| Rc::ptr_eq(kept, backend)) {
                LocalBackend::retire(backend);
            }
        }
    }

    /// The pool of the same name in the table in force now.
    pub(crate) fn pool_named(&self, pool: &LocalPool) -> Option<Rc<LocalPool>> {
        self.pools.iter().find(|other| other.name == pool.name).cloned()
    }
}
