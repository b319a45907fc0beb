//! Links, addresses, routes and neighbours: the requests a home needs, and what is read back.
//!
//! Source: rtnetlink(7) and the kernel's `include/uapi/linux/{rtnetlink,if_link,neighbour}.h`.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::{
    Result,
    error::ignoring,
    netlink::{
        Answer, Batch, Body, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Socket,
        attributes,
    },
    subnet::Network,
};

const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
const AF_INET: u8 = libc::AF_INET as u8;
const AF_UNSPEC: u8 = 0;
const IFF_UP: u32 = libc::IFF_UP as u32;

const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NTF_MASTER: u8 = 4;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
/// RFC 2863's "up": the link carries packets.
const OPERATIONAL_UP: u8 = 6;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    /// The description an administrator (or Hornero) has set.
    pub alias: Option<String>,
    pub group: u32,
    /// The bridge, or other link, whose port it is.
    pub master: Option<u32>,
    /// Whether it carries packets now.
    pub operational: bool,
}

/// How to name a link in a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkRef<'a> {
    Index(u32),
    Name(&'a str),
}

fn link_header(body: &mut Body<'_>, index: u32, flags: u32, change: u32) {
    body.raw(&[AF_UNSPEC, 0, 0, 0]);
    body.raw(&index.to_ne_bytes());
    body.raw(&flags.to_ne_bytes());
    body.raw(&change.to_ne_bytes());
}

/// Makes a bridge; it is still down.
pub(crate) fn create_bridge(batch: &mut Batch, name: &str, hardware_address: [u8; 6], group: u32) {
    let action = format!("create bridge `{name}`");
    batch.request(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, action, |body| {
        link_header(body, 0, 0, 0);
        body.text(libc::IFLA_IFNAME, name);
        body.attribute(libc::IFLA_ADDRESS, &hardware_address);
        body.number(libc::IFLA_GROUP, group);
        body.nested(libc::IFLA_LINKINFO, |body| {
            body.attribute(libc::IFLA_INFO_KIND, b"bridge");
            body.nested(libc::IFLA_INFO_DATA, |body| {
                body.number(IFLA_BR_STP_STATE, 0);
                // No multicast reaches past a port that is isolated; snooping only costs timers.
                body.attribute(IFLA_BR_MCAST_SNOOPING, &[0]);
            });
        });
    });
}

/// Asks for a link of this kind with a number of queues that no link can have: where the kernel knows the kind, its
/// module is loaded and nothing is made.
pub(crate) fn ask_for_kind(socket: &Socket, kind: &str) -> Result<()> {
    let mut batch = Batch::new();
    let action = format!("ask for links of the kind `{kind}`");
    batch.request(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, action, |body| {
        link_header(body, 0, 0, 0);
        body.number(libc::IFLA_NUM_TX_QUEUES, 0);
        body.nested(libc::IFLA_LINKINFO, |body| {
            body.attribute(libc::IFLA_INFO_KIND, kind.as_bytes());
        });
    });
    ignoring(libc::EINVAL, socket.change(&batch))
}

/// Describes a link; the kernel keeps at most 255 bytes.
pub(crate) fn set_alias(batch: &mut Batch, name: &str, alias: &str) {
    batch.request(libc::RTM_NEWLINK, 0, format!("describe link `{name}`"), |body| {
        link_header(body, 0, 0, 0);
        body.text(libc::IFLA_IFNAME, name);
        body.attribute(libc::IFLA_IFALIAS, alias.as_bytes());
    });
}

/// Brings a link up.
pub(crate) fn bring_up(batch: &mut Batch, link: LinkRef<'_>) {
    batch.request(libc::RTM_NEWLINK, 0, "bring a link up", |body| match link {
        LinkRef::Index(index) => link_header(body, index, IFF_UP, IFF_UP),
        LinkRef::Name(name) => {
            link_header(body, 0, IFF_UP, IFF_UP);
            body.text(libc::IFLA_IFNAME, name);
        }
    });
}

