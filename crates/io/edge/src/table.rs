//! Route tables as the edge uses them: checked whole, with rules in the order of precedence.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use hornero_model::{
    Check, Health, HealthContract, InstanceId, Listener, Pool, PoolBackend, PoolName, Protocol,
    ReleaseNumber, RouteTable,
};
use tokio::sync::Notify;

use crate::{admission::Gauge, counters::SetCounters, error::TableFault, path::normal};

/// Listeners of one table: each costs a socket a thread.
const LISTENERS: usize = 1024;
/// Rules of one listener: they are tried one after the other.
const RULES: usize = 4096;
/// Pools of one table.
const POOLS: usize = 4096;
/// Backends over all pools: each is probed all the time.
const BACKENDS: usize = 16_384;

/// One instance behind one port, shared by the threads and the prober for as long as any table names it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) pool: PoolName,
    pub(crate) instance: InstanceId,
    pub(crate) release: ReleaseNumber,
    pub(crate) address: SocketAddr,
    pub(crate) contract: Option<HealthContract>,
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
            && self.contract.as_ref() == backend.health.as_ref().or(pool.health.as_ref())
    }

    pub(crate) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
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
        self.health.store(value, Ordering::SeqCst);
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Marks the backend after a refused connection and has it checked at once.
    pub(crate) fn suspect(&self) {
        if !self.suspect.swap(true, Ordering::SeqCst) {
            self.check_now.notify_one();
        }
    }

    pub(crate) fn clear_suspicion(&self) {
        self.suspect.store(false, Ordering::SeqCst);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which hosts a rule is for, in the order of precedence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostRule {
    Name(String),
    /// Every name that ends so: `.example.org` for `*.example.org`.
    Below(String),
    Any,
}

impl HostRule {
    fn new(host: Option<&str>) -> Self {
        match host {
            None => Self::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => Self::Below(suffix.to_owned()),
                None => Self::Name(host.to_owned()),
            },
        }
    }

    /// Whether `host` is one of them, in any case.
    fn has(&self, host: &[u8]) -> bool {
        match self {
            Self::Name(name) => name.as_bytes().eq_ignore_ascii_case(host),
            Self::Below(suffix) => {
                let begins = host.len().saturating_sub(suffix.len());
                begins > 0 && host[begins..].eq_ignore_ascii_case(suffix.as_bytes())
            }
            Self::Any => true,
        }
    }

    /// Smaller comes first: names, then the longest ending, then any.
    fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            Self::Name(_) => (0, Reverse(0)),
            Self::Below(suffix) => (1, Reverse(suffix.len())),
            Self::Any => (2, Reverse(0)),
        }
    }
}

/// A rule with its pool found.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) host: HostRule,
    /// In its normal form.
    pub(crate) path_prefix: Option<Vec<u8>>,
    /// Index into the table's pools.
    pub(crate) pool: usize,
}

/// A listener with its rules in the order of precedence.
#[derive(Debug)]
pub(crate) struct ListenerRules {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    /// Its connections.
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) rules: Vec<Rule>,
}

impl ListenerRules {
    /// Orders the rules of a valid listener: those with a host first, then those with the end of one, then the longest
    /// path prefix.
    pub(crate) fn new(
        listener: &Listener,
        pools: &[Pool],
        tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
        gauge: Arc<Gauge>,
    ) -> Self {
        let mut rules: Vec<Rule> = listener
            .rules
            .iter()
            .filter_map(|rule| {
                let pool = pools.iter().position(|pool| pool.name == rule.pool)?;
                let prefix = rule.path_prefix.as_ref().map(|prefix| normal(prefix.as_bytes()));
                let path_prefix = prefix.filter(|prefix| **prefix != *b"/").map(Cow::into_owned);
                Some(Rule { host: HostRule::new(rule.host.as_deref()), path_prefix, pool })
            })
            .collect();
        rules.sort_by_key(|rule| {
            let prefix = rule.path_prefix.as_ref().map_or(0, Vec::len);
            (rule.host.rank(), Reverse(prefix))
        });
        Self { address: listener.address, protocol: listener.protocol, tls, gauge, rules }
    }

    /// The pool for a request; `host` without port, in any case.
    pub(crate) fn route(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        let by_path = self.rules.iter().any(|rule| rule.path_prefix.is_some());
        let path = if by_path { normal(path) } else { Cow::Borrowed(path) };
        self.rules
            .iter()
            .find(|rule| {
                rule.host.has(host)
                    && rule.path_prefix.as_ref().is_none_or(|want| below(want, &path))
            })
            .map(|rule| rule.pool)
    }
}

