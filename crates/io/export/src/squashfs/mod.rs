//! Squashfs 4.0 images, compressed with zstd, written by plain code of our own.
//!
//! On-disk format: kernel fs/squashfs/squashfs_fs.h. Contents first, in path order and equal ones once, then inodes,
//! directories, fragments, owners and attributes. All inodes are of the extended kinds, which carry attributes.

mod attributes;
mod data;
mod format;
mod inodes;
mod metadata;

use crate::{
    ExportError, ExportEvent,
    output::Output,
    work::{ExportWork, FormatNotes},
};

use attributes::Attributes;
use format::{ABSENT, BLOCK_LEN, seconds};
use metadata::{Owners, Table};

const BLOCK_BITS: u16 = 17;
const SUPERBLOCK_LEN: u64 = 96;
const MAGIC: u32 = 0x7371_7368;
const ZSTD: u16 = 6;
/// Readers of images with a device below them take whole pages.
const PADDING: u64 = 4096;
/// Equal contents are stored once.
const FLAG_DUPLICATES: u16 = 0x40;

pub(crate) fn export(work: &ExportWork<'_>, output: &Output) -> Result<FormatNotes, ExportError> {
    let entries = work.tree.entries();
    let mut attributes = Attributes::default();
    let mut left_out = Vec::new();
    let attribute_numbers = entries
        .iter()
        .map(|entry| attributes.add(entry, &mut left_out))
        .collect::<Result<Vec<u32>, _>>()?;
    work.progress.event(ExportEvent::Started { bytes: data::distinct_bytes(work.tree) });
    let data = data::write(work, output, SUPERBLOCK_LEN)?;
    let mut owners = Owners::default();
    let tables = inodes::tables(entries, &data, &attribute_numbers, &mut owners)?;

    let mut at = data.end;
    let mut put = |bytes: &[u8]| {
        let start = at;
        at += bytes.len() as u64;
        output.write_at(bytes, start).map(|()| start)
    };
    let inode_table = put(&tables.inodes)?;
    let directory_table = put(&tables.directories)?;
    let fragment_table = indexed(&data.fragment_records(), &mut put)?;
    let owner_table = indexed(&owners.bytes(), &mut put)?;
    let attribute_table = attributes.write(&mut put)?;
    let newest = entries.iter().map(seconds).max().unwrap_or(0);

    let mut raw = [0; SUPERBLOCK_LEN as usize];
    raw[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    raw[4..8].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    raw[8..12].copy_from_slice(&newest.to_le_bytes());
    raw[12..16].copy_from_slice(&(BLOCK_LEN as u32).to_le_bytes());
    raw[16..20].copy_from_slice(&(data.fragments.len() as u32).to_le_bytes());
    raw[20..22].copy_from_slice(&ZSTD.to_le_bytes());
    raw[22..24].copy_from_slice(&BLOCK_BITS.to_le_bytes());
    raw[24..26].copy_from_slice(&FLAG_DUPLICATES.to_le_bytes());
    raw[26..28].copy_from_slice(&owners.count().to_le_bytes());
    // Version 4.0.
    raw[28..30].copy_from_slice(&4_u16.to_le_bytes());
    raw[32..40].copy_from_slice(&tables.root.to_le_bytes());
    raw[40..48].copy_from_slice(&at.to_le_bytes());
    raw[48..56].copy_from_slice(&owner_table.to_le_bytes());
    raw[56..64].copy_from_slice(&attribute_table.to_le_bytes());
    raw[64..72].copy_from_slice(&inode_table.to_le_bytes());
    raw[72..80].copy_from_slice(&directory_table.to_le_bytes());
    raw[80..88].copy_from_slice(&fragment_table.to_le_bytes());
    // No table for NFS servers.
    raw[88..96].copy_from_slice(&ABSENT.to_le_bytes());
    output.write_at(&raw, 0)?;
    output.set_len(at.next_multiple_of(PADDING))?;
    Ok(FormatNotes { added: Vec::new(), left_out })
}

/// Writes records as metadata blocks and then the blocks' places; gives where those are.
fn indexed(
    records: &[u8],
    put: &mut impl FnMut(&[u8]) -> Result<u64, ExportError>,
) -> Result<u64, ExportError> {
    let mut table = Table::default();
    table.put(records);
    let (bytes, starts) = table.finish();
    let base = put(&bytes)?;
    let places: Vec<u8> = starts.iter().flat_map(|start| (base + start).to_le_bytes()).collect();
    put(&places)
}