/// Makes a veth pair: `name` here as a port of the bridge, and `peer` in the other network
/// namespace; both are still down.
pub(crate) fn create_veth(
    batch: &mut Batch,
    name: &str,
    bridge: u32,
    group: u32,
    peer: &str,
    peer_hardware_address: [u8; 6],
    netns: BorrowedFd<'_>,
) {
    let action = format!("create veth pair `{name}`");
    batch.request(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, action, |body| {
        link_header(body, 0, 0, 0);
        body.text(libc::IFLA_IFNAME, name);
        body.number(libc::IFLA_MASTER, bridge);
        body.number(libc::IFLA_GROUP, group);
        body.nested(libc::IFLA_LINKINFO, |body| {
            body.attribute(libc::IFLA_INFO_KIND, b"veth");
            body.nested(libc::IFLA_INFO_DATA, |body| {
                body.nested(VETH_INFO_PEER, |body| {
                    link_header(body, 0, 0, 0);
                    body.text(libc::IFLA_IFNAME, peer);
                    body.attribute(libc::IFLA_ADDRESS, &peer_hardware_address);
                    body.number(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
                });
            });
        });
    });
}

/// Brings a bridge port up that exchanges nothing with other isolated ports, learns no addresses
/// and gets no packets meant for others.
pub(crate) fn bring_port_up(batch: &mut Batch, index: u32) {
    // Two requests: the kernel handles a link's IPv6 part only after bringing it up.
    batch.request(libc::RTM_NEWLINK, 0, "set up a bridge port", |body| {
        link_header(body, index, 0, 0);
        body.nested(libc::IFLA_LINKINFO, |body| {
            body.attribute(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
            body.nested(libc::IFLA_INFO_SLAVE_DATA, |body| {
                body.attribute(IFLA_BRPORT_ISOLATED, &[1]);
                body.attribute(IFLA_BRPORT_LEARNING, &[0]);
                body.attribute(IFLA_BRPORT_UNICAST_FLOOD, &[0]);
            });
        });
    });
    without_ipv6_address(batch, index);
    bring_up(batch, LinkRef::Index(index));
}

/// Keeps the kernel from giving the link an IPv6 address when it comes up.
fn without_ipv6_address(batch: &mut Batch, index: u32) {
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return;
    }
    batch.request(libc::RTM_NEWLINK, 0, "turn IPv6 off on a link", |body| {
        link_header(body, index, 0, 0);
        body.nested(libc::IFLA_AF_SPEC, |body| {
            body.nested(libc::AF_INET6 as u16, |body| {
                body.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
            });
        });
    });
}

/// Removes every link of the group.
pub(crate) fn delete_group(batch: &mut Batch, group: u32) {
    batch.request(libc::RTM_DELLINK, 0, "remove the home's links", |body| {
        link_header(body, 0, 0, 0);
        body.number(libc::IFLA_GROUP, group);
    });
}

/// Removes one link.
pub(crate) fn delete_link(batch: &mut Batch, name: &str) {
    batch.request(libc::RTM_DELLINK, 0, format!("remove link `{name}`"), |body| {
        link_header(body, 0, 0, 0);
        body.text(libc::IFLA_IFNAME, name);
    });
}

/// Gives a link an address; does nothing where it has it.
pub(crate) fn add_address(batch: &mut Batch, index: u32, address: Ipv4Addr, prefix_length: u8) {
    let action = format!("add the address `{address}`");
    batch.request(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, action, |body| {
        address_body(body, index, address, prefix_length);
    });
}

/// Takes an address from a link.
pub(crate) fn delete_address(batch: &mut Batch, index: u32, address: Ipv4Addr, prefix_length: u8) {
    batch.request(libc::RTM_DELADDR, 0, format!("remove the address `{address}`"), |body| {
        address_body(body, index, address, prefix_length);
    });
}

fn address_body(body: &mut Body<'_>, index: u32, address: Ipv4Addr, prefix_length: u8) {
    body.raw(&[AF_INET, prefix_length, 0, libc::RT_SCOPE_UNIVERSE]);
    body.raw(&index.to_ne_bytes());
    body.attribute(libc::IFA_LOCAL, &address.octets());
    body.attribute(libc::IFA_ADDRESS, &address.octets());
}

/// Sends everything over the link to the gateway, which need lie in no subnet of the link's.
pub(crate) fn add_default_route(batch: &mut Batch, index: u32, gateway: Ipv4Addr) {
    let header = |prefix_length: u8, scope: u8| {
        [
            AF_INET,
            prefix_length,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            scope,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ]
    };
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.request(libc::RTM_NEWROUTE, flags, "add the route to the gateway", |body| {
        body.raw(&header(32, libc::RT_SCOPE_LINK));
        body.attribute(libc::RTA_DST, &gateway.octets());
        body.number(libc::RTA_OIF, index);
    });
    batch.request(libc::RTM_NEWROUTE, flags, "add the default route", |body| {
        body.raw(&header(0, libc::RT_SCOPE_UNIVERSE));
        body.attribute(libc::RTA_GATEWAY, &gateway.octets());
        body.number(libc::RTA_OIF, index);
    });
}

/// Fixes which hardware address an address has on a link, so that nobody need ask for it.
pub(crate) fn add_neighbour(
    batch: &mut Batch,
    index: u32,
    address: Ipv4Addr,
    hardware_address: [u8; 6],
) {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.request(libc::RTM_NEWNEIGH, flags, "add a neighbour entry", |body| {
        neighbour_header(body, AF_INET, index, NUD_PERMANENT, 0);
        body.attribute(NDA_DST, &address.octets());
        body.attribute(NDA_LLADDR, &hardware_address);
    });
}

/// Removes what [`add_neighbour`] has made.
pub(crate) fn delete_neighbour(batch: &mut Batch, index: u32, address: Ipv4Addr) {
    batch.request(libc::RTM_DELNEIGH, 0, "remove a neighbour entry", |body| {
        neighbour_header(body, AF_INET, index, 0, 0);
        body.attribute(NDA_DST, &address.octets());
    });
}

/// Fixes behind which port of its bridge a hardware address is.
pub(crate) fn add_forwarding_entry(batch: &mut Batch, port: u32, hardware_address: [u8; 6]) {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    batch.request(libc::RTM_NEWNEIGH, flags, "add a bridge forwarding entry", |body| {
        neighbour_header(body, AF_BRIDGE, port, NUD_NOARP, NTF_MASTER);
        body.attribute(NDA_LLADDR, &hardware_address);
    });
}

fn neighbour_header(body: &mut Body<'_>, family: u8, index: u32, state: u16, flags: u8) {
    let [state_low, state_high] = state.to_ne_bytes();
    let [a, b, c, d] = index.to_ne_bytes();
    body.raw(&[family, 0, 0, 0, a, b, c, d, state_low, state_high, flags, 0]);
}

/// All links of the namespace the socket is in.
pub(crate) fn links(socket: &Socket) -> Result<Vec<Link>> {
    let mut batch = Batch::new();
    batch.request(libc::RTM_GETLINK, NLM_F_DUMP, "list links", |body| link_header(body, 0, 0, 0));
    Ok(socket.exchange(&batch)?.iter().filter_map(parse_link).collect())
}

/// One link; an error where it does not exist.
pub(crate) fn link(socket: &Socket, index: u32) -> Result<Option<Link>> {
    let mut batch = Batch::new();
    batch.request(libc::RTM_GETLINK, 0, "look at a link", |body| link_header(body, index, 0, 0));
    Ok(socket.exchange(&batch)?.iter().find_map(parse_link))
}

fn parse_link(answer: &Answer) -> Option<Link> {
    if answer.kind != libc::RTM_NEWLINK {
        return None;
    }
    let mut link = Link {
        index: u32_at(&answer.body, 4)?,
        name: String::new(),
        alias: None,
        group: 0,
        master: None,
        operational: false,
    };
    for (kind, value) in attributes(answer.body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = Some(text(value)),
            libc::IFLA_GROUP => link.group = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_OPERSTATE => link.operational = value.first() == Some(&OPERATIONAL_UP),
            _ => {}
        }
    }
    Some(link)
}

