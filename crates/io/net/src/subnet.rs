//! The /16 of a home, and which part of it is for what.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// The first second octet of the range homes take their subnet from: 10.64.0.0.
const FIRST_OCTET: u8 = 64;
/// How many subnets the range has: up to 10.191.0.0. It leaves out both ends of 10.0.0.0/8, where
/// office and cloud networks usually lie.
const SUBNETS: u32 = 128;
/// The first instance address; everything from .1.0 up to it is for services.
const FIRST_INSTANCE: u16 = 0x1000;
/// The first service address.
const FIRST_SERVICE: u16 = 0x0100;

/// A text is no subnet that a home can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a /16 between 10.64.0.0/16 and 10.191.0.0/16")]
pub struct SubnetError(String);

/// The /16 of one home: `.0.1` is the gateway, `.1.0` to `.15.255` are the addresses of services,
/// `.16.0` to `.255.254` those of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    second_octet: u8,
}

impl Subnet {
    /// How many instance addresses a home has; the last, `.255.255`, is the broadcast address.
    pub(crate) const INSTANCES: usize = (u16::MAX - FIRST_INSTANCE) as usize;
    /// How many service addresses a home has.
    pub(crate) const SERVICES: usize = (FIRST_INSTANCE - FIRST_SERVICE) as usize;

    fn at(self, low: u16) -> Ipv4Addr {
        let [high, low] = low.to_be_bytes();
        Ipv4Addr::new(10, self.second_octet, high, low)
    }

    /// The network's own address, `.0.0`.
    pub fn network(self) -> Ipv4Addr {
        self.at(0)
    }

    /// The address of the bridge: the instances' gateway and name server.
    pub fn gateway(self) -> Ipv4Addr {
        self.at(1)
    }

    /// The first and the last address that services have.
    pub fn services(self) -> (Ipv4Addr, Ipv4Addr) {
        (self.at(FIRST_SERVICE), self.at(FIRST_INSTANCE - 1))
    }

    /// The first and the last address that instances have.
    pub fn instances(self) -> (Ipv4Addr, Ipv4Addr) {
        (self.at(FIRST_INSTANCE), self.at(u16::MAX))
    }

    /// Whether the address lies in this subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let octets = address.octets();
        octets[0] == 10 && octets[1] == self.second_octet
    }

    /// The service address of this number, below [`Self::SERVICES`].
    pub(crate) fn service(self, number: usize) -> Ipv4Addr {
        assert!(number < Self::SERVICES);
        self.at(FIRST_SERVICE + number as u16)
    }

    /// The instance address of this slot, below [`Self::INSTANCES`].
    pub(crate) fn instance(self, slot: usize) -> Ipv4Addr {
        assert!(slot < Self::INSTANCES);
        self.at(FIRST_INSTANCE + slot as u16)
    }

    /// The slot of an instance address; `None` for one that is no instance's of this subnet.
    pub(crate) fn slot(self, address: Ipv4Addr) -> Option<usize> {
        let [_, _, high, low] = address.octets();
        let slot = u16::from_be_bytes([high, low]).checked_sub(FIRST_INSTANCE)?;
        (self.contains(address) && usize::from(slot) < Self::INSTANCES).then_some(slot.into())
    }

    /// The address of this subnet with the same last two octets.
    pub(crate) fn same_place(self, address: Ipv4Addr) -> Ipv4Addr {
        let octets = address.octets();
        self.at(u16::from_be_bytes([octets[2], octets[3]]))
    }

    /// The subnet that `seed` points at, or the next one that overlaps none of the networks in use.
    pub(crate) fn choose(seed: u32, in_use: &[Network]) -> Option<Self> {
        (0..SUBNETS)
            .map(|step| Self {
                second_octet: FIRST_OCTET + ((seed.wrapping_add(step)) % SUBNETS) as u8,
            })
            .find(|subnet| !subnet.overlaps_any(in_use))
    }

    /// Whether any of the networks shares an address with this one.
    pub(crate) fn overlaps_any(self, in_use: &[Network]) -> bool {
        self.overlapping(in_use).next().is_some()
    }

    /// Those of the networks that share an address with this one.
    pub(crate) fn overlapping(self, in_use: &[Network]) -> impl Iterator<Item = &Network> {
        let own = Network { address: self.network(), prefix_length: 16 };
        in_use.iter().filter(move |network| network.overlaps(own))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/16", self.network())
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        text.strip_suffix("/16")
            .and_then(|address| address.parse::<Ipv4Addr>().ok())
            .map(|address| address.octets())
            .filter(|octets| {
                octets[0] == 10
                    && (FIRST_OCTET..FIRST_OCTET + SUBNETS as u8).contains(&octets[1])
                    && octets[2..] == [0, 0]
            })
            .map(|octets| Self { second_octet: octets[1] })
            .ok_or_else(|| SubnetError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// A network that the host already has an address in or a route to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    pub address: Ipv4Addr,
    /// At most 32.
    pub prefix_length: u8,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl Network {
    fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix_length.min(other.prefix_length).min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(shorter)).unwrap_or(0);
        (self.address.to_bits() ^ other.address.to_bits()) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, prefix) = text.split_once('/').unwrap();
        Network { address: address.parse().unwrap(), prefix_length: prefix.parse().unwrap() }
    }

    #[test]
    fn choice_skips_what_is_in_use() {
        let choose = |seed, in_use: &[&str]| {
            let in_use: Vec<_> = in_use.iter().map(|text| network(text)).collect();
            Subnet::choose(seed, &in_use).map(|subnet| subnet.to_string())
        };
        assert_eq!(choose(0, &[]).as_deref(), Some("10.64.0.0/16"));
        assert_eq!(choose(127, &[]).as_deref(), Some("10.191.0.0/16"));
        assert_eq!(choose(0, &["10.64.3.9/32"]).as_deref(), Some("10.65.0.0/16"));
        assert_eq!(choose(127, &["10.160.0.0/11"]).as_deref(), Some("10.64.0.0/16"));
        assert_eq!(
            choose(0, &["10.64.0.0/10", "192.168.0.0/16"]).as_deref(),
            Some("10.128.0.0/16")
        );
        assert_eq!(choose(5, &["10.0.0.0/8"]), None);
        assert_eq!(choose(u32::MAX, &["10.191.1.0/24"]).as_deref(), Some("10.64.0.0/16"));
    }

    #[test]
    fn only_subnets_of_the_range_parse() {
        let subnet: Subnet = "10.70.0.0/16".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 70, 0, 1));
        assert_eq!(subnet.to_string(), "10.70.0.0/16");
        for bad in [
            "",
            "10.70.0.0",
            "10.70.0.0/15",
            "10.70.1.0/16",
            "10.63.0.0/16",
            "10.192.0.0/16",
            "x/16",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn places_are_apart() {
        let subnet: Subnet = "10.70.0.0/16".parse().unwrap();
        let (services, instances) = (subnet.services(), subnet.instances());
        assert!(subnet.gateway() < services.0 && services.1 < instances.0);
        assert_eq!(subnet.service(Subnet::SERVICES - 1), services.1);
        assert_eq!(subnet.instance(0), instances.0);
        assert_eq!(subnet.instance(Subnet::INSTANCES - 1), Ipv4Addr::new(10, 70, 255, 254));
        let other: Subnet = "10.71.0.0/16".parse().unwrap();
        assert_eq!(other.same_place(services.1), Ipv4Addr::new(10, 71, 15, 255));
    }
}
