//! A packet as a filter sees it.

use std::net::Ipv4Addr;

/// A part of a packet, or of what is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketField {
    /// The name of the link it came by, with zero bytes to 16.
    InputLink,
    /// The name of the link it leaves by.
    OutputLink,
    /// The number of the link it came by, in the machine's byte order.
    InputIndex,
    /// The number of the link it leaves by.
    OutputIndex,
    /// The family: 2 for IPv4.
    Family,
    /// The protocol on top of IP.
    Protocol,
    /// The state of its connection as bits, in the machine's byte order.
    ConnectionState,
    /// What was done to its connection as bits, such as a translation of addresses.
    ConnectionStatus,
    /// Bytes of the IP header.
    NetworkHeader {
        /// The first.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// Bytes of the header on top of IP.
    TransportHeader {
        /// The first.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// Something else, which is not known.
    Other,
}

/// States of connections, as nf_tables has them.
pub(super) const STATE_NEW: u32 = 8;
pub(super) const STATE_UNTRACKED: u32 = 64;
/// Route types of rtnetlink.
pub(super) const KIND_UNICAST: u16 = 1 << 1;
pub(super) const KIND_LOCAL: u16 = 1 << 2;

const LINK_NAME_BYTES: usize = 16;
const IPV4: u8 = 2;

/// A packet that a server of a home sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The link it comes by.
    pub input: String,
    /// The link it leaves by; none for one to this host.
    pub output: Option<String>,
    /// Where from.
    pub source: Ipv4Addr,
    /// Where to.
    pub destination: Ipv4Addr,
    /// TCP (6) or UDP (17).
    pub protocol: u8,
    /// To which port.
    pub port: u16,
    /// Whether connection tracking is passed by.
    pub untracked: bool,
}

impl Packet {
    /// The port it comes from: one of those that the kernel gives.
    pub(super) const SOURCE_PORT: u16 = 41_234;

    /// The state of its connection as bits.
    pub(super) const fn state(&self) -> u32 {
        if self.untracked { STATE_UNTRACKED } else { STATE_NEW }
    }

    /// The kind of its destination as bits.
    pub(super) const fn destination_kind(&self) -> u16 {
        if self.output.is_none() { KIND_LOCAL } else { KIND_UNICAST }
    }

    /// The bytes of a part; `None` where they are not known.
    pub(super) fn field(&self, field: PacketField) -> Option<Vec<u8>> {
        let name = |name: &str| {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(LINK_NAME_BYTES, 0);
            bytes
        };
        match field {
            PacketField::InputLink => Some(name(&self.input)),
            PacketField::OutputLink => Some(name(self.output.as_deref().unwrap_or_default())),
            // No link that a rule can name by its number: the bridge is made anew with each start.
            PacketField::InputIndex => Some(u32::MAX.to_ne_bytes().to_vec()),
            PacketField::OutputIndex | PacketField::Other => None,
            PacketField::Family => Some(vec![IPV4]),
            PacketField::Protocol => Some(vec![self.protocol]),
            PacketField::ConnectionState => Some(self.state().to_ne_bytes().to_vec()),
            // A new connection, that nothing was done to yet.
            PacketField::ConnectionStatus => Some(vec![0; 4]),
            PacketField::NetworkHeader { offset, length } => {
                part(&self.network_header(), offset, length)
            }
            PacketField::TransportHeader { offset, length } => {
                part(&self.transport_header(), offset, length)
            }
        }
    }

    /// The IP header; what no rule of a firewall looks at is not known.
    fn network_header(&self) -> [Option<u8>; 20] {
        let mut header = [None; 20];
        header[9] = Some(self.protocol);
        for (index, byte) in self.source.octets().into_iter().enumerate() {
            header[12 + index] = Some(byte);
        }
        for (index, byte) in self.destination.octets().into_iter().enumerate() {
            header[16 + index] = Some(byte);
        }
        header
    }

    fn transport_header(&self) -> [Option<u8>; 4] {
        let [a, b] = Self::SOURCE_PORT.to_be_bytes();
        let [c, d] = self.port.to_be_bytes();
        [Some(a), Some(b), Some(c), Some(d)]
    }
}

fn part(bytes: &[Option<u8>], offset: u32, length: u32) -> Option<Vec<u8>> {
    let (from, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    bytes.get(from..from.checked_add(length)?)?.iter().copied().collect()
}
