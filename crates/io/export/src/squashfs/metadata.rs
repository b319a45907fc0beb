//! Metadata blocks of up to 8 KiB each, and the table of owners.

use std::collections::BTreeMap;

use crate::ExportError;

use super::format::LEVEL;

const BLOCK_LEN: usize = 8192;
const UNCOMPRESSED: u16 = 0x8000;

/// A stream of records in metadata blocks.
#[derive(Debug, Default)]
pub(super) struct Table {
    done: Vec<u8>,
    starts: Vec<u64>,
    block: Vec<u8>,
}

impl Table {
    /// Where the next record begins: its block, counted in bytes from the table's beginning, and its place in it.
    pub(super) fn position(&self) -> (u32, u16) {
        (self.done.len() as u32, self.block.len() as u16)
    }

    pub(super) fn put(&mut self, mut record: &[u8]) {
        while !record.is_empty() {
            let (now, later) = record.split_at(record.len().min(BLOCK_LEN - self.block.len()));
            self.block.extend_from_slice(now);
            record = later;
            if self.block.len() == BLOCK_LEN {
                self.flush();
            }
        }
    }

    /// The bytes, and where in them each block begins.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u64>) {
        if !self.block.is_empty() {
            self.flush();
        }
        (self.done, self.starts)
    }

    fn flush(&mut self) {
        self.starts.push(self.done.len() as u64);
        let compressed = zstd::bulk::compress(&self.block, LEVEL)
            .expect("the bound of the output is computed from the input");
        let (header, bytes) = if compressed.len() < self.block.len() {
            (compressed.len() as u16, &compressed)
        } else {
            (self.block.len() as u16 | UNCOMPRESSED, &self.block)
        };
        self.done.extend_from_slice(&header.to_le_bytes());
        self.done.extend_from_slice(bytes);
        self.block.clear();
    }
}

/// Users and groups; inodes have their place in this list.
#[derive(Debug, Default)]
pub(super) struct Owners {
    numbers: Vec<u32>,
    places: BTreeMap<u32, u16>,
}

impl Owners {
    pub(super) fn place(&mut self, owner: u32) -> Result<u16, ExportError> {
        if let Some(place) = self.places.get(&owner) {
            return Ok(*place);
        }
        let place = u16::try_from(self.numbers.len()).ok().filter(|place| *place < u16::MAX);
        let place = place.ok_or_else(|| {
            ExportError::TooLarge("squashfs can hold 65,535 distinct users and groups".into())
        })?;
        self.numbers.push(owner);
        self.places.insert(owner, place);
        Ok(place)
    }

    pub(super) fn count(&self) -> u16 {
        self.numbers.len() as u16
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}
