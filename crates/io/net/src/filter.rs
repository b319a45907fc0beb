//! The packet filter of a home: what its instances may reach, and who may reach them.
//!
//! What is not allowed here is dropped, so that an instance which no set names reaches nothing.

use std::net::Ipv4Addr;

use crate::{
    Error, Result, Subnet,
    addresses::Egress,
    expression::{
        DESTINATION_LOCAL, Expression,
        Expression::{
            AnyState, InSet, Is, IsNot, LinkAndAddressInSet, Masquerade, Outside, Reject,
            Untracked, Verdict as Conclude, Within,
        },
        Field::{
            Destination, DestinationKind, DestinationPort, EtherType, IcmpType, InputLink,
            OutputLink, Protocol, SocketIsWildcard, Source, SourcePort,
        },
        PacketVerdict,
    },
    identity::{BRIDGE_PREFIX, Identity},
    netlink::Socket,
    nftables::{
        self, FORWARD, Family, Hook, INPUT, Key, OUTPUT, POSTROUTING, PREROUTING, Transaction,
        link_name,
    },
};

const ACCEPT: Expression<'static> = Conclude(PacketVerdict::Accept);
const DROP: Expression<'static> = Conclude(PacketVerdict::Drop);

/// The instances with egress, by address.
const EGRESS_SET: &str = "egress";
/// The attached instances: port of the bridge and the one address that may come from it.
const PORTS_SET: &str = "ports";

/// Before everything else that looks at bridged frames.
const BRIDGE_PRIORITY: i32 = -300;
/// Before connection tracking (-200) and other programs' address translation (-100), so that the
/// addresses seen are those on the wire.
const RAW_PRIORITY: i32 = -300;
const FILTER_PRIORITY: i32 = 0;
const SOURCE_NAT_PRIORITY: i32 = 100;

const STATE_INVALID: u32 = 1;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const TCP: &[u8] = &[6];
const UDP: &[u8] = &[17];
const ICMP: &[u8] = &[1];
const ICMP_ECHO_REQUEST: &[u8] = &[8];
const PORT_DNS: &[u8] = &53u16.to_be_bytes();
const ETHERTYPE_IPV4: &[u8] = &0x0800u16.to_be_bytes();
const ETHERTYPE_ARP: &[u8] = &0x0806u16.to_be_bytes();
/// Where the sender's address is in an IPv4 header, and in an ARP packet for IPv4 on Ethernet.
const IPV4_SOURCE_OFFSET: u32 = 12;
const ARP_SENDER_OFFSET: u32 = 14;
const LOOPBACK: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(127, 0, 0, 0), Ipv4Addr::new(127, 255, 255, 255));
/// Link-local addresses: a cloud's metadata service, with the host's credentials, is there.
const LINK_LOCAL: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(169, 254, 0, 0), Ipv4Addr::new(169, 254, 255, 255));

/// An attached instance as the filter knows it.
pub(crate) struct Member {
    pub address: Ipv4Addr,
    pub egress: Egress,
}

impl Member {
    fn port_element(&self, identity: Identity) -> Vec<u8> {
        [&link_name(&identity.port(self.address))[..], &self.address.octets()].concat()
    }

    fn egress_element(&self) -> Vec<u8> {
        self.address.octets().to_vec()
    }
}

/// Puts the home's rules in place, in one step, whatever of them is there; members that are in the
/// sets stay, those given are added.
pub(crate) fn install(
    socket: &Socket,
    identity: Identity,
    subnet: Subnet,
    members: &[Member],
) -> Result<()> {
    let table = identity.table();
    let mut transaction = rules(&table, identity, subnet);
    let ports: Vec<_> = members.iter().map(|member| member.port_element(identity)).collect();
    let egress: Vec<_> = members
        .iter()
        .filter(|member| member.egress == Egress::Allowed)
        .map(Member::egress_element)
        .collect();
    transaction.add_elements(Family::Bridge, PORTS_SET, &ports);
    transaction.add_elements(Family::Ip, EGRESS_SET, &egress);
    transaction.commit(socket)
}

/// Whether the kernel would take a home's rules; changes nothing.
pub(crate) fn check(socket: &Socket, identity: Identity, subnet: Subnet) -> Result<()> {
    let table = identity.table();
    rules(&table, identity, subnet).check(socket)
}

/// All rules of a home, its sets empty where they are not there yet.
fn rules(table: &str, identity: Identity, subnet: Subnet) -> Transaction<'_> {
    let mut transaction = Transaction::new(table);
    bridge_table(&mut transaction, identity);
    ip_table(&mut transaction, identity, subnet);
    transaction
}

