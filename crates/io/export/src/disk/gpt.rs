//! Partition tables by GUID (UEFI specification, chapter 5), with identifiers made from the image's digest.

use flate2::Crc;
use hornero_model::Digest;
use sha2::{Digest as _, Sha256};

use super::{guid::Guid, machine::HERE};

pub(super) const SECTOR_LEN: u64 = 512;
/// EFI system partition.
pub(super) const BOOT: Guid =
    Guid(*b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");

const ENTRY_LEN: usize = 128;
const ENTRY_COUNT: usize = 128;
const HEADER_LEN: u32 = 92;
/// The header, then the entries.
const ENTRIES_SECTORS: u64 = (ENTRY_LEN * ENTRY_COUNT) as u64 / SECTOR_LEN;
/// Partition attribute: mounted read-only by those who find it by its type.
const READ_ONLY: u64 = 1 << 60;

/// A partition, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) kind: Guid,
    /// Up to 36 letters.
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) len: u64,
}

/// The table of a disk.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// What identifiers are made from.
    pub(super) seed: Digest,
    pub(super) disk_len: u64,
    pub(super) partitions: Vec<Partition>,
}

impl Table {
    /// The first sectors of the disk, with their offsets.
    pub(super) fn front(&self) -> [(u64, Vec<u8>); 3] {
        let entries = self.entries();
        [
            (0, self.protection()),
            (SECTOR_LEN, self.header(1, self.last_sector(), 2, &entries)),
            (2 * SECTOR_LEN, entries),
        ]
    }

    /// The last sectors of the disk, up to its end.
    pub(super) fn back(&self) -> Vec<u8> {
        let mut bytes = self.entries();
        let first = self.last_sector() - ENTRIES_SECTORS;
        let header = self.header(self.last_sector(), 1, first, &bytes);
        bytes.extend_from_slice(&header);
        bytes.resize(bytes.len().next_multiple_of(SECTOR_LEN as usize), 0);
        bytes
    }

    fn last_sector(&self) -> u64 {
        self.disk_len / SECTOR_LEN - 1
    }

    /// A master boot record that says all of the disk is in use.
    fn protection(&self) -> Vec<u8> {
        let mut record = vec![0; SECTOR_LEN as usize];
        let entry = &mut record[446..462];
        entry[1..8].copy_from_slice(&[0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let sectors = u32::try_from(self.last_sector()).unwrap_or(u32::MAX);
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        record
    }

    fn header(&self, own: u64, other: u64, first_of_entries: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_LEN as usize);
        header.extend_from_slice(b"EFI PART");
        for word in [0x0001_0000, HEADER_LEN, 0, 0] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        let usable = [2 + ENTRIES_SECTORS, self.last_sector() - ENTRIES_SECTORS - 1];
        for place in [own, other, usable[0], usable[1]] {
            header.extend_from_slice(&place.to_le_bytes());
        }
        header.extend_from_slice(&self.guid("disk").0);
        header.extend_from_slice(&first_of_entries.to_le_bytes());
        for word in [ENTRY_COUNT as u32, ENTRY_LEN as u32, checksum(entries)] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY_LEN * ENTRY_COUNT];
        for (partition, entry) in self.partitions.iter().zip(bytes.chunks_mut(ENTRY_LEN)) {
            entry[..16].copy_from_slice(&partition.kind.0);
            entry[16..32].copy_from_slice(&self.guid(&partition.name).0);
            let first = partition.start / SECTOR_LEN;
            let last = first + partition.len / SECTOR_LEN - 1;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            let attributes = if partition.kind == HERE.root { READ_ONLY } else { 0 };
            entry[48..56].copy_from_slice(&attributes.to_le_bytes());
            for (unit, place) in partition.name.encode_utf16().zip(entry[56..].chunks_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }

    /// An identifier of its own for each purpose (RFC 9562, version 8).
    fn guid(&self, purpose: &str) -> Guid {
        let digest =
            Sha256::new().chain_update(self.seed.as_bytes()).chain_update(purpose).finalize();
        let mut bytes: [u8; 16] = digest[..16].try_into().expect("a digest has 32 bytes");
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
