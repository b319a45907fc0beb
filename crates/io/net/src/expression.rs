//! The expressions that nf_tables rules consist of.
//!
//! Source: the kernel's `include/uapi/linux/netfilter/nf_tables.h`.

use std::net::Ipv4Addr;

use crate::netlink::Body;

/// Every list of the protocol holds its elements under this attribute.
pub(crate) const NFTA_LIST_ELEM: u16 = 1;
pub(crate) const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// The registers: a 16-byte one at the beginning, and the 4-byte one behind it, so that a link's
/// name and an address behind it make one key.
const REGISTER: u32 = 1;
const REGISTER_BEHIND_NAME: u32 = 12;
const REGISTER_VERDICT: u32 = 0;

/// A packet's property, loaded into the first register.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    /// The link it came in by, 16 bytes.
    InputLink,
    /// The link it leaves by, 16 bytes.
    OutputLink,
    /// Its EtherType, 2 bytes in network order.
    EtherType,
    /// The protocol inside IP, 1 byte.
    Protocol,
    /// Its state for connection tracking, 4 bytes in the machine's order.
    ConnectionState,
    /// The IPv4 source address.
    Source,
    /// The IPv4 destination address.
    Destination,
    /// What the routing table says of the destination, 4 bytes in the machine's order, such as
    /// [`DESTINATION_LOCAL`].
    DestinationKind,
    /// The source port of TCP or UDP, 2 bytes in network order.
    SourcePort,
    /// The destination port of TCP or UDP, 2 bytes in network order.
    DestinationPort,
    /// The type of an ICMP message, 1 byte.
    IcmpType,
    /// Whether the socket that gets it listens at any address, 1 byte; no value where no socket
    /// gets it.
    SocketIsWildcard,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PacketVerdict {
    Accept,
    Drop,
    Jump(&'static str),
}

/// A part of a rule: each looks at the packet and lets the rule go on or ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expression<'a> {
    /// The field is, or begins with, these bytes.
    Is(Field, &'a [u8]),
    /// The field is anything but these bytes.
    IsNot(Field, &'a [u8]),
    /// The field is an address of this range, ends included.
    Within(Field, (Ipv4Addr, Ipv4Addr)),
    /// The field is an address outside of this range.
    Outside(Field, (Ipv4Addr, Ipv4Addr)),
    /// The connection is in one of these states (a bit each).
    AnyState(u32),
    /// The field is in the set.
    InSet(Field, &'static str),
    /// The link the packet came in by, with the address at this offset of the network header, is
    /// in the set.
    LinkAndAddressInSet {
        offset: u32,
        set: &'static str,
    },
    /// The source address becomes that of the link the packet leaves by.
    Masquerade,
    /// Connection tracking, and with it address translation, does not see the packet.
    Untracked,
    /// The packet is dropped and its sender told that this is forbidden.
    Reject,
    Verdict(PacketVerdict),
    /// The packet goes to this address and port instead; what other programs do.
    #[cfg(test)]
    Translate(std::net::SocketAddrV4),
}

impl Expression<'_> {
    /// Appends the kernel's expressions for this one to a rule's list.
    pub fn encode(&self, list: &mut Body<'_>) {
        match *self {
            Self::Is(field, value) => {
                load(list, field, REGISTER);
                compare(list, CMP_EQUAL, value);
            }
            Self::IsNot(field, value) => {
                load(list, field, REGISTER);
                compare(list, CMP_NOT_EQUAL, value);
            }
            Self::Within(field, range) => {
                load(list, field, REGISTER);
                in_range(list, RANGE_WITHIN, range);
            }
            Self::Outside(field, range) => {
                load(list, field, REGISTER);
                in_range(list, RANGE_OUTSIDE, range);
            }
            Self::AnyState(states) => {
                load(list, Field::ConnectionState, REGISTER);
                mask(list, states);
                compare(list, CMP_NOT_EQUAL, &[0; 4]);
            }
            Self::InSet(field, set) => {
                load(list, field, REGISTER);
                lookup(list, set);
            }
            Self::LinkAndAddressInSet { offset, set } => {
                load(list, Field::InputLink, REGISTER);
                payload(list, REGISTER_BEHIND_NAME, PAYLOAD_NETWORK, offset, 4);
                lookup(list, set);
            }
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::Untracked => expression(list, "notrack", |_| {}),
            Self::Reject => expression(list, "reject", |body| {
                body.number_be(1, REJECT_ICMP);
                body.attribute(2, &[ICMP_ADMINISTRATIVELY_PROHIBITED]);
            }),
            Self::Verdict(verdict) => conclude(list, verdict),
            #[cfg(test)]
            Self::Translate(target) => translate(list, target),
        }
    }
}

const CMP_EQUAL: u32 = 0;
const CMP_NOT_EQUAL: u32 = 1;
const RANGE_WITHIN: u32 = 0;
const RANGE_OUTSIDE: u32 = 1;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const META_PROTOCOL: u32 = 1;
const META_INPUT_LINK_NAME: u32 = 6;
const META_OUTPUT_LINK_NAME: u32 = 7;
const META_L4_PROTOCOL: u32 = 16;
const CT_STATE: u32 = 0;
const SOCKET_WILDCARD: u32 = 2;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_OF_DESTINATION: u32 = 2;
/// `RTN_LOCAL`: the destination is an address of this host.
pub(crate) const DESTINATION_LOCAL: &[u8] = &2u32.to_ne_bytes();
const REJECT_ICMP: u32 = 0;
const ICMP_ADMINISTRATIVELY_PROHIBITED: u8 = 13;
const VERDICT_DROP: i32 = 0;
const VERDICT_ACCEPT: i32 = 1;
const VERDICT_JUMP: i32 = -3;

fn expression(list: &mut Body<'_>, name: &str, data: impl FnOnce(&mut Body<'_>)) {
    list.nested(NFTA_LIST_ELEM, |body| {
        body.text(1, name);
        body.nested(2, data);
    });
}

fn load(list: &mut Body<'_>, field: Field, register: u32) {
    match field {
        Field::InputLink => meta(list, register, META_INPUT_LINK_NAME),
        Field::OutputLink => meta(list, register, META_OUTPUT_LINK_NAME),
        Field::EtherType => meta(list, register, META_PROTOCOL),
        Field::Protocol => meta(list, register, META_L4_PROTOCOL),
        Field::ConnectionState => expression(list, "ct", |body| {
            body.number_be(1, register);
            body.number_be(2, CT_STATE);
        }),
        Field::Source => payload(list, register, PAYLOAD_NETWORK, 12, 4),
        Field::Destination => payload(list, register, PAYLOAD_NETWORK, 16, 4),
        Field::DestinationKind => expression(list, "fib", |body| {
            body.number_be(1, register);
            body.number_be(2, FIB_ADDRESS_TYPE);
            body.number_be(3, FIB_OF_DESTINATION);
        }),
        Field::SourcePort => payload(list, register, PAYLOAD_TRANSPORT, 0, 2),
        Field::DestinationPort => payload(list, register, PAYLOAD_TRANSPORT, 2, 2),
        Field::IcmpType => payload(list, register, PAYLOAD_TRANSPORT, 0, 1),
        Field::SocketIsWildcard => expression(list, "socket", |body| {
            body.number_be(1, SOCKET_WILDCARD);
            body.number_be(2, register);
        }),
    }
}

fn meta(list: &mut Body<'_>, register: u32, key: u32) {
    expression(list, "meta", |body| {
        body.number_be(1, register);
        body.number_be(2, key);
    });
}

fn payload(list: &mut Body<'_>, register: u32, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |body| {
        body.number_be(1, register);
        body.number_be(2, base);
        body.number_be(3, offset);
        body.number_be(4, length);
    });
}

