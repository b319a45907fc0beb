//! The route table as a pure function of the world, the instances' addresses and the services' own addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hornero_model::{
    Listener, Pool, PoolBackend, PoolName, Port, Protocol, ReleaseNumber, Route, RouteRule,
    RouteTable, ServiceName, ServiceSpec,
};

use crate::{Facts, Phase, Rollout, World};

/// Two services that want the same place on the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{service}` can't listen on `{address}`: `{other}` does already, {why}")]
pub struct RouteClash {
    /// The service that came later.
    pub service: ServiceName,
    /// The service that is there.
    pub other: ServiceName,
    /// The address.
    pub address: SocketAddr,
    /// What can't be shared.
    pub why: &'static str,
}

/// The table that the recorded world asks for, numbered `generation`.
///
/// Every set that runs is in its pools, so that all are probed; one release of each service is active. A service
/// without an address of its own in `internal` gets no internal listener.
pub fn table(
    world: &World,
    facts: &Facts,
    internal: &BTreeMap<ServiceName, IpAddr>,
    generation: u64,
) -> RouteTable {
    let mut listeners: BTreeMap<SocketAddr, Listener> = BTreeMap::new();
    let mut pools = Vec::new();
    for name in world.services.keys() {
        let active = world.active(name);
        let specs = open_specs(world, name);
        let address = internal.get(name).copied();
        for spec in &specs {
            for route in &spec.routes {
                add_route(&mut listeners, name, route);
            }
            for port in address.iter().flat_map(|_| &spec.ports) {
                let address = SocketAddr::new(address.unwrap_or_else(any), port.container);
                let pool = PoolName { service: name.clone(), port: port.name.clone() };
                add_rule(
                    &mut listeners,
                    Listener { address, protocol: port.protocol, tls: None, rules: Vec::new() },
                    RouteRule { host: None, path_prefix: None, pool },
                );
            }
        }
        pools.extend(service_pools(world, facts, name, active, &specs));
    }
    RouteTable { generation, listeners: listeners.into_values().collect(), pools }
}

/// Whether `spec`'s routes can stand beside those of every other service.
pub fn clash(world: &World, spec: &ServiceSpec) -> Result<(), RouteClash> {
    for (other, route) in world
        .services
        .keys()
        .filter(|name| **name != spec.name)
        .flat_map(|name| open_specs(world, name))
        .flat_map(|other| other.routes.iter().map(move |route| (&other.name, route)))
    {
        for mine in spec.routes.iter().filter(|mine| socket(mine) == socket(route)) {
            let why = if mine.protocol == Protocol::Tcp || route.protocol == Protocol::Tcp {
                "and a TCP port has one service"
            } else if mine.tls != route.tls {
                "with another certificate"
            } else if mine.host == route.host && mine.path_prefix == route.path_prefix {
                "for the same host and path"
            } else {
                continue;
            };
            return Err(RouteClash {
                service: spec.name.clone(),
                other: other.clone(),
                address: socket(mine),
                why,
            });
        }
    }
    Ok(())
}

/// Whether `rollout` is the one that would have the edge listen on `address` in this way: what serves before it does not.
pub fn brings(world: &World, rollout: &Rollout, address: SocketAddr) -> bool {
    let routes = |release: Option<ReleaseNumber>| {
        let spec = &world.release(&rollout.service, release?)?.spec;
        let at = spec.routes.iter().filter(|route| addresses(route).contains(&address));
        Some(at.map(|route| (route.protocol, route.tls.clone())).collect::<Vec<_>>())
    };
    let before = routes(world.active(&rollout.service)).unwrap_or_default();
    routes(Some(rollout.to)).is_some_and(|new| new.iter().any(|way| !before.contains(way)))
}

/// The specs whose ports are open: that of the active release, then that of a release on its way, so that a port
/// that can't be had fails the rollout before the switch.
fn open_specs<'a>(world: &'a World, name: &ServiceName) -> Vec<&'a ServiceSpec> {
    let mut releases: Vec<ReleaseNumber> = world.active(name).into_iter().collect();
    if let Some(rollout) = world.rollout_of(name)
        && rollout.phase == Phase::Preparing
        && !releases.contains(&rollout.to)
    {
        releases.push(rollout.to);
    }
    releases
        .into_iter()
        .filter_map(|number| world.release(name, number).map(|release| &release.spec))
        .collect()
}

fn service_pools(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    active: Option<ReleaseNumber>,
    specs: &[&ServiceSpec],
) -> Vec<Pool> {
    let kept: Vec<_> = world
        .kept(name)
        .into_iter()
        .filter_map(|id| {
            let running = facts.running.get(id)?;
            Some((id, world.instances[id].release, running.address, world.spec_of(id)?))
        })
        .collect();
    let mut ports: BTreeMap<&str, (&Port, &ServiceSpec)> = BTreeMap::new();
    for spec in specs.iter().copied().chain(kept.iter().map(|(_, _, _, spec)| *spec)) {
        for port in &spec.ports {
            ports.entry(port.name.as_str()).or_insert((port, spec));
        }
    }
    let pool = |(port, spec): (&Port, &ServiceSpec)| Pool {
        name: PoolName { service: name.clone(), port: port.name.clone() },
        protocol: port.protocol,
        active,
        backends: kept
            .iter()
            .filter_map(|(id, release, address, spec)| {
                let port = spec.ports.iter().find(|own| own.name == port.name)?;
                Some(PoolBackend {
                    instance: (*id).clone(),
                    release: *release,
                    address: SocketAddr::new(*address, port.container),
                    health: spec.health.clone(),
                })
            })
            .collect(),
        health: spec.health.clone(),
    };
    ports.into_values().map(pool).collect()
}

fn add_route(listeners: &mut BTreeMap<SocketAddr, Listener>, service: &ServiceName, route: &Route) {
    let rule = RouteRule {
        host: route.host.clone(),
        path_prefix: route.path_prefix.clone(),
        pool: PoolName { service: service.clone(), port: route.port.clone() },
    };
    for address in addresses(route) {
        let listener = Listener {
            address,
            protocol: route.protocol,
            tls: route.tls.clone(),
            rules: Vec::new(),
        };
        add_rule(listeners, listener, rule.clone());
    }
}

/// Adds a rule to the listener of its address; of two rules for the same requests the first stays.
fn add_rule(listeners: &mut BTreeMap<SocketAddr, Listener>, empty: Listener, rule: RouteRule) {
    let (protocol, tls) = (empty.protocol, empty.tls.clone());
    let listener = listeners.entry(empty.address).or_insert(empty);
    let same = |other: &RouteRule| {
        other.host == rule.host && other.path_prefix == rule.path_prefix
            || protocol == Protocol::Tcp
    };
    if listener.protocol == protocol && listener.tls == tls && !listener.rules.iter().any(same) {
        listener.rules.push(rule);
    }
}

/// Where the edge listens for a route: everywhere, where it names no address.
fn addresses(route: &Route) -> Vec<SocketAddr> {
    let every = || vec![any(), Ipv6Addr::UNSPECIFIED.into()];
    let addresses = route.address.map_or_else(every, |address| vec![address]);
    addresses.into_iter().map(|address| SocketAddr::new(address, route.listen)).collect()
}

fn socket(route: &Route) -> SocketAddr {
    SocketAddr::new(route.address.unwrap_or_else(any), route.listen)
}

/// Every IPv4 address of the host, which also stands for every address where routes are compared.
fn any() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}
