//! The header of HAProxy's PROXY protocol (`proxy-protocol.txt`, version of 2020), read and written.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hornero_model::ProxyProtocol;

/// What a header of version 2 begins with (2.2); no request of HTTP and no handshake of TLS does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of the rest.
const FIXED_BYTES: usize = 16;
/// What a header of version 1 begins with (2.1).
const WORD: &[u8] = b"PROXY ";
/// Longest line of version 1, its end included (2.1).
const LINE_BYTES: usize = 107;
/// Longest header of version 2: addresses take 232 bytes, and what senders add of TLS and of their clouds a few hundred.
pub(crate) const HEADER_BYTES: usize = 4096;

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// The client.
    pub(crate) source: SocketAddr,
    /// The address that it connected to.
    pub(crate) destination: SocketAddr,
}

/// What a header says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// It carries that of a client.
    Relayed(Endpoints),
    /// It is the sender's own, such as a check, or for a client whose addresses can't be told.
    Own,
}

/// Why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Missing,
    Malformed,
    TooLong,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "it does not begin with a PROXY header",
            Self::Malformed => "its PROXY header is malformed",
            Self::TooLong => "its PROXY header is too long",
        })
    }
}

/// Reads the header that `input` begins with, and its length; none while it is incomplete.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let begins = |with: &[u8]| input.iter().zip(with).all(|(came, want)| came == want);
    match (begins(SIGNATURE), begins(WORD)) {
        (true, _) => parse_bytes(input),
        (_, true) => parse_line(input),
        (false, false) => Err(BadHeader::Missing),
    }
}

/// Reads a header of version 2, whose signature is right as far as it has come.
fn parse_bytes(input: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let Some(fixed) = input.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES {
        return Err(BadHeader::TooLong);
    }
    let Some(block) = input.get(FIXED_BYTES..length) else { return Ok(None) };
    let header = match command {
        // What follows is to be skipped, whatever it is.
        0x20 => Header::Own,
        0x21 => relayed(family, block)?,
        _ => return Err(BadHeader::Malformed),
    };
    Ok(Some((header, length)))
}

/// Whom the address block of a family and transport speaks of. What may follow the addresses (2.2, TLVs) is skipped.
fn relayed(family: u8, block: &[u8]) -> Result<Header, BadHeader> {
    let (family, transport) = (family >> 4, family & 0xf);
    let address_bytes = match family {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(BadHeader::Malformed),
    };
    // A family without transport, or a transport without family, speaks of no addresses.
    if transport > 2 || transport > 0 && block.len() < address_bytes {
        return Err(BadHeader::Malformed);
    }
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let endpoints = match (family, transport) {
        (1, 1) => {
            let address = |at: usize| {
                IpAddr::from(Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]))
            };
            [(address(0), port(8)), (address(4), port(10))]
        }
        (2, 1) => {
            let address = |at: usize| {
                let bytes = std::array::from_fn::<u8, 16, _>(|index| block[at + index]);
                IpAddr::from(Ipv6Addr::from(bytes))
            };
            [(address(0), port(32)), (address(16), port(34))]
        }
        // Sockets of UNIX and datagrams say nothing that counts here.
        (_, _) => return Ok(Header::Own),
    };
    let [source, destination] = endpoints.map(SocketAddr::from);
    Ok(Header::Relayed(Endpoints { source, destination }))
}

/// Reads a header of version 1, whose first word is right as far as it has come.
fn parse_line(input: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let Some(end) = input.iter().take(LINE_BYTES).position(|byte| *byte == b'\n') else {
        return if input.len() < LINE_BYTES { Ok(None) } else { Err(BadHeader::TooLong) };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(BadHeader::Malformed)?;
    if line.contains(&b'\r') {
        return Err(BadHeader::Malformed);
    }
    let rest = line.strip_prefix(WORD).ok_or(BadHeader::Malformed)?;
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Some((Header::Own, end + 1)));
    }
    let rest = std::str::from_utf8(rest).map_err(|_| BadHeader::Malformed)?;
    let endpoints = read_words(rest).ok_or(BadHeader::Malformed)?;
    Ok(Some((Header::Relayed(endpoints), end + 1)))
}

/// Reads `TCP4` or `TCP6`, two addresses of that kind and two ports, with one space between them.
fn read_words(text: &str) -> Option<Endpoints> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match kind {
            "TCP4" => word.parse().ok().map(IpAddr::V4),
            "TCP6" => word.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
        let leads = word.len() > 1 && word.starts_with('0');
        word.parse().ok().filter(|_| is_plain && !leads)
    };
    let (source, destination) = ((source, port()?).into(), (destination, port()?).into());
    words.next().is_none().then_some(Endpoints { source, destination })
}

/// The header of a connection that carries a client's.
pub(crate) fn write(version: ProxyProtocol, endpoints: &Endpoints) -> Vec<u8> {
    let ends = [endpoints.source, endpoints.destination];
    let ports = ends.map(|end| end.port());
    let addresses = ends.map(|end| end.ip().to_canonical());
    match (version, addresses) {
        (ProxyProtocol::V1, [IpAddr::V4(source), IpAddr::V4(destination)]) => {
            line("TCP4", &source, &destination, ports)
        }
        (ProxyProtocol::V2, [IpAddr::V4(source), IpAddr::V4(destination)]) => {
            bytes(0x21, 0x11, &[&source.octets(), &destination.octets()], ports)
        }
        (version, addresses) => {
            let [source, destination] = addresses.map(|address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            });
            match version {
                ProxyProtocol::V1 => line("TCP6", &source, &destination, ports),
                ProxyProtocol::V2 => {
                    bytes(0x21, 0x21, &[&source.octets(), &destination.octets()], ports)
                }
            }
        }
    }
}

/// The header of a connection of the edge's own, whose real ends are these: version 1 has no other words for it that
/// every server takes (2.1).
pub(crate) fn write_own(version: ProxyProtocol, endpoints: &Endpoints) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => write(version, endpoints),
        ProxyProtocol::V2 => [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat(),
    }
}

fn line(
    kind: &str,
    source: &dyn fmt::Display,
    destination: &dyn fmt::Display,
    ports: [u16; 2],
) -> Vec<u8> {
    let [source_port, destination_port] = ports;
    format!("PROXY {kind} {source} {destination} {source_port} {destination_port}\r\n").into_bytes()
}

fn bytes(command: u8, family: u8, addresses: &[&[u8]; 2], ports: [u16; 2]) -> Vec<u8> {
    let block = [addresses[0], addresses[1], &ports[0].to_be_bytes(), &ports[1].to_be_bytes()];
    let block = block.concat();
    // An address block has at most 36 bytes here.
    let length = [0, block.len() as u8];
    [&SIGNATURE[..], &[command, family], &length, &block].concat()
}

#[cfg(test)]
mod tests;
