//! Rules of listeners, put together one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hornero_model::{
    HostCertificate, Listener, ListenerLimits, PoolName, Protocol, Route, RouteRule, RouteTls,
    ServiceName, ServiceSpec,
};

/// What tells requests apart: their host and the beginning of their path.
type Requests = (Option<String>, Option<String>);

/// Listeners in the making, with what is known of their rules: each is looked up, since a port may have thousands.
#[derive(Default)]
pub(crate) struct ListenersInMaking {
    pub listeners: BTreeMap<SocketAddr, Listener>,
    /// The requests that have a rule.
    taken: BTreeMap<SocketAddr, BTreeSet<Requests>>,
    /// Certificates by their host.
    certificates: BTreeMap<SocketAddr, BTreeMap<String, RouteTls>>,
}

impl ListenersInMaking {
    /// Adds a rule to the listener of its address; of two rules for the same requests the first stays, and of two
    /// certificates for one host. The certificate for no host is noted as one for the host ``.
    pub fn add_rule(&mut self, empty: Listener, rule: RouteRule) {
        let (address, protocol, tls) = (empty.address, empty.protocol, empty.tls.clone());
        let (proxies, proxy_protocol) = (empty.trusted_proxies.clone(), empty.proxy_protocol);
        let limits = empty.limits;
        let listener = self.listeners.entry(address).or_insert(empty);
        let taken = self.taken.entry(address).or_default();
        let requests = (rule.host.clone(), rule.path_prefix.clone());
        let is_taken = match protocol {
            Protocol::Tcp => !taken.is_empty(),
            Protocol::Http => taken.contains(&requests),
        };
        if listener.protocol != protocol
            || (&listener.trusted_proxies, listener.proxy_protocol) != (&proxies, proxy_protocol)
            || listener.tls.is_some() != tls.is_some()
            || is_taken
        {
            return;
        }
        let host = rule.host.clone().unwrap_or_default();
        let certificates = self.certificates.entry(address).or_default();
        match (certificates.get(&host), tls) {
            (None, Some(tls)) => {
                certificates.insert(host.clone(), tls.clone());
                listener.certificates.push(HostCertificate { host, tls });
            }
            (Some(own), Some(tls)) if *own != tls => return,
            (_, _) => {}
        }
        // Services of several files may share it, and change at different times: none gets more than it asked for.
        listener.limits = listener.limits.tightened(limits);
        listener.rules.push(rule);
        taken.insert(requests);
    }
}

/// What a spec of a service asks for: a rule for each of its routes at each address of that, and one for each port at the
/// service's own `address`. With each comes the listener that it wants, without rules.
pub(crate) fn rules_of(
    service: &ServiceName,
    spec: &ServiceSpec,
    address: Option<IpAddr>,
) -> Vec<(Listener, RouteRule)> {
    let mut rules = Vec::new();
    for route in &spec.routes {
        let rule = RouteRule {
            host: route.host.clone(),
            path_prefix: route.path_prefix.clone(),
            pool: PoolName { service: service.clone(), port: route.port.clone() },
            redirect_to: route.redirect_to,
            previews: Vec::new(),
        };
        for address in addresses(route) {
            let mut listener = listener(address, route.protocol, route.tls.clone());
            listener.trusted_proxies.clone_from(&route.trusted_proxies);
            listener.proxy_protocol = route.proxy_protocol;
            listener.limits = route.limits;
            rules.push((listener, rule.clone()));
        }
    }
    for port in &spec.ports {
        let Some(address) = address else { break };
        let pool = PoolName { service: service.clone(), port: port.name.clone() };
        let place = SocketAddr::new(address, port.container);
        rules.push((listener(place, port.protocol, None), RouteRule::new(pool)));
    }
    rules
}

/// A listener without rules.
fn listener(address: SocketAddr, protocol: Protocol, tls: Option<RouteTls>) -> Listener {
    Listener {
        address,
        protocol,
        tls,
        certificates: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        limits: ListenerLimits::default(),
        rules: Vec::new(),
    }
}

/// Has a listener show the certificate of the rule without a host, or else of the first, to whoever asks for none that
/// has its own. Where all are the same that is all.
pub(crate) fn settle_certificates(listener: &mut Listener) {
    let Some(first) = listener.certificates.first().map(|first| first.tls.clone()) else { return };
    let of_none = listener.certificates.iter().find(|own| own.host.is_empty());
    let rest = of_none.map_or(first, |own| own.tls.clone());
    if listener.certificates.iter().all(|own| own.tls == rest) {
        listener.certificates.clear();
    }
    listener.certificates.retain(|own| !own.host.is_empty());
    listener.certificates.sort();
    listener.tls = Some(rest);
}

/// Where the edge listens for a route: everywhere, where it names no address.
pub(crate) fn addresses(route: &Route) -> Vec<SocketAddr> {
    let every = || vec![any(), Ipv6Addr::UNSPECIFIED.into()];
    let addresses = route.address.map_or_else(every, |address| vec![address]);
    addresses.into_iter().map(|address| SocketAddr::new(address, route.listen)).collect()
}

/// Every IPv4 address of the host, which also stands for every address where routes are compared.
pub(crate) fn any() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}
