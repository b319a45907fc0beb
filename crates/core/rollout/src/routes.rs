//! What services have in the route table, as a pure function of the world, the instances' addresses and the services' own
//! addresses.

use std::{collections::BTreeMap, net::SocketAddr};

use hornero_model::{
    Admission, Check, CopyOnWrite, Health, HostCertificate, InstanceId, Listener, ListenerFault,
    Pool, PoolBackend, PoolName, Port, PreviewRule, Protocol, ReleaseNumber, Route, RouteRule,
    RouteTls, ServiceName, ServiceSpec, Share, ToZero,
};

use crate::planted::{Bug, planted};
use crate::{
    Facts, Instance, OpenPreview, Phase, Rollout, World,
    previews::share_of,
    rules::{addresses, any},
    switch::{probe, restores, sticky},
};

/// Two services that want the same place on the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{service}` can't listen on `{address}`: `{other}` does already, {why}")]
pub struct RouteClash {
    /// The service that came later.
    pub service: ServiceName,
    /// The service that is there.
    pub other: ServiceName,
    /// Which of the later one's routes it is, counted from 0.
    pub route: usize,
    /// The address.
    pub address: SocketAddr,
    /// What can't be shared.
    pub why: &'static str,
}

/// Adds the ways to a preview that serves, by every HTTP way in of its service: the name of the preview in a field of the
/// request, and the host `NAME.HOST` where the way is for a host. Whoever has such a way of their own keeps it.
pub(crate) fn lead_to(
    listeners: &mut BTreeMap<SocketAddr, Listener>,
    pools: &[CopyOnWrite<Pool>],
    runs_as: &ServiceName,
    open: &OpenPreview,
) {
    let answers = |of: &CopyOnWrite<Pool>| of.protocol == Protocol::Http && !of.traffic.is_empty();
    let name = &open.preview.name;
    for listener in listeners.values_mut().filter(|of| of.protocol == Protocol::Http) {
        let mut hosts = Vec::new();
        for rule in listener.rules.iter_mut() {
            let pool = PoolName { service: runs_as.clone(), port: rule.pool.port.clone() };
            let leads = rule.pool.service == open.preview.service
                && pools.iter().any(|of| of.name == pool && answers(of));
            if !leads {
                continue;
            }
            let host = rule.host.as_ref().filter(|host| !host.starts_with('*'));
            hosts.extend(host.map(|host| {
                (
                    host.clone(),
                    RouteRule {
                        host: Some(format!("{name}.{host}")),
                        pool: pool.clone(),
                        previews: Vec::new(),
                        ..rule.clone()
                    },
                )
            }));
            rule.previews.push(PreviewRule { name: name.clone(), pool });
        }
        for (shown, rule) in hosts {
            let same =
                |of: &RouteRule| (&of.host, &of.path_prefix) == (&rule.host, &rule.path_prefix);
            if listener.rules.iter().any(same) {
                continue;
            }
            let host = rule.host.clone().unwrap_or_default();
            let of_host = |host: &str| listener.certificates.iter().find(|own| own.host == host);
            if let (None, Some(own)) = (of_host(&host), of_host(&shown)) {
                let tls = own.tls.clone();
                listener.certificates.push(HostCertificate { host, tls });
            }
            listener.rules.push(rule);
        }
    }
}

/// Adds the servers of a preview with a share to the pools of its service, and that share once it has it.
pub(crate) fn share_with(
    pools: &mut CopyOnWrite<Vec<CopyOnWrite<Pool>>>,
    world: &World,
    facts: &Facts,
    runs_as: &ServiceName,
) {
    let open = &world.previews[runs_as];
    if open.preview.share == 0 {
        return;
    }
    let share = share_of(world, facts, runs_as);
    let own = pools.iter().filter(|of| of.name.service == *runs_as);
    let own: Vec<CopyOnWrite<Pool>> =
        own.filter(|of| of.protocol == Protocol::Http).cloned().collect();
    let of_service = pools.iter_mut().filter(|of| of.name.service == open.preview.service);
    for pool in of_service.filter(|of| of.protocol == Protocol::Http) {
        let same =
            |of: &&CopyOnWrite<Pool>| of.name.port == pool.name.port && of.http2 == pool.http2;
        let Some(own) = own.iter().find(same) else { continue };
        pool.backends.extend(own.backends.iter().cloned());
        pool.previews.extend(share);
    }
}

/// Whether `spec`'s routes can stand beside those of every other service.
pub fn clash(world: &World, spec: &ServiceSpec) -> Result<(), RouteClash> {
    clash_with(world, spec, |_| true)
}

