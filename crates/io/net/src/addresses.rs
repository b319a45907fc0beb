//! Which instance holds which address: a table of fixed-size slots, one for each address.
//!
//! An instance's address is searched for in a window of slots that its id's hash points at, so an
//! allocation reads one window and writes one slot. The file is not synced: it must outlive every
//! process, but not the kernel, with which all instances die.

use std::{
    fs::File,
    net::Ipv4Addr,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use hornero_model::InstanceId;
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result, Subnet, lock::open_locked};

/// Bytes of a slot: state, flags, length of the id, the id (63 at most), then at 72 the time.
const SLOT_BYTES: usize = 80;
const TIME_AT: usize = 72;
const ID_AT: usize = 3;
const ID_MAX_BYTES: usize = 63;
/// Slots an id may lie in. A bridge has at most 1023 ports, so a window is never full of instances
/// unless ids are made to collide.
const WINDOW: usize = 128;
/// A released address rests this long: connection tracking, pools and name caches that still know
/// the last holder have forgotten it by then.
const REST_SECONDS: u64 = 600;

const HELD: u8 = 1;
const RELEASED: u8 = 2;
const ATTACHED: u8 = 1;
const EGRESS: u8 = 2;

/// How an address is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub instance: InstanceId,
    pub address: Ipv4Addr,
    /// Whether it is attached, and if so with egress.
    pub attached: Option<Egress>,
}

/// Whether an instance may reach what lies outside the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Egress {
    Allowed,
    Refused,
}

/// The table of one home.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    path: PathBuf,
}

/// A slot as read; what makes no sense counts as never used.
#[derive(Debug, Clone)]
enum Slot {
    Free,
    Released { instance: InstanceId, since: u64 },
    Held { instance: InstanceId, attached: Option<Egress> },
}

impl Slot {
    fn decode(bytes: &[u8]) -> Self {
        let Some(instance) = bytes
            .get(ID_AT..ID_AT + usize::from(bytes[2]).min(ID_MAX_BYTES))
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(|id| InstanceId::new(id).ok())
        else {
            return Self::Free;
        };
        let mut since = [0; 8];
        since.copy_from_slice(&bytes[TIME_AT..SLOT_BYTES]);
        match (bytes[0], bytes[1] & ATTACHED != 0, bytes[1] & EGRESS != 0) {
            (HELD, false, _) => Self::Held { instance, attached: None },
            (HELD, true, true) => Self::Held { instance, attached: Some(Egress::Allowed) },
            (HELD, true, false) => Self::Held { instance, attached: Some(Egress::Refused) },
            (RELEASED, _, _) => Self::Released { instance, since: u64::from_le_bytes(since) },
            _ => Self::Free,
        }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let (state, flags, instance, since) = match self {
            Self::Free => return bytes,
            Self::Released { instance, since } => (RELEASED, 0, instance, *since),
            Self::Held { instance, attached } => {
                let flags = match attached {
                    None => 0,
                    Some(Egress::Refused) => ATTACHED,
                    Some(Egress::Allowed) => ATTACHED | EGRESS,
                };
                (HELD, flags, instance, 0)
            }
        };
        let id = instance.as_str().as_bytes();
        bytes[0] = state;
        bytes[1] = flags;
        bytes[2] = id.len() as u8;
        bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id);
        bytes[TIME_AT..].copy_from_slice(&since.to_le_bytes());
        bytes
    }

    fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Free => None,
            Self::Released { instance, .. } | Self::Held { instance, .. } => Some(instance),
        }
    }
}

impl Addresses {
    pub fn new(home: &Path) -> Self {
        Self { path: home.join("network.addresses") }
    }

    /// The address of the instance: the one it holds or held last, or a free one.
    pub fn allocate(&self, subnet: Subnet, instance: &InstanceId) -> Result<Ipv4Addr> {
        let file = open_locked(&self.path)?;
        let window = self.window(&file, instance)?;
        let mut free = None;
        let mut oldest: Option<(u64, usize)> = None;
        for (index, slot) in window {
            match slot {
                Slot::Held { instance: holder, .. } => {
                    if holder == *instance {
                        return Ok(subnet.instance(index));
                    }
                }
                Slot::Released { instance: holder, .. } if holder == *instance => {
                    free = Some(index);
                    break;
                }
                Slot::Released { since, .. } => {
                    oldest =
                        Some(oldest.map_or((since, index), |oldest| oldest.min((since, index))));
                }
                Slot::Free => free = free.or(Some(index)),
            }
        }
        let rested = oldest
            .filter(|(since, _)| now_seconds().saturating_sub(*since) >= REST_SECONDS)
            .map(|(_, index)| index);
        let index = free.or(rested).ok_or_else(|| Error::NoFreeAddress {
            subnet: subnet.to_string(),
            instance: instance.clone(),
        })?;
        self.write(&file, index, &Slot::Held { instance: instance.clone(), attached: None })?;
        Ok(subnet.instance(index))
    }