/// The networks the host has addresses in or routes to, except over the link `except`.
pub(crate) fn networks_in_use(socket: &Socket, except: Option<u32>) -> Result<Vec<Network>> {
    let mut networks: Vec<Network> =
        list_addresses(socket)?.iter().filter_map(|answer| parse_address(answer, except)).collect();
    networks.extend(
        routes(socket)?
            .into_iter()
            .filter(|route| route.destination.prefix_length > 0)
            .filter(|route| except.is_none_or(|except| route.links != [except]))
            .map(|route| route.destination),
    );
    Ok(networks)
}

/// The addresses of one link.
pub(crate) fn addresses(socket: &Socket, link: u32) -> Result<Vec<Ipv4Addr>> {
    let answers = list_addresses(socket)?;
    let own = answers.iter().filter(|answer| u32_at(&answer.body, 4) == Some(link));
    Ok(own.filter_map(|answer| parse_address(answer, None)).map(|own| own.address).collect())
}

fn list_addresses(socket: &Socket) -> Result<Vec<Answer>> {
    let mut batch = Batch::new();
    batch.request(libc::RTM_GETADDR, NLM_F_DUMP, "list addresses", |body| {
        body.raw(&[AF_INET, 0, 0, 0]);
        body.raw(&[0; 4]);
    });
    socket.exchange(&batch)
}

