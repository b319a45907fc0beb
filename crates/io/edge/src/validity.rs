//! Whether a route table can be used: checked whole, before anything of it takes effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hornero_model::{
    Check, CopyOnWrite, HealthContract, Listener, Pool, PoolName, Protocol, RouteRule, RouteTable,
    Share,
};

use crate::{error::TableFault, forwarding::Network};

/// Listeners of one table: each costs a socket a thread.
const LISTENERS: usize = 1024;
/// Rules of one listener: they are tried one after the other.
const RULES: usize = 4096;
/// Networks of trusted proxies of one listener: they are tried one after the other for each connection.
const PROXIES: usize = 256;
/// Pools of one table.
const POOLS: usize = 4096;
/// Backends over all pools: each is probed all the time.
const BACKENDS: usize = 16_384;
/// Releases of one service that get requests at the same time: they are tried one after the other.
const SHARES: usize = 64;

/// What the pools of a table speak: thousands of rules each look one up.
type Protocols<'t> = BTreeMap<&'t PoolName, Protocol>;

/// Checks a table whole, before anything of it takes effect, but for the rules of listeners that are known to be good among
/// these pools.
pub(crate) fn validate(
    table: &RouteTable,
    is_known: impl Fn(&CopyOnWrite<Listener>) -> bool,
) -> Result<(), TableFault> {
    limit("listeners", table.listeners.len(), LISTENERS)?;
    limit("pools", table.pools.len(), POOLS)?;
    limit("backends", table.pools.iter().map(|pool| pool.backends.len()).sum(), BACKENDS)?;
    let mut protocols = BTreeMap::new();
    for pool in &table.pools {
        if protocols.insert(&pool.name, pool.protocol).is_some() {
            return Err(TableFault::DuplicatePool(pool.name.clone()));
        }
        validate_pool(pool)?;
    }
    let mut addresses = BTreeSet::new();
    for listener in &table.listeners {
        if !addresses.insert(listener.address) {
            return Err(TableFault::DuplicateListener(listener.address));
        }
        if !is_known(listener) {
            validate_listener(listener, &protocols)?;
        }
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
    limit("shares of one pool", pool.traffic.len(), SHARES)?;
    limit("previews of one pool", pool.previews.len(), SHARES)?;
    if !Share::are_valid(&pool.traffic) || !Share::leave_room(&pool.previews, &pool.traffic) {
        return Err(TableFault::BadTraffic(pool.name.clone()));
    }
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
    if contract.healthy_after == 0 {
        return bad("healthy_after");
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

fn validate_listener(listener: &Listener, pools: &Protocols<'_>) -> Result<(), TableFault> {
    let address = listener.address;
    if address.port() == 0 {
        return Err(TableFault::NoPort(address));
    }
    limit("rules of one listener", listener.rules.len(), RULES)?;
    validate_certificates(listener)?;
    limit("trusted proxies of one listener", listener.trusted_proxies.len(), PROXIES)?;
    if let Some(bad) = listener.trusted_proxies.iter().find(|text| Network::parse(text).is_none()) {
        return Err(TableFault::BadNetwork(bad.chars().take(80).collect()));
    }
    let mut seen = BTreeSet::new();
    for rule in &listener.rules {
        // What is redirected goes to no pool.
        let spoken = rule.redirect_to.map_or(listener.protocol, |_| Protocol::Tcp);
        valid_target(address, spoken, &rule.pool, pools)?;
        if !seen.insert((&rule.host, &rule.path_prefix)) {
            return Err(TableFault::DuplicateRule(address));
        }
        limit("previews of one rule", rule.previews.len(), SHARES)?;
        for preview in &rule.previews {
            valid_target(address, listener.protocol, &preview.pool, pools)?;
        }
        if let Some(host) = &rule.host {
            valid_host(address, host)?;
        }
        if let Some(prefix) = &rule.path_prefix {
            valid_path(prefix)?;
        }
    }
    let plain = listener.tls.is_none()
        && matches!(&listener.rules[..], [rule] if *rule == RouteRule::new(rule.pool.clone()));
    if listener.protocol == Protocol::Tcp && !plain {
        return Err(TableFault::TcpRules(address));
    }
    Ok(())
}

fn valid_target(
    listener: SocketAddr,
    protocol: Protocol,
    name: &PoolName,
    pools: &Protocols<'_>,
) -> Result<(), TableFault> {
    let Some(answered) = pools.get(name) else {
        return Err(TableFault::UnknownPool { listener, pool: name.clone() });
    };
    if protocol == Protocol::Http && *answered == Protocol::Tcp {
        return Err(TableFault::ProtocolMismatch { listener, pool: name.clone() });
    }
    Ok(())
}

fn valid_host(listener: SocketAddr, host: &str) -> Result<(), TableFault> {
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.is_empty() || !name.bytes().all(valid) {
        let host = host.chars().take(80).collect();
        return Err(TableFault::BadHost { listener, host });
    }
    Ok(())
}

fn validate_certificates(listener: &Listener) -> Result<(), TableFault> {
    limit("certificates of one listener", listener.certificates.len(), RULES)?;
    let mut seen = BTreeSet::new();
    for own in &listener.certificates {
        valid_host(listener.address, &own.host)?;
        if listener.tls.is_none() || !seen.insert(&own.host) {
            return Err(TableFault::Certificates(listener.address));
        }
    }
    Ok(())
}
