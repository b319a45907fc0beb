//! What the home's network needs of the host.

use super::kernel::module_hint;
use crate::{
    answer::{CheckAnswer, degraded, missing, pass},
    facts::HostFacts,
};

pub(crate) fn links(facts: &HostFacts) -> CheckAnswer {
    match &facts.network.links_fault {
        None => pass("bridges and pairs of links can be made"),
        Some(fault) => missing(
            fault.clone(),
            "no server gets an address",
            module_hint(facts, "-a bridge veth"),
        ),
    }
}

pub(crate) fn packet_filter(facts: &HostFacts) -> CheckAnswer {
    match &facts.network.filter_fault {
        None => pass("nf_tables takes the home's rules"),
        Some(fault) => missing(
            fault.clone(),
            "servers can't be kept from each other and from the host, so none starts",
            module_hint(
                facts,
                "-a nf_tables nft_ct nft_masq nft_reject_ipv4 nft_fib_ipv4 nft_socket",
            ),
        ),
    }
}

pub(crate) fn forwarding(facts: &HostFacts) -> CheckAnswer {
    let network = &facts.network;
    let cost = "servers and build steps with a way out reach nothing outside";
    if network.settings_writable == Some(false) {
        return missing(
            "`/proc/sys/net` is read-only",
            "the home's bridge can't be set up",
            "mount -o remount,rw /proc/sys (in a container: run it with `--privileged`)",
        );
    }
    if network.uplinks.is_empty() {
        return degraded(
            "no default route",
            cost,
            "ip route add default via YOUR_ROUTER; then `hornero up` again",
        );
    }
    let off: Vec<&str> = network
        .uplinks
        .iter()
        .filter(|(_, forwards)| *forwards == Some(false))
        .map(|(name, _)| name.as_str())
        .collect();
    // Hornero turns it on for the links that need it, with the home's bridge.
    if network.bridge_exists && !off.is_empty() {
        let lines: Vec<String> =
            off.iter().map(|name| format!("sysctl -w net.ipv4.conf.{name}.forwarding=1")).collect();
        return degraded(
            format!("turned off at {} since the home was brought up", off.join(", ")),
            cost,
            lines.join("\n"),
        );
    }
    let names: Vec<&str> = network.uplinks.iter().map(|(name, _)| name.as_str()).collect();
    let of_host = match network.forward {
        Some(true) => "on for the host",
        Some(false) => "off for the host; a home turns it on where it needs it",
        None => "not told by this kernel",
    };
    pass(format!("{of_host}; out by {}", names.join(", ")))
}

pub(crate) fn bridge_filter(facts: &HostFacts) -> CheckAnswer {
    pass(match facts.network.bridge_filtered {
        Some(true) => "on; a home's servers never talk over its bridge, so it costs nothing",
        Some(false) => "off",
        None => "no module for it",
    })
}

pub(crate) fn subnet(facts: &HostFacts) -> CheckAnswer {
    let network = &facts.network;
    let overlaps = network.overlaps.join(", ");
    if network.no_subnet {
        return missing(
            format!("every /16 from 10.64.0.0 to 10.191.0.0 overlaps {overlaps}"),
            "the home gets no addresses",
            "remove or narrow the host's routes into that range (`ip route`)",
        );
    }
    let Some(subnet) = &network.subnet else {
        return pass("one is free");
    };
    if network.overlaps.is_empty() {
        return pass(format!("{subnet}, the home's alone"));
    }
    if network.bridge_exists {
        return degraded(
            format!("{subnet} overlaps {overlaps}"),
            "addresses there are the servers' or the other network's, whichever route is narrower",
            "hornero down && hornero up DIR gives the home another subnet; or remove the route (`ip route`)",
        );
    }
    pass(format!("{subnet} overlaps {overlaps}; the next `up` takes another one"))
}

pub(crate) fn ipv6(facts: &HostFacts) -> CheckAnswer {
    pass(match facts.network.ipv6_disabled {
        Some(false) => "on",
        Some(true) => "turned off; only routes that listen on an IPv6 address need it",
        None => "not in this kernel; only routes that listen on an IPv6 address need it",
    })
}
