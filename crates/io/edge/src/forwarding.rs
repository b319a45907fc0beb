//! What servers are told of whoever asked: the fields of forwarding, and whose word is taken for them.

use std::net::{IpAddr, SocketAddr};

use crate::http1::field::write_field;

/// Addresses that begin alike, written `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Reads a network; none if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        (prefix_bits <= most).then_some(Self { address, prefix_bits })
    }

    /// Whether `address` is one of them; an IPv4 address that came by IPv6 is one of IPv4.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - self.prefix_bits).unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - self.prefix_bits).unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What is said for the requests of one connection.
#[derive(Debug)]
pub(crate) struct Forwarding {
    peer: String,
    proto: &'static str,
    /// Written once: all that is said but for the host, where the client's word counts for nothing.
    fields: Vec<u8>,
    /// Whether the client is a proxy whose own fields are taken over.
    is_trusted: bool,
}

impl Forwarding {
    pub(crate) fn new(peer: SocketAddr, https: bool, is_trusted: bool) -> Self {
        let proto = if https { "https" } else { "http" };
        let peer = peer.ip().to_canonical().to_string();
        let fields = format!("x-forwarded-for: {peer}\r\nx-forwarded-proto: {proto}\r\n");
        Self { peer, proto, fields: fields.into_bytes(), is_trusted }
    }

    /// Writes the fields for a request to `host` that came with these of its own.
    pub(crate) fn write<'a, Fields: Iterator<Item = (&'a str, &'a [u8])>>(
        &self,
        out: &mut Vec<u8>,
        host: &[u8],
        came: impl Fn() -> Fields,
    ) {
        if !self.is_trusted {
            out.extend_from_slice(&self.fields);
            if !host.is_empty() {
                write_field(out, "x-forwarded-host", host);
            }
            return;
        }
        let of = |wanted: &'static str| {
            let named = came().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
            named.map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        out.extend_from_slice(b"x-forwarded-for: ");
        for value in of("x-forwarded-for") {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(self.peer.as_bytes());
        out.extend_from_slice(b"\r\n");
        let proto = of("x-forwarded-proto").next().unwrap_or(self.proto.as_bytes());
        write_field(out, "x-forwarded-proto", proto);
        let host = of("x-forwarded-host").next().unwrap_or(host);
        if !host.is_empty() {
            write_field(out, "x-forwarded-host", host);
        }
        if let Some(port) = of("x-forwarded-port").next() {
            write_field(out, "x-forwarded-port", port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_the_addresses_that_begin_alike() {
        let has = |network: &str, address: &str| {
            Network::parse(network).unwrap().has(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1"));
        assert!(!has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("192.0.2.7", "192.0.2.7"));
        assert!(!has("192.0.2.7", "192.0.2.6"));
        assert!(has("192.0.2.6/31", "::ffff:192.0.2.7"));
        assert!(has("0.0.0.0/0", "203.0.113.1"));
        assert!(!has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!has("2001:db8::/32", "2001:db9::1"));
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "a/8",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_network_or_none(text in "[0-9a-f:./+ -]{0,24}", address in proptest::prelude::any::<u128>()) {
            if let Some(network) = Network::parse(&text) {
                let _ = network.has(IpAddr::V6(address.into()));
                proptest::prop_assert!(network.has(network.address));
            }
        }
    }
}
