//! A backend: one instance behind one port, with what is known of its health.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU8,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use hornero_model::{
    Health, HealthContract, InstanceId, Pool, PoolBackend, PoolName, ProxyProtocol, ReleaseNumber,
};
use tokio::sync::Notify;

/// One instance behind one port, shared by the threads and the prober for as long as any table names it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) pool: PoolName,
    pub(crate) instance: InstanceId,
    pub(crate) release: ReleaseNumber,
    pub(crate) address: SocketAddr,
    pub(crate) contract: Option<HealthContract>,
    /// The header that connections to it begin with, and those of its checks.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(crate) health_proxy_protocol: Option<ProxyProtocol>,
    /// 0 unknown, 1 healthy, 2 unhealthy: read for every request, written when it changes.
    health: AtomicU8,
    /// Whether a connection was refused since the last passed check.
    suspect: AtomicBool,
    pub(crate) last_error: Mutex<Option<String>>,
    /// Wakes the prober for a check at once.
    pub(crate) check_now: Notify,
}

impl Backend {
    pub(crate) fn new(pool: &Pool, backend: &PoolBackend) -> Arc<Self> {
        Arc::new(Self {
            pool: pool.name.clone(),
            instance: backend.instance.clone(),
            release: backend.release,
            address: backend.address,
            contract: backend.health.clone().or_else(|| pool.health.clone()),
            proxy_protocol: backend.proxy_protocol,
            health_proxy_protocol: backend.health_proxy_protocol,
            health: AtomicU8::new(0),
            suspect: AtomicBool::new(false),
            last_error: Mutex::new(None),
            check_now: Notify::new(),
        })
    }

    /// Whether this is still the backend that a table describes; anything else must prove itself anew.
    pub(crate) fn is(&self, pool: &Pool, backend: &PoolBackend) -> bool {
        self.pool == pool.name
            && self.instance == backend.instance
            && self.release == backend.release
            && self.address == backend.address
            && self.proxy_protocol == backend.proxy_protocol
            && self.health_proxy_protocol == backend.health_proxy_protocol
            && self.contract.as_ref() == backend.health.as_ref().or(pool.health.as_ref())
    }

    pub(crate) fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    pub(crate) fn set_health(&self, health: Health) {
        let value = match health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
        };
        self.health.store(value, SeqCst);
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// Marks the backend after a refused connection and has it checked at once.
    pub(crate) fn suspect(&self) {
        if !self.suspect.swap(true, SeqCst) {
            self.check_now.notify_one();
        }
    }

    pub(crate) fn clear_suspicion(&self) {
        self.suspect.store(false, SeqCst);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