/// Whether `path` is `prefix` or lies below it: `/api` covers `/api`, `/api/x` and `/api?x`, not `/apix`.
fn below(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| {
        prefix.ends_with(b"/") || matches!(rest.first(), None | Some(b'/' | b'?'))
    })
}

/// The sets behind one pool.
#[derive(Debug)]
pub(crate) struct PoolSets {
    pub(crate) name: PoolName,
    /// The set that gets new requests.
    pub(crate) active: Option<(Arc<SetCounters>, Vec<Arc<Backend>>)>,
}

/// A table in force.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) source: RouteTable,
    /// Sorted by address.
    pub(crate) listeners: Vec<ListenerRules>,
    pub(crate) pools: Vec<PoolSets>,
    /// Every backend of every set.
    pub(crate) backends: Vec<Arc<Backend>>,
}

/// Checks a table whole, before anything of it takes effect.
pub(crate) fn validate(table: &RouteTable) -> Result<(), TableFault> {
    limit("listeners", table.listeners.len(), LISTENERS)?;
    limit("pools", table.pools.len(), POOLS)?;
    limit("backends", table.pools.iter().map(|pool| pool.backends.len()).sum(), BACKENDS)?;
    let mut names = BTreeSet::new();
    for pool in &table.pools {
        if !names.insert(&pool.name) {
            return Err(TableFault::DuplicatePool(pool.name.clone()));
        }
        validate_pool(pool)?;
    }
    let mut addresses = BTreeSet::new();
    for listener in &table.listeners {
        if !addresses.insert(listener.address) {
            return Err(TableFault::DuplicateListener(listener.address));
        }
        validate_listener(listener, &table.pools)?;
    }
    Ok(())
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), TableFault> {
    if count > limit {
        return Err(TableFault::TooMany { what, count, limit });
    }
    Ok(())
}

fn validate_pool(pool: &Pool) -> Result<(), TableFault> {
    let mut instances = BTreeSet::new();
    for backend in &pool.backends {
        if !instances.insert(&backend.instance) {
            return Err(TableFault::DuplicateBackend {
                pool: pool.name.clone(),
                instance: backend.instance.to_string(),
            });
        }
        validate_contract(pool, backend.health.as_ref())?;
    }
    validate_contract(pool, pool.health.as_ref())
}

fn validate_contract(pool: &Pool, contract: Option<&HealthContract>) -> Result<(), TableFault> {
    let Some(contract) = contract else { return Ok(()) };
    let bad = |field| Err(TableFault::BadContract { pool: pool.name.clone(), field });
    if contract.interval.0 == 0 {
        return bad("interval");
    }
    if contract.timeout.0 == 0 {
        return bad("timeout");
    }
    if contract.unhealthy_after == 0 {
        return bad("unhealthy_after");
    }
    match &contract.check {
        Check::Tcp(_) => Ok(()),
        Check::Http(check) => valid_path(&check.path),
    }
}

fn valid_path(path: &str) -> Result<(), TableFault> {
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(TableFault::BadPath(path.chars().take(80).collect()))
}

fn validate_listener(listener: &Listener, pools: &[Pool]) -> Result<(), TableFault> {
    let address = listener.address;
    if address.port() == 0 {
        return Err(TableFault::NoPort(address));
    }
    limit("rules of one listener", listener.rules.len(), RULES)?;
    let mut seen = BTreeSet::new();
    for rule in &listener.rules {
        let Some(pool) = pools.iter().find(|pool| pool.name == rule.pool) else {
            return Err(TableFault::UnknownPool { listener: address, pool: rule.pool.clone() });
        };
        if listener.protocol == Protocol::Http && pool.protocol == Protocol::Tcp {
            return Err(TableFault::ProtocolMismatch {
                listener: address,
                pool: rule.pool.clone(),
            });
        }
        if !seen.insert((&rule.host, &rule.path_prefix)) {
            return Err(TableFault::DuplicateRule(address));
        }
        if let Some(host) = &rule.host {
            let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
            let name = host.strip_prefix("*.").unwrap_or(host);
            if name.is_empty() || !name.bytes().all(valid) {
                let host = host.chars().take(80).collect();
                return Err(TableFault::BadHost { listener: address, host });
            }
        }
        if let Some(prefix) = &rule.path_prefix {
            valid_path(prefix)?;
        }
    }
    let plain = listener.tls.is_none()
        && matches!(&listener.rules[..], [rule] if rule.host.is_none() && rule.path_prefix.is_none());
    if listener.protocol == Protocol::Tcp && !plain {
        return Err(TableFault::TcpRules(address));
    }
    Ok(())
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