/// The same with the services that `counts` names.
pub fn clash_with(
    world: &World,
    spec: &ServiceSpec,
    counts: impl Fn(&ServiceName) -> bool,
) -> Result<(), RouteClash> {
    for (other, route) in world
        .services
        .keys()
        .filter(|name| **name != spec.name && counts(name))
        .flat_map(|name| open_specs(world, name))
        .flat_map(|other| other.routes.iter().map(move |route| (&other.name, route)))
    {
        let same_place = |(_, mine): &(usize, &Route)| socket(mine) == socket(route);
        for (index, mine) in spec.routes.iter().enumerate().filter(same_place) {
            let why = if mine.protocol == Protocol::Tcp || route.protocol == Protocol::Tcp {
                "and a TCP port has one service"
            } else if mine.tls.is_some() != route.tls.is_some() {
                "and either all of a port is TLS or nothing"
            } else if mine.trusted_proxies != route.trusted_proxies {
                "with other `trusted_proxies`"
            } else if mine.proxy_protocol != route.proxy_protocol {
                "with another `proxy_protocol`"
            } else if mine.host == route.host && mine.tls != route.tls {
                "for the same host with another certificate"
            } else if mine.host == route.host && mine.path_prefix == route.path_prefix {
                "for the same host and path"
            } else {
                continue;
            };
            return Err(RouteClash {
                service: spec.name.clone(),
                other: other.clone(),
                route: index,
                address: socket(mine),
                why,
            });
        }
    }
    Ok(())
}

/// Whether the release of a service whose ways in are open has a route at `address`.
pub(crate) fn listens(world: &World, name: &ServiceName, address: SocketAddr) -> bool {
    let foremost = world.foremost(name).map(|release| world.terms(name, release));
    let foremost = foremost.and_then(|release| world.release(name, release));
    foremost.is_some_and(|release| {
        release.spec.routes.iter().any(|route| addresses(route).contains(&address))
    })
}

/// Whether `rollout` is the one that would have the edge listen in the way that is at fault: what serves before it does
/// not.
pub fn brings(world: &World, rollout: &Rollout, fault: &ListenerFault) -> bool {
    let routes = |release: Option<ReleaseNumber>| {
        let terms = world.terms(&rollout.service, release?);
        let spec = &world.release(&rollout.service, terms)?.spec;
        let at = spec.routes.iter().filter(|route| addresses(route).contains(&fault.address));
        Some(at.map(|route| (route.protocol, route.tls.clone())).collect::<Vec<_>>())
    };
    let before = routes(world.foremost(&rollout.service)).unwrap_or_default();
    routes(Some(rollout.to)).is_some_and(|new| {
        new.iter().any(|way| !before.contains(way) && concerns(fault, way.1.as_ref()))
    })
}

/// Whether a listener's fault is that of every route on it, or of those with this certificate.
pub(crate) fn concerns(fault: &ListenerFault, tls: Option<&RouteTls>) -> bool {
    fault.certificate.is_none() || fault.certificate.as_ref() == tls.map(|tls| &tls.certificate)
}

/// The specs whose ports are open: those of the releases that get requests, then that of a release on its way, so that
/// a port that can't be had fails the rollout before the switch, or takes the adjustment back.
pub(crate) fn open_specs<'a>(world: &'a World, name: &ServiceName) -> Vec<&'a ServiceSpec> {
    let set = world.services.get(name).and_then(|service| service.serving.as_ref());
    let mut releases: Vec<ReleaseNumber> = Vec::new();
    for made_from in world.traffic(name).iter().map(|share| share.release) {
        let leaving = set.filter(|set| set.release == made_from).and_then(|set| set.leaving);
        releases.extend(leaving.map(|leaving| leaving.release));
        releases.push(world.terms(name, made_from));
    }
    if planted(Bug::LeavesOutNewRoutes) {
        releases.truncate(1);
    }
    if let Some(rollout) = world.rollout_of(name)
        && rollout.phase == Phase::Preparing
        && !releases.contains(&rollout.to_terms())
        && !planted(Bug::LeavesOutNewRoutes)
    {
        releases.push(rollout.to_terms());
    }
    releases
        .into_iter()
        .filter_map(|number| world.release(name, number).map(|release| &release.spec))
        .collect()
}

/// Whether something of the release that a rollout goes back to is healthy, replacements of its servers included.
pub(crate) fn has_way_back(world: &World, facts: &Facts, rollout: &Rollout) -> bool {
    let is_old = |of: &&Instance| Some(of.release) == rollout.from;
    world.instances.of(&rollout.service).filter(is_old).any(|of| facts.healthy(world, &of.id))
}