    /// Gives the instance's address back; does nothing where it holds none.
    pub fn release(&self, instance: &InstanceId) -> Result<()> {
        let file = open_locked(&self.path)?;
        match self.held(&file, instance)? {
            Some((index, _)) => {
                let slot = Slot::Released { instance: instance.clone(), since: now_seconds() };
                self.write(&file, index, &slot)
            }
            None => Ok(()),
        }
    }

    /// Records that the instance is attached under this address, or (`None`) no longer is.
    pub fn set_attached(
        &self,
        subnet: Subnet,
        instance: &InstanceId,
        address: Ipv4Addr,
        attached: Option<Egress>,
    ) -> Result<()> {
        let file = open_locked(&self.path)?;
        match self.held(&file, instance)? {
            Some((index, _)) if subnet.instance(index) == address => {
                self.write(&file, index, &Slot::Held { instance: instance.clone(), attached })
            }
            Some(_) | None => Err(Error::NotAllocated { address, instance: instance.clone() }),
        }
    }

    /// The address the instance holds, or held until it was released, if the slot is still its own.
    pub fn last_address(&self, subnet: Subnet, instance: &InstanceId) -> Result<Option<Ipv4Addr>> {
        let file = open_locked(&self.path)?;
        let slot =
            self.window(&file, instance)?.find(|(_, slot)| slot.instance() == Some(instance));
        Ok(slot.map(|(index, _)| subnet.instance(index)))
    }

    /// Everything held, by address. Reads what was ever written: a table of one instance is four megabytes long.
    pub fn holders(&self, subnet: Subnet) -> Result<Vec<Holder>> {
        let file = open_locked(&self.path)?;
        let length = file.metadata().map_err(self.fail("read"))?.len();
        // No more than the table: whatever follows it is not ours.
        let length = length.min((Subnet::INSTANCES * SLOT_BYTES) as u64);
        let mut holders = Vec::new();
        let mut at = 0;
        while let Some(written) = next_written(&file, at, length).map_err(self.fail("read"))? {
            let mut bytes = vec![0; (written.end - written.start) as usize];
            let read = read_up_to(&file, &mut bytes, written.start).map_err(self.fail("read"))?;
            let first = written.start as usize / SLOT_BYTES;
            for (index, bytes) in (first..).zip(bytes[..read].chunks_exact(SLOT_BYTES)) {
                if let Slot::Held { instance, attached } = Slot::decode(bytes) {
                    holders.push(Holder { instance, address: subnet.instance(index), attached });
                }
            }
            at = written.end;
        }
        Ok(holders)
    }

    /// Whether whoever has this address may reach what lies outside the home: an attached instance
    /// with egress, or an address that is no instance's.
    ///
    /// Reads one slot, without the lock: a slot is written whole before the instance is connected.
    pub fn may_leave(&self, subnet: Subnet, address: Ipv4Addr) -> bool {
        let Some(index) = subnet.slot(address) else { return true };
        let mut bytes = [0; SLOT_BYTES];
        let read = hornero_home::open(&self.path, hornero_home::Opening::Read)
            .and_then(|file| read_up_to(&file, &mut bytes, (index * SLOT_BYTES) as u64));
        let allowed = Some(Egress::Allowed);
        read.is_ok()
            && matches!(Slot::decode(&bytes), Slot::Held { attached, .. } if attached == allowed)
    }

    fn held(&self, file: &File, instance: &InstanceId) -> Result<Option<(usize, Slot)>> {
        Ok(self.window(file, instance)?.find(
            |(_, slot)| matches!(slot, Slot::Held { instance: holder, .. } if holder == instance),
        ))
    }

    /// The slots the instance may lie in, with their numbers.
    fn window(
        &self,
        file: &File,
        instance: &InstanceId,
    ) -> Result<impl Iterator<Item = (usize, Slot)> + use<>> {
        let hash = Sha256::digest(instance.as_str().as_bytes());
        let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        // The last windows would pass the end: all ids begin before it.
        let first = hash as usize % (Subnet::INSTANCES - WINDOW + 1);
        let mut bytes = vec![0; WINDOW * SLOT_BYTES];
        // What lies behind the end of the file was never used, and stays zero.
        read_up_to(file, &mut bytes, (first * SLOT_BYTES) as u64).map_err(self.fail("read"))?;
        Ok((0..WINDOW).map(move |step| {
            let slot = &bytes[step * SLOT_BYTES..(step + 1) * SLOT_BYTES];
            (first + step, Slot::decode(slot))
        }))
    }

    fn write(&self, file: &File, index: usize, slot: &Slot) -> Result<()> {
        file.write_all_at(&slot.encode(), (index * SLOT_BYTES) as u64).map_err(self.fail("write"))
    }