fn parse_address(answer: &Answer, except: Option<u32>) -> Option<Network> {
    let body = &answer.body;
    if answer.kind != libc::RTM_NEWADDR || except.is_some_and(|link| u32_at(body, 4) == Some(link))
    {
        return None;
    }
    // The local address differs from the network's on point-to-point links: both are in use, and
    // the route to the second is listed too.
    let value = attributes(body.get(8..)?).find(|(kind, _)| *kind == libc::IFA_LOCAL)?.1;
    Some(Network { address: ipv4(value)?, prefix_length: body[1] })
}

/// The links that default routes leave by.
pub(crate) fn default_route_links(socket: &Socket) -> Result<Vec<u32>> {
    let mut links: Vec<u32> = routes(socket)?
        .into_iter()
        .filter(|route| route.destination.prefix_length == 0)
        .flat_map(|route| route.links)
        .collect();
    links.sort_unstable();
    links.dedup();
    Ok(links)
}

#[derive(Debug)]
struct Route {
    destination: Network,
    links: Vec<u32>,
}

fn routes(socket: &Socket) -> Result<Vec<Route>> {
    let mut batch = Batch::new();
    batch.request(libc::RTM_GETROUTE, NLM_F_DUMP, "list routes", |body| {
        body.raw(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
    Ok(socket.exchange(&batch)?.iter().filter_map(parse_route).collect())
}

fn parse_route(answer: &Answer) -> Option<Route> {
    let body = &answer.body;
    // Byte 7 is the type: only what leads somewhere; local and broadcast entries follow addresses.
    if answer.kind != libc::RTM_NEWROUTE || *body.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let mut destination = Network { address: Ipv4Addr::UNSPECIFIED, prefix_length: body[1] };
    let mut links = Vec::new();
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            libc::RTA_DST => destination.address = ipv4(value)?,
            libc::RTA_OIF => links.extend(u32_at(value, 0)),
            libc::RTA_MULTIPATH => links.extend(next_hop_links(value)),
            _ => {}
        }
    }
    Some(Route { destination, links })
}

/// The links in a list of `struct rtnexthop`: length, flags, hops, link.
fn next_hop_links(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let link = u32_at(bytes, 4)?;
        // A length below the header's would never end.
        bytes = bytes.get(length.max(8).next_multiple_of(4)..).unwrap_or(&[]);
        Some(link)
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
