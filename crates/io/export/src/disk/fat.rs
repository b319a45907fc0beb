//! A FAT32 file system with one file, such as `/EFI/BOOT/BOOTX64.EFI` (Microsoft's FAT specification, version 1.03).

use super::{gpt::SECTOR_LEN, machine::HERE};

/// Clusters of one sector, so that a small volume has as many as FAT32 needs.
const CLUSTER_LEN: u64 = SECTOR_LEN;
/// Fewer make it FAT16 to every reader.
const CLUSTERS_MIN: u64 = 65_525 + 16;
const RESERVED_SECTORS: u64 = 32;
const COPIES: u64 = 2;
/// The first three clusters are the directories, the file follows.
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;
const LAST: u32 = 0x0fff_ffff;
const MEDIA: u8 = 0xf8;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// 1 January 1980, the beginning of its time.
const DATE: u16 = 1 << 5 | 1;

/// A volume in the making.
pub(super) struct Volume<'a> {
    file: &'a [u8],
    serial: u32,
}

impl<'a> Volume<'a> {
    pub(super) fn new(file: &'a [u8], serial: u32) -> Self {
        Self { file, serial }
    }

    /// The least it may have, in bytes.
    pub(super) fn len_min(&self) -> u64 {
        let needed = u64::from(FILE) + (self.file.len() as u64).div_ceil(CLUSTER_LEN);
        let clusters = needed.max(CLUSTERS_MIN);
        let table_sectors = (4 * (clusters + 2)).div_ceil(SECTOR_LEN);
        (RESERVED_SECTORS + COPIES * table_sectors) * SECTOR_LEN + clusters * CLUSTER_LEN
    }

    /// What to write, with its offset in a volume of `len` bytes; the rest is zeros.
    pub(super) fn pieces(&self, len: u64) -> Vec<(u64, Vec<u8>)> {
        let sectors = len / SECTOR_LEN;
        // A few entries more than clusters there are: the tables take away from the clusters.
        let table_sectors = (4 * (sectors + 2)).div_ceil(SECTOR_LEN);
        let data = (RESERVED_SECTORS + COPIES * table_sectors) * SECTOR_LEN;
        let clusters = (len - data) / CLUSTER_LEN;
        let boot = self.boot_sector(sectors as u32, table_sectors as u32);
        let used = self.file.len().div_ceil(CLUSTER_LEN as usize) as u32;
        let info = info_sector(clusters as u32 - 3 - used, FILE + used);
        let table = table(used);
        let cluster = |number: u32| data + u64::from(number - 2) * CLUSTER_LEN;
        vec![
            (0, boot.clone()),
            (SECTOR_LEN, info.clone()),
            // The copy for a damaged first one.
            (6 * SECTOR_LEN, boot),
            (7 * SECTOR_LEN, info),
            (RESERVED_SECTORS * SECTOR_LEN, table.clone()),
            ((RESERVED_SECTORS + table_sectors) * SECTOR_LEN, table),
            (
                cluster(ROOT),
                [name(b"HORNERO    ", LABEL, 0, 0), name(b"EFI        ", DIRECTORY, EFI, 0)]
                    .concat(),
            ),
            (cluster(EFI), [&dots(EFI, 0)[..], &name(b"BOOT       ", DIRECTORY, BOOT, 0)].concat()),
            (
                cluster(BOOT),
                [&dots(BOOT, EFI)[..], &name(HERE.boot_file, 0, FILE, self.file.len() as u32)]
                    .concat(),
            ),
            (cluster(FILE), self.file.to_vec()),
        ]
    }

    fn boot_sector(&self, sectors: u32, table_sectors: u32) -> Vec<u8> {
        let mut sector = vec![0; SECTOR_LEN as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // A jump to itself: there is no code.
        put(0, &[0xeb, 0xfe, 0x90]);
        put(3, b"HORNERO ");
        put(11, &(SECTOR_LEN as u16).to_le_bytes());
        put(13, &[(CLUSTER_LEN / SECTOR_LEN) as u8]);
        put(14, &(RESERVED_SECTORS as u16).to_le_bytes());
        put(16, &[COPIES as u8]);
        put(21, &[MEDIA]);
        // Sectors a track and heads, which nobody uses.
        put(24, &63_u16.to_le_bytes());
        put(26, &255_u16.to_le_bytes());
        put(32, &sectors.to_le_bytes());
        put(36, &table_sectors.to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        // Where the second sector and the copy of both are.
        put(48, &1_u16.to_le_bytes());
        put(50, &6_u16.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &self.serial.to_le_bytes());
        put(71, b"HORNERO    ");
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        sector
    }
}

fn info_sector(free: u32, next: u32) -> Vec<u8> {
    let mut sector = vec![0; SECTOR_LEN as usize];
    sector[..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&free.to_le_bytes());
    sector[492..496].copy_from_slice(&next.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The chains: each directory one cluster, the file `used` ones in a row.
fn table(used: u32) -> Vec<u8> {
    let mut words = vec![0x0fff_ff00 | u32::from(MEDIA), LAST, LAST, LAST, LAST];
    words.extend((FILE + 1..FILE + used).chain((used > 0).then_some(LAST)));
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn name(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut record = [0; 32];
    record[..11].copy_from_slice(name);
    record[11] = attributes;
    for at in [16, 18, 24] {
        record[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    record[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    record[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    record[28..32].copy_from_slice(&size.to_le_bytes());
    record
}

/// `.` and `..`; the root counts as cluster 0 there.
fn dots(own: u32, parent: u32) -> [u8; 64] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&name(b".          ", DIRECTORY, own, 0));
    both[32..].copy_from_slice(&name(b"..         ", DIRECTORY, parent, 0));
    both
}