fn compare(list: &mut Body<'_>, operator: u32, value: &[u8]) {
    expression(list, "cmp", |body| {
        body.number_be(1, REGISTER);
        body.number_be(2, operator);
        body.nested(3, |body| body.attribute(NFTA_DATA_VALUE, value));
    });
}

fn in_range(list: &mut Body<'_>, operator: u32, (first, last): (Ipv4Addr, Ipv4Addr)) {
    expression(list, "range", |body| {
        body.number_be(1, REGISTER);
        body.number_be(2, operator);
        body.nested(3, |body| body.attribute(NFTA_DATA_VALUE, &first.octets()));
        body.nested(4, |body| body.attribute(NFTA_DATA_VALUE, &last.octets()));
    });
}

fn mask(list: &mut Body<'_>, bits: u32) {
    expression(list, "bitwise", |body| {
        body.number_be(1, REGISTER);
        body.number_be(2, REGISTER);
        body.number_be(3, 4);
        body.nested(4, |body| body.attribute(NFTA_DATA_VALUE, &bits.to_ne_bytes()));
        body.nested(5, |body| body.attribute(NFTA_DATA_VALUE, &[0; 4]));
    });
}

fn lookup(list: &mut Body<'_>, set: &str) {
    expression(list, "lookup", |body| {
        body.text(1, set);
        body.number_be(2, REGISTER);
    });
}

fn conclude(list: &mut Body<'_>, verdict: PacketVerdict) {
    expression(list, "immediate", |body| {
        body.number_be(1, REGISTER_VERDICT);
        body.nested(2, |body| {
            body.nested(NFTA_DATA_VERDICT, |body| match verdict {
                PacketVerdict::Accept => body.number_be(1, VERDICT_ACCEPT as u32),
                PacketVerdict::Drop => body.number_be(1, VERDICT_DROP as u32),
                PacketVerdict::Jump(chain) => {
                    body.number_be(1, VERDICT_JUMP as u32);
                    body.text(2, chain);
                }
            });
        });
    });
}

#[cfg(test)]
fn translate(list: &mut Body<'_>, target: std::net::SocketAddrV4) {
    const DESTINATION_NAT: u32 = 1;
    const FAMILY_IPV4: u32 = 2;
    let port = target.port().to_be_bytes();
    for (register, value) in
        [(REGISTER, &target.ip().octets()[..]), (REGISTER_BEHIND_NAME, &port[..])]
    {
        expression(list, "immediate", |body| {
            body.number_be(1, register);
            body.nested(2, |body| body.attribute(NFTA_DATA_VALUE, value));
        });
    }
    expression(list, "nat", |body| {
        body.number_be(1, DESTINATION_NAT);
        body.number_be(2, FAMILY_IPV4);
        body.number_be(3, REGISTER);
        body.number_be(5, REGISTER_BEHIND_NAME);
    });
}
