//! Firewalls of other programs: what they do to packets of a home's servers, and the line that lets them pass.

use std::net::Ipv4Addr;

use crate::{
    answer::{CheckAnswer, degraded, pass},
    facts::HostFacts,
    firewall::{Fate, FilterChain, FilterHook, Packet, PacketFilter, fate},
};

/// An address of the outside that is nobody's (RFC 5737).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// A port that no rule of a firewall is about.
const SOME_PORT: u16 = 47_111;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Whose rules drop a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firewall {
    Docker,
    Ufw,
    Firewalld,
    Iptables,
    Nftables,
}

impl Firewall {
    const fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }

    fn of(filter: &PacketFilter, table: &str, chain: &str, hook: FilterHook) -> Self {
        let has = |begin: &str| {
            let of_table = filter.chains.iter().filter(|known| known.table == table);
            of_table.into_iter().any(|known| known.name.starts_with(begin))
        };
        if table.ends_with(" firewalld") {
            return Self::Firewalld;
        }
        // A rule in Docker's chain is before those of ufw, and so lets pass what either drops.
        if hook == FilterHook::Forward && has("DOCKER-USER") {
            return Self::Docker;
        }
        if has("ufw-") {
            return Self::Ufw;
        }
        let of_iptables =
            table == "ip filter" && chain.bytes().all(|byte| byte.is_ascii_uppercase());
        if of_iptables { Self::Iptables } else { Self::Nftables }
    }

    /// The lines that let the packets of `bridge` pass.
    fn lines(self, hook: FilterHook, bridge: &str, table: &str, chain: &str) -> String {
        let established = "-m conntrack --ctstate RELATED,ESTABLISHED";
        let kept =
            "write the same where the firewall's rules are kept, or they are gone after a reboot";
        match (self, hook) {
            (Self::Ufw, FilterHook::Forward) => format!("ufw route allow in on {bridge}"),
            (Self::Ufw, FilterHook::Input) => format!("ufw allow in on {bridge}"),
            (Self::Firewalld, _) => format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            ),
            (Self::Docker, _) => format!(
                "iptables -I DOCKER-USER -i {bridge} -j ACCEPT\n\
                 iptables -I DOCKER-USER -o {bridge} {established} -j ACCEPT\n{kept}"
            ),
            (Self::Iptables, FilterHook::Forward) => format!(
                "iptables -I {chain} -i {bridge} -j ACCEPT\n\
                 iptables -I {chain} -o {bridge} {established} -j ACCEPT\n{kept}"
            ),
            (Self::Iptables, FilterHook::Input) => {
                format!("iptables -I {chain} -i {bridge} -j ACCEPT\n{kept}")
            }
            (Self::Nftables, FilterHook::Forward) => format!(
                "nft insert rule {table} {chain} iifname {bridge} accept\n\
                 nft insert rule {table} {chain} oifname {bridge} ct state established,related accept\n{kept}"
            ),
            (Self::Nftables, FilterHook::Input) => {
                format!("nft insert rule {table} {chain} iifname {bridge} accept\n{kept}")
            }
        }
    }
}

pub(crate) fn forward(facts: &HostFacts) -> CheckAnswer {
    let network = &facts.network;
    let uplink = network.uplinks.first().map_or("eth0", |(name, _)| name);
    let packet = Packet {
        input: network.bridge.clone(),
        output: Some(uplink.to_owned()),
        source: address(facts, 16, 0),
        destination: OUTSIDE,
        protocol: TCP,
        port: 443,
        untracked: false,
    };
    judged(
        facts,
        FilterHook::Forward,
        &[packet],
        "servers and build steps with a way out reach nothing outside",
    )
}

pub(crate) fn input(facts: &HostFacts) -> CheckAnswer {
    let question = Packet {
        input: facts.network.bridge.clone(),
        output: None,
        source: address(facts, 16, 0),
        destination: address(facts, 0, 1),
        protocol: UDP,
        port: 53,
        untracked: true,
    };
    let connection = Packet {
        destination: address(facts, 1, 0),
        protocol: TCP,
        port: SOME_PORT,
        ..question.clone()
    };
    judged(
        facts,
        FilterHook::Input,
        &[question, connection],
        "servers find no names and reach no service of the home (`SERVICE.internal`)",
    )
}

/// An address in the home's subnet, or where such subnets are.
fn address(facts: &HostFacts, third: u8, fourth: u8) -> Ipv4Addr {
    let network = facts.network.subnet.as_deref().and_then(|subnet| subnet.split('/').next());
    let octets = network.and_then(|text| text.parse::<Ipv4Addr>().ok()).map(|ip| ip.octets());
    let [a, b, ..] = octets.unwrap_or([10, 64, 0, 0]);
    Ipv4Addr::new(a, b, third, fourth)
}

fn judged(facts: &HostFacts, hook: FilterHook, packets: &[Packet], cost: &str) -> CheckAnswer {
    let Some(filter) = &facts.firewall.filter else { return pass("not told by this host") };
    let own = |chain: &FilterChain| chain.table.starts_with("ip hornero_");
    let mut unclear = false;
    for packet in packets {
        match fate(filter, hook, packet, own) {
            Fate::Passes => {}
            Fate::Unclear => unclear = true,
            Fate::Dropped { table, chain, within, by_policy } => {
                let firewall = Firewall::of(filter, &table, &chain, hook);
                let how = match (by_policy, within == chain) {
                    (true, _) => "its policy is to drop".to_owned(),
                    (false, true) => "a rule drops it".to_owned(),
                    (false, false) => format!("a rule of chain `{within}` drops it"),
                };
                let observed =
                    format!("{}: table `{table}`, chain `{chain}`: {how}", firewall.name());
                return degraded(
                    observed,
                    cost,
                    firewall.lines(hook, &facts.network.bridge, &table, &chain),
                );
            }
        }
    }
    match (unclear, facts.firewall.legacy) {
        (true, _) => {
            pass("not clear: a rule of the host's firewall that this does not understand decides")
        }
        (false, true) => pass(
            "no nf_tables rule drops them; those of the older iptables are not read (`iptables-legacy -S` shows them)",
        ),
        (false, false) => pass("no firewall drops them"),
    }
}
