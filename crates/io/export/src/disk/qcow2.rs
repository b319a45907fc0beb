//! The tables of a qcow2 file (QEMU docs/interop/qcow2.txt, version 3): which part of the file is which of the disk.
//!
//! Regions of the disk lie one after another in the file, each in one piece; everything else of the disk has no place
//! and reads as zeros.

use crate::{ExportError, output::Output};

const CLUSTER_BITS: u32 = 16;
const CLUSTER_LEN: u64 = 1 << CLUSTER_BITS;
/// A second-level table fills a cluster with places of 8 bytes.
const PLACES: u64 = CLUSTER_LEN / 8;
/// Reference counts of 2 bytes: a cluster of them counts this many.
const COUNTS: u64 = CLUSTER_LEN / 2;
/// Of a place: nobody else uses the cluster.
const COPIED: u64 = 1 << 63;
const HEADER_LEN: u32 = 104;
const REFCOUNT_ORDER: u32 = 4;

/// A part of the disk that has bytes; what lies between two reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub start: u64,
    pub len: u64,
}

/// Writes header and tables; gives where in the file each region begins.
pub(super) fn write_tables<const COUNT: usize>(
    output: &Output,
    disk_len: u64,
    regions: &[Region; COUNT],
) -> Result<[u64; COUNT], ExportError> {
    let clusters = |len: u64| len.div_ceil(CLUSTER_LEN);
    let spans: Vec<(u64, u64)> = regions
        .iter()
        .map(|region| {
            let first = region.start / CLUSTER_LEN;
            (first, clusters(region.start + region.len) - first)
        })
        .collect();
    assert!(
        spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
        "no cluster belongs to two regions: these lie at multiples of a megabyte"
    );
    let second_tables = clusters(disk_len).div_ceil(PLACES);
    let first_table = clusters(second_tables * 8);
    let data: u64 = spans.iter().map(|(_, count)| count).sum();
    // What counts references is counted too.
    let fixed = 1 + first_table + second_tables + data;
    let (mut count_blocks, mut count_table) = (0, 0);
    loop {
        let total = fixed + count_blocks + count_table;
        let needed = total.div_ceil(COUNTS);
        let table = clusters(needed * 8);
        if (needed, table) == (count_blocks, count_table) {
            break;
        }
        (count_blocks, count_table) = (needed, table);
    }
    let count_table_at = 1;
    let count_blocks_at = count_table_at + count_table;
    let first_table_at = count_blocks_at + count_blocks;
    let second_tables_at = first_table_at + first_table;
    let data_at = second_tables_at + second_tables;
    let total = data_at + data;

    let mut places = vec![0; (second_tables * PLACES) as usize];
    let mut offsets = [0; COUNT];
    let mut next = data_at;
    for ((region, (first, count)), offset) in regions.iter().zip(&spans).zip(&mut offsets) {
        *offset = next * CLUSTER_LEN + region.start % CLUSTER_LEN;
        for index in 0..*count {
            places[(first + index) as usize] = ((next + index) * CLUSTER_LEN) | COPIED;
        }
        next += count;
    }
    let second =
        (0..second_tables).map(|index| ((second_tables_at + index) * CLUSTER_LEN) | COPIED);
    let blocks = (0..count_blocks).map(|index| (count_blocks_at + index) * CLUSTER_LEN);
    output.write_at(
        &header(disk_len, first_table_at, second_tables, count_table_at, count_table),
        0,
    )?;
    output.write_at(&words(blocks), count_table_at * CLUSTER_LEN)?;
    let counts: Vec<u8> = (0..total).flat_map(|_| 1_u16.to_be_bytes()).collect();
    output.write_at(&counts, count_blocks_at * CLUSTER_LEN)?;
    output.write_at(&words(second), first_table_at * CLUSTER_LEN)?;
    output.write_at(&words(places.into_iter()), second_tables_at * CLUSTER_LEN)?;
    output.set_len(total * CLUSTER_LEN)?;
    Ok(offsets)
}

fn words(words: impl Iterator<Item = u64>) -> Vec<u8> {
    words.flat_map(u64::to_be_bytes).collect()
}

fn header(
    disk_len: u64,
    first_table_at: u64,
    second_tables: u64,
    count_table_at: u64,
    count_table: u64,
) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    let small = |header: &mut Vec<u8>, word: u32| header.extend_from_slice(&word.to_be_bytes());
    let large = |header: &mut Vec<u8>, word: u64| header.extend_from_slice(&word.to_be_bytes());
    small(&mut header, 3);
    // No file behind this one.
    large(&mut header, 0);
    small(&mut header, 0);
    small(&mut header, CLUSTER_BITS);
    large(&mut header, disk_len);
    // Not encrypted.
    small(&mut header, 0);
    small(&mut header, second_tables as u32);
    large(&mut header, first_table_at * CLUSTER_LEN);
    large(&mut header, count_table_at * CLUSTER_LEN);
    small(&mut header, count_table as u32);
    // No snapshots.
    small(&mut header, 0);
    large(&mut header, 0);
    // No features.
    for _ in 0..3 {
        large(&mut header, 0);
    }
    small(&mut header, REFCOUNT_ORDER);
    small(&mut header, HEADER_LEN);
    // No extensions follow.
    large(&mut header, 0);
    header
}
