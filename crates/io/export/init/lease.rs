//! The messages of DHCP (RFC 2131, options RFC 2132) as bytes: what a client asks and what it is told.

use std::net::Ipv4Addr;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS_AT: usize = 240;
/// Replies come as a broadcast: there is no address yet that they could be sent to.
const BROADCAST: u16 = 0x8000;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_SECONDS: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const END: u8 = 255;

/// An address for some time, offered or given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub mask: Ipv4Addr,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub server: Ipv4Addr,
    /// How long it holds.
    pub seconds: u32,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Offer(Lease),
    Acknowledge(Lease),
    Refuse,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub hardware: [u8; 6],
    pub transaction: u32,
    pub host_name: &'a str,
}

impl Client<'_> {
    /// Asks every server for an offer.
    pub fn discover(&self) -> Vec<u8> {
        self.message(1, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// Takes an offer.
    pub fn request(&self, offer: &Lease) -> Vec<u8> {
        let options = [(REQUESTED_ADDRESS, offer.address), (SERVER, offer.server)];
        self.message(3, Ipv4Addr::UNSPECIFIED, &options)
    }

    /// Asks for more time.
    pub fn renew(&self, lease: &Lease) -> Vec<u8> {
        self.message(3, lease.address, &[])
    }

    fn message(&self, kind: u8, own: Ipv4Addr, addresses: &[(u8, Ipv4Addr)]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS_AT];
        // A request over Ethernet, whose addresses have six bytes.
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bytes[10..12].copy_from_slice(&BROADCAST.to_be_bytes());
        bytes[12..16].copy_from_slice(&own.octets());
        bytes[28..34].copy_from_slice(&self.hardware);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(&[MESSAGE_TYPE, 1, kind]);
        for (option, address) in addresses {
            bytes.extend_from_slice(&[*option, 4]);
            bytes.extend_from_slice(&address.octets());
        }
        bytes.extend_from_slice(&[HOST_NAME, self.host_name.len().min(63) as u8]);
        bytes.extend_from_slice(&self.host_name.as_bytes()[..self.host_name.len().min(63)]);
        bytes.extend_from_slice(&[WANTED, 3, SUBNET_MASK, ROUTER, NAME_SERVERS, END]);
        // Some relays drop anything shorter than a BOOTP message.
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }

    /// What `bytes` answers to this client; none for messages to others and broken ones.
    pub fn read(&self, bytes: &[u8]) -> Option<Reply> {
        let address = |at: usize| {
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        if bytes.first() != Some(&2)
            || bytes.get(4..8)? != self.transaction.to_be_bytes()
            || bytes.get(28..34)? != self.hardware
            || bytes.get(236..240)? != COOKIE
        {
            return None;
        }
        let mut kind = 0;
        let mut lease = Lease {
            address: address(16)?,
            mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: None,
            name_servers: Vec::new(),
            server: Ipv4Addr::UNSPECIFIED,
            seconds: 3600,
        };
        let mut at = OPTIONS_AT;
        while let Some(option) = bytes.get(at).filter(|option| **option != END) {
            if *option == 0 {
                at += 1;
                continue;
            }
            let len = usize::from(*bytes.get(at + 1)?);
            let value = bytes.get(at + 2..at + 2 + len)?;
            match *option {
                MESSAGE_TYPE => kind = *value.first()?,
                SUBNET_MASK => lease.mask = address(at + 2)?,
                ROUTER => lease.gateway = address(at + 2),
                SERVER => lease.server = address(at + 2)?,
                LEASE_SECONDS => lease.seconds = u32::from_be_bytes(value.try_into().ok()?),
                NAME_SERVERS => {
                    lease.name_servers =
                        (0..len / 4).filter_map(|index| address(at + 2 + 4 * index)).collect();
                }
                _ => {}
            }
            at += 2 + len;
        }
        match kind {
            2 => Some(Reply::Offer(lease)),
            5 => Some(Reply::Acknowledge(lease)),
            6 => Some(Reply::Refuse),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client<'_> =
        Client { hardware: [2, 0, 0, 0, 0, 7], transaction: 0x1234_5678, host_name: "site" };

    fn reply(options: &[u8]) -> Vec<u8> {
        let mut bytes = CLIENT.discover();
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 0, 2, 15]);
        bytes.truncate(OPTIONS_AT);
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn reads_an_offer() {
        let bytes = reply(&[
            53, 1, 2, 0, 0, 1, 4, 255, 255, 0, 0, 3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 1, 1, 1, 1,
            54, 4, 10, 0, 2, 1, 51, 4, 0, 1, 81, 128, 255,
        ]);
        let lease = Lease {
            address: [10, 0, 2, 15].into(),
            mask: [255, 255, 0, 0].into(),
            gateway: Some([10, 0, 2, 2].into()),
            name_servers: vec![[10, 0, 2, 3].into(), [1, 1, 1, 1].into()],
            server: [10, 0, 2, 1].into(),
            seconds: 86_400,
        };
        assert_eq!(CLIENT.read(&bytes), Some(Reply::Offer(lease)));
    }

    #[test]
    fn ignores_what_is_for_others_or_broken() {
        let good = reply(&[53, 1, 6, 255]);
        assert_eq!(CLIENT.read(&good), Some(Reply::Refuse));
        for at in [0, 5, 30, 237] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            assert_eq!(CLIENT.read(&bytes), None, "byte {at}");
        }
        for len in 0..OPTIONS_AT + 3 {
            assert_eq!(CLIENT.read(&good[..len]), None, "cut to {len} bytes");
        }
        assert_eq!(CLIENT.read(&reply(&[53, 1, 5, 51, 3, 0, 0, 0, 255])), None, "a short time");
        assert_eq!(CLIENT.read(&reply(&[53, 1, 5, 1, 200])), None, "an option past the end");
    }
}