/// Lets an instance take part.
pub(crate) fn admit(socket: &Socket, identity: Identity, member: &Member) -> Result<()> {
    let table = identity.table();
    let mut transaction = Transaction::new(&table);
    transaction.add_elements(Family::Bridge, PORTS_SET, &[member.port_element(identity)]);
    match member.egress {
        Egress::Allowed => {
            transaction.add_elements(Family::Ip, EGRESS_SET, &[member.egress_element()]);
        }
        // The address's last holder may have had it.
        Egress::Refused => {
            transaction.remove_elements(Family::Ip, EGRESS_SET, &[member.egress_element()]);
        }
    }
    transaction.commit(socket)
}

/// Takes an instance out; does nothing where it, or the whole filter, is not there.
pub(crate) fn expel(socket: &Socket, identity: Identity, address: Ipv4Addr) -> Result<()> {
    let table = identity.table();
    let member = Member { address, egress: Egress::Refused };
    let mut transaction = Transaction::new(&table);
    transaction.remove_elements(Family::Bridge, PORTS_SET, &[member.port_element(identity)]);
    transaction.remove_elements(Family::Ip, EGRESS_SET, &[member.egress_element()]);
    match transaction.commit(socket) {
        Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Removes everything of the home; does nothing where there is nothing.
pub(crate) fn remove(socket: &Socket, identity: Identity) -> Result<()> {
    let table = identity.table();
    for family in [Family::Ip, Family::Bridge] {
        let mut transaction = Transaction::new(&table);
        // Removing what is not there would be an error.
        transaction.table(family);
        transaction.delete_table(family);
        match transaction.commit(socket) {
            // Without the feature there was never anything to remove.
            Ok(()) | Err(Error::MissingKernelFeature { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The homes that have a table.
pub(crate) fn homes(socket: &Socket) -> Result<Vec<Identity>> {
    let mut homes: Vec<Identity> =
        nftables::tables(socket)?.iter().filter_map(|name| Identity::of_table(name)).collect();
    homes.dedup();
    Ok(homes)
}

/// Frames from an instance's port carry its own address, in IPv4 or ARP, or go nowhere.
fn bridge_table(transaction: &mut Transaction<'_>, identity: Identity) {
    let family = Family::Bridge;
    let ports = identity.port_prefix();
    transaction.table(family);
    transaction.delete_rules(family);
    transaction.set(family, PORTS_SET, Key::LinkAndAddress);
    transaction.chain(
        family,
        "prerouting",
        Some(Hook { kind: "filter", number: PREROUTING, priority: BRIDGE_PRIORITY }),
    );
    transaction.chain(family, "port", None);
    let own = |offset| LinkAndAddressInSet { offset, set: PORTS_SET };
    let jump = Conclude(PacketVerdict::Jump("port"));
    let mut rule = |chain, purpose, expressions: &[_]| {
        transaction.rule(family, chain, purpose, expressions);
    };
    rule("prerouting", "ports of this home", &[Is(InputLink, ports.as_bytes()), jump]);
    rule(
        "port",
        "IPv4 from its own address",
        &[Is(EtherType, ETHERTYPE_IPV4), own(IPV4_SOURCE_OFFSET), ACCEPT],
    );
    rule(
        "port",
        "ARP from its own address",
        &[Is(EtherType, ETHERTYPE_ARP), own(ARP_SENDER_OFFSET), ACCEPT],
    );
    rule("port", "spoofed, IPv6 and the rest", &[DROP]);
}

fn ip_table(transaction: &mut Transaction<'_>, identity: Identity, subnet: Subnet) {
    let family = Family::Ip;
    transaction.table(family);
    transaction.delete_rules(family);
    transaction.set(family, EGRESS_SET, Key::Address);
    for (name, kind, number, priority) in [
        ("prerouting", "filter", PREROUTING, RAW_PRIORITY),
        ("output", "filter", OUTPUT, RAW_PRIORITY),
        ("input", "filter", INPUT, FILTER_PRIORITY),
        ("forward", "filter", FORWARD, FILTER_PRIORITY),
        ("postrouting", "nat", POSTROUTING, SOURCE_NAT_PRIORITY),
    ] {
        transaction.chain(family, name, Some(Hook { kind, number, priority }));
    }
    let bridge = link_name(&identity.bridge());
    let mut rules = Rules { transaction, bridge: &bridge, subnet };
    rules.prerouting();
    rules.untracked();
    rules.input();
    rules.forward();
    rules.postrouting();
}

/// The rules of the `ip` table, chain by chain.
struct Rules<'a, 'b> {
    transaction: &'a mut Transaction<'b>,
    bridge: &'a [u8],
    subnet: Subnet,
}

impl Rules<'_, '_> {
    fn add(&mut self, chain: &'static str, purpose: &'static str, expressions: &[Expression<'_>]) {
        self.transaction.rule(Family::Ip, chain, purpose, expressions);
    }

    fn prerouting(&mut self) {
        let from_bridge = Is(InputLink, self.bridge);
        let instances = self.subnet.instances();
        let home = (self.subnet.network(), instances.1);
        let chain = "prerouting";
        self.add(chain, "spoofed source", &[from_bridge, Outside(Source, instances), DROP]);
        self.add(chain, "loopback", &[from_bridge, Within(Destination, LOOPBACK), DROP]);
        self.add(
            chain,
            "instance to instance",
            &[from_bridge, Within(Destination, instances), DROP],
        );
        let own = (self.subnet.network(), self.subnet.services().1);
        self.add(
            chain,
            "other addresses of this host",
            &[from_bridge, Outside(Destination, own), Is(DestinationKind, DESTINATION_LOCAL), DROP],
        );
        // Also keeps other homes, and whoever routes to this host, from the home's addresses.
        let loopback = link_name("lo");
        self.add(
            chain,
            "from elsewhere to this home",
            &[
                IsNot(InputLink, self.bridge),
                IsNot(InputLink, &loopback),
                Within(Destination, home),
                DROP,
            ],
        );
    }

    /// Traffic with services and name server goes past connection tracking: it needs none, and
    /// another program's address translation for a port, as Docker's for a published one, would
    /// take it over.
    fn untracked(&mut self) {
        let (services, gateway) = (self.subnet.services(), self.subnet.gateway().octets());
        let incoming = [Is(InputLink, self.bridge), Within(Destination, services), Untracked];
        let outgoing = [Is(OutputLink, self.bridge), Within(Source, services), Untracked];
        self.add("prerouting", "untracked to services", &incoming);
        self.add("output", "untracked from services", &outgoing);
        for protocol in [UDP, TCP] {
            let protocol = Is(Protocol, protocol);
            let to_port = Is(DestinationPort, PORT_DNS);
            let from_port = Is(SourcePort, PORT_DNS);
            let (to, from) = (Is(Destination, &gateway), Is(Source, &gateway));
            let incoming = [Is(InputLink, self.bridge), to, protocol, to_port, Untracked];
            let outgoing = [Is(OutputLink, self.bridge), from, protocol, from_port, Untracked];
            self.add("prerouting", "untracked to DNS", &incoming);
            self.add("output", "untracked from DNS", &outgoing);
        }
    }

    fn input(&mut self) {
        let from_bridge = Is(InputLink, self.bridge);
        let gateway = self.subnet.gateway().octets();
        let to_gateway = Is(Destination, &gateway);
        let to_service = Within(Destination, self.subnet.services());
        let dns = Is(DestinationPort, PORT_DNS);
        let echo = [Is(Protocol, ICMP), Is(IcmpType, ICMP_ECHO_REQUEST)];
        let chain = "input";
        self.add(
            chain,
            "established to this host",
            &[from_bridge, AnyState(STATE_ESTABLISHED_OR_RELATED), ACCEPT],
        );
        self.add(chain, "invalid", &[from_bridge, AnyState(STATE_INVALID), DROP]);
        // A program of the host that listens at every address listens at the services' too.
        self.add(chain, "wildcard listener", &[from_bridge, Is(SocketIsWildcard, &[1]), DROP]);
        self.add(chain, "DNS over UDP", &[from_bridge, Is(Protocol, UDP), to_gateway, dns, ACCEPT]);
        self.add(chain, "DNS over TCP", &[from_bridge, Is(Protocol, TCP), to_gateway, dns, ACCEPT]);
        self.add(chain, "services", &[from_bridge, Is(Protocol, TCP), to_service, ACCEPT]);
        self.add(chain, "echo", &[from_bridge, to_gateway, echo[0], echo[1], ACCEPT]);
        self.add(chain, "echo of services", &[from_bridge, to_service, echo[0], echo[1], ACCEPT]);
        self.add(chain, "the rest of this host", &[from_bridge, DROP]);
    }

    fn forward(&mut self) {
        let from_bridge = Is(InputLink, self.bridge);
        let to_bridge = Is(OutputLink, self.bridge);
        let chain = "forward";
        self.add(chain, "instance to instance", &[from_bridge, to_bridge, DROP]);
        self.add(
            chain,
            "other homes",
            &[from_bridge, Is(OutputLink, BRIDGE_PREFIX.as_bytes()), DROP],
        );
        self.add(chain, "link-local", &[from_bridge, Within(Destination, LINK_LOCAL), DROP]);
        self.add(chain, "egress allowed", &[from_bridge, InSet(Source, EGRESS_SET), ACCEPT]);
        self.add(chain, "egress refused", &[from_bridge, Reject]);
        self.add(
            chain,
            "established to an instance",
            &[to_bridge, AnyState(STATE_ESTABLISHED_OR_RELATED), ACCEPT],
        );
        self.add(chain, "from outside", &[to_bridge, DROP]);
    }

    fn postrouting(&mut self) {
        let instances = self.subnet.instances();
        self.add(
            "postrouting",
            "masquerade",
            &[Within(Source, instances), IsNot(OutputLink, self.bridge), Masquerade],
        );
    }
}

#[cfg(test)]
mod tests;