    fn fail(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::File { action, path, source }
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The next whole slots from `at` on of which something was written, as places in bytes; none where only holes follow.
fn next_written(file: &File, at: u64, length: u64) -> std::io::Result<Option<Range<u64>>> {
    if at >= length {
        return Ok(None);
    }
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) if data < length => data,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let slot = SLOT_BYTES as u64;
    let hole = seek(file, SeekFrom::Hole(data))?;
    Ok(Some(data / slot * slot..(hole.div_ceil(slot) * slot).min(length)))
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn table() -> (tempfile::TempDir, Addresses, Subnet) {
        let home = tempfile::tempdir().unwrap();
        let addresses = Addresses::new(home.path());
        (home, addresses, "10.70.0.0/16".parse().unwrap())
    }

    fn id(number: usize) -> InstanceId {
        InstanceId::new(format!("site-1-n{number}")).unwrap()
    }

    #[test]
    fn addresses_are_stable_and_distinct() {
        let (_home, addresses, subnet) = table();
        let all: Vec<_> =
            (0..2000).map(|number| addresses.allocate(subnet, &id(number)).unwrap()).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for (number, address) in all.iter().enumerate() {
            assert_eq!(addresses.allocate(subnet, &id(number)).unwrap(), *address);
        }
        assert_eq!(addresses.holders(subnet).unwrap().len(), all.len());
    }

    #[test]
    fn released_addresses_rest_but_return_to_their_holder() {
        let (_home, addresses, subnet) = table();
        let first = addresses.allocate(subnet, &id(1)).unwrap();
        addresses.release(&id(1)).unwrap();
        addresses.release(&id(1)).unwrap();
        assert_eq!(addresses.holders(subnet).unwrap(), []);
        assert_eq!(addresses.last_address(subnet, &id(1)).unwrap(), Some(first));
        let others: Vec<_> =
            (2..3000).map(|number| addresses.allocate(subnet, &id(number)).unwrap()).collect();
        assert!(!others.contains(&first));
        assert_eq!(addresses.allocate(subnet, &id(1)).unwrap(), first);
    }

    #[test]
    fn a_full_window_takes_the_longest_rested_and_then_refuses() {
        let (_home, addresses, subnet) = table();
        let file = open_locked(&addresses.path).unwrap();
        let slots: Vec<usize> =
            addresses.window(&file, &id(0)).unwrap().map(|(index, _)| index).collect();
        for (number, index) in slots.iter().enumerate() {
            let since = if number == 7 { 5 } else { 100 };
            let slot = Slot::Released { instance: id(1000 + number), since };
            addresses.write(&file, *index, &slot).unwrap();
        }
        drop(file);
        assert_eq!(addresses.allocate(subnet, &id(0)).unwrap(), subnet.instance(slots[7]));
        let file = open_locked(&addresses.path).unwrap();
        for (number, index) in slots.iter().enumerate() {
            let slot = Slot::Released { instance: id(1000 + number), since: now_seconds() };
            addresses.write(&file, *index, &slot).unwrap();
        }
        drop(file);
        let error = addresses.allocate(subnet, &id(0)).unwrap_err();
        assert!(matches!(error, Error::NoFreeAddress { .. }), "{error}");
    }

    #[test]
    fn attachment_is_remembered_and_needs_the_address() {
        let (_home, addresses, subnet) = table();
        let address = addresses.allocate(subnet, &id(1)).unwrap();
        addresses.set_attached(subnet, &id(1), address, Some(Egress::Allowed)).unwrap();
        assert_eq!(
            addresses.holders(subnet).unwrap(),
            [Holder { instance: id(1), address, attached: Some(Egress::Allowed) }]
        );
        let wrong = Ipv4Addr::from_bits(address.to_bits() ^ 1);
        let error = addresses.set_attached(subnet, &id(1), wrong, None).unwrap_err();
        assert!(matches!(error, Error::NotAllocated { .. }), "{error}");
        assert!(addresses.set_attached(subnet, &id(2), address, None).is_err());
    }

    #[test]
    fn damaged_slots_count_as_free() {
        let (_home, addresses, subnet) = table();
        addresses.allocate(subnet, &id(1)).unwrap();
        let garbage: Vec<u8> = (0..Subnet::INSTANCES * SLOT_BYTES).map(|n| (n * 7) as u8).collect();
        std::fs::write(&addresses.path, garbage).unwrap();
        assert_eq!(addresses.holders(subnet).unwrap(), []);
        addresses.allocate(subnet, &id(1)).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_slot_decodes(bytes in proptest::array::uniform32(0u8..), more in proptest::array::uniform32(0u8..)) {
            let bytes = [&bytes[..], &more[..], &[1; 16]].concat();
            let slot = Slot::decode(&bytes);
            assert_eq!(slot.instance().is_some(), slot.encode()[0] != 0);
        }
    }
}