/// Who gets the requests of a service on its way back while nothing that it goes back to is healthy, or not all of what
/// went batch by batch: as before, so that what replaces the old servers is probed while something answers.
fn before_return(world: &World, facts: &Facts, name: &ServiceName) -> Option<Vec<Share>> {
    let rollout = world.rollout_of(name).filter(|of| of.phase == Phase::Returning)?;
    let may_answer = |id: &InstanceId| {
        facts.running.contains_key(id) && facts.health(world, id) != Health::Unhealthy
    };
    let lacks = !has_way_back(world, facts, rollout) || restores(world, facts, rollout);
    let alone = rollout.from.is_some()
        && !facts.forced.contains(name)
        && lacks
        && rollout.set.iter().any(may_answer);
    if !alone {
        return None;
    }
    match &facts.in_force {
        Some(in_force) => {
            let pools = in_force.table.pools.iter().filter(|of| of.name.service == *name);
            pools.map(|pool| pool.traffic.clone()).find(|traffic| !traffic.is_empty())
        }
        None => rollout.canary_traffic().or_else(|| rollout.rolling_traffic()),
    }
}

/// The pools of a service, one for each port that is open.
pub(crate) fn service_pools(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    specs: &[&ServiceSpec],
) -> Vec<Pool> {
    let traffic = before_return(world, facts, name).unwrap_or_else(|| world.traffic(name));
    let kept: Vec<_> = world
        .kept(name)
        .into_iter()
        .filter(|id| {
            let foremost = world.foremost(name).is_none_or(|of| of == world.instances[*id].release);
            foremost || !planted(Bug::LeavesOutNewSets)
        })
        .skip(usize::from(planted(Bug::LeavesOutAServer)))
        .filter_map(|id| {
            let running = facts.running.get(id)?;
            Some((id, world.instances[id].release, running.location.address, world.spec_of(id)?))
        })
        .collect();
    let (admission, sticky) = (admission(world, name), sticky(world, name));
    let mut ports: BTreeMap<&str, (&Port, &ServiceSpec)> = BTreeMap::new();
    for spec in specs.iter().copied().chain(kept.iter().map(|(_, _, _, spec)| *spec)) {
        for port in &spec.ports {
            ports.entry(port.name.as_str()).or_insert((port, spec));
        }
    }
    let pool = |(port, spec): (&Port, &ServiceSpec)| Pool {
        name: PoolName { service: name.clone(), port: port.name.clone() },
        protocol: port.protocol,
        http2: port.http2,
        idle_timeout: port.idle_timeout,
        traffic: traffic.clone(),
        previews: Vec::new(),
        sticky: sticky.clone(),
        probe: probe(world, name, port),
        admission,
        backends: kept
            .iter()
            .filter_map(|(id, release, address, spec)| {
                let port = spec.ports.iter().find(|own| own.name == port.name)?;
                Some(PoolBackend {
                    instance: (*id).clone(),
                    release: *release,
                    address: SocketAddr::new(*address, port.container),
                    health: spec.health.clone(),
                    proxy_protocol: port.proxy_protocol,
                    health_proxy_protocol: checked_port(spec)
                        .map_or(port.proxy_protocol, |checked| checked.proxy_protocol),
                })
            })
            .collect(),
        health: spec.health.clone(),
    };
    ports.into_values().map(pool).collect()
}

/// Whether the pools of a service let requests in. Those of a service of which nothing has to run hold what comes while no
/// server is there for it, be it that none is wanted or that the last one failed; the edge opens them by itself.
pub(crate) fn admission(world: &World, name: &ServiceName) -> Admission {
    let by_rollout = world.rollout_of(name).map_or(Admission::Open, Rollout::admission);
    let foremost = world.foremost(name).map(|release| world.terms(name, release));
    let foremost = foremost.and_then(|terms| world.release(name, terms));
    let to_zero = foremost.and_then(|release| release.spec.to_zero());
    match (by_rollout, to_zero) {
        (Admission::Open, Some(ToZero { hold, hold_requests, .. })) => {
            Admission::Idle { wait: hold, at_most: hold_requests }
        }
        (by_rollout, _) => by_rollout,
    }
}

/// The port that the health check of a service asks, if it is one of its own and it has a check.
fn checked_port(spec: &ServiceSpec) -> Option<&Port> {
    let number = match &spec.health.as_ref()?.check {
        Check::Http(check) => check.port,
        Check::Tcp(check) => check.port,
    };
    spec.ports.iter().find(|port| port.container == number)
}

/// Where a route listens.
pub fn socket(route: &Route) -> SocketAddr {
    SocketAddr::new(route.address.unwrap_or_else(any), route.listen)
}
