//! The names in the kernel that belong to one home, derived from a hash of its path.

use std::{net::Ipv4Addr, path::Path};

use sha2::{Digest as _, Sha256};

/// What the bridge of every home begins with.
pub(crate) const BRIDGE_PREFIX: &str = "hrn";
const TABLE_PREFIX: &str = "hornero_";

/// What tells one home from another on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    hash: u32,
}

impl Identity {
    /// The identity of the home at this canonical path.
    pub fn of(home: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let hash = Sha256::digest(home.as_os_str().as_bytes());
        Self { hash: u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) }
    }

    /// The identity whose bridge has this name.
    pub fn of_bridge(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(BRIDGE_PREFIX)?)
    }

    /// The identity whose tables have this name.
    pub fn of_table(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(TABLE_PREFIX)?)
    }

    /// Eight lower-case hexadecimal digits, as the names have them: nothing else is Hornero's.
    fn parse(digits: &str) -> Option<Self> {
        let hash = u32::from_str_radix(digits, 16).ok()?;
        (format!("{hash:08x}") == digits).then_some(Self { hash })
    }

    /// Where the search for a free subnet begins.
    pub fn seed(self) -> u32 {
        self.hash
    }

    /// `hrn01234567`.
    pub fn bridge(self) -> String {
        format!("{BRIDGE_PREFIX}{:08x}", self.hash)
    }

    /// `hornero_01234567`.
    pub fn table(self) -> String {
        format!("{TABLE_PREFIX}{:08x}", self.hash)
    }

    /// What the host's end of every veth pair of this home begins with.
    pub fn port_prefix(self) -> String {
        format!("hv{:08x}", self.hash)
    }

    /// The host's end of the veth pair of the instance with this address: 14 of the 15 characters
    /// that a name may have. Derived, so that a leftover is found without any record.
    pub fn port(self, address: Ipv4Addr) -> String {
        let octets = address.octets();
        format!("{}{:02x}{:02x}", self.port_prefix(), octets[2], octets[3])
    }

    /// The link group of everything the home has, so that one request removes all of it. Group 0
    /// is every other link's, so it is never used.
    pub fn group(self) -> u32 {
        self.hash.max(1)
    }

    /// The bridge's hardware address: fixed, so that it does not change as ports come and go, and
    /// locally administered.
    pub fn bridge_hardware_address(self) -> [u8; 6] {
        let [a, b, c, d] = self.hash.to_be_bytes();
        [0x02, 0x68, a, b, c, d]
    }
}

/// The hardware address of the instance with this address: derived, so that a permanent neighbour
/// entry for the address is right for whichever instance holds it.
pub(crate) fn instance_hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x69, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        let identity = Identity::of(Path::new("/var/lib/hornero"));
        assert_eq!(Identity::of_bridge(&identity.bridge()), Some(identity));
        assert_eq!(Identity::of_table(&identity.table()), Some(identity));
        for other in ["hrn", "hrn0", "hrn0123456g", "hrn+1234567", "hrnABCDEF01", "br0123456789"] {
            assert_eq!(Identity::of_bridge(other), None, "{other}");
        }
        assert_eq!(Identity::of_table("hornero_"), None);
    }

    #[test]
    fn names_fit_the_kernel() {
        let identity = Identity::of(Path::new("/var/lib/hornero"));
        let port = identity.port(Ipv4Addr::new(10, 70, 255, 254));
        assert!(identity.bridge().len() <= 15 && port.len() <= 15, "{port}");
        assert!(port.starts_with(&identity.port_prefix()) && port.ends_with("fffe"));
        assert_ne!(identity, Identity::of(Path::new("/var/lib/hornero2")));
    }
}
