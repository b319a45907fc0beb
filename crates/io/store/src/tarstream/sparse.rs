//! Sparse files: content of which the stream holds only parts, as GNU tar and its like write it.
//!
//! The map of the parts is in the header and in blocks after it (old GNU format), in records (pax formats 0.0 and 0.1),
//! or in front of the content (pax format 1.0). GNU tar's manual, "Storing Sparse Files", describes them all.

use std::io;

use tar::GnuSparseHeader;

use super::{
    entry::{Records, SPARSE_MAP, record_number, unsigned},
    fault::invalid,
};

/// Parts of one sparse file.
pub(super) const PART_COUNT_MAX: usize = 1 << 16;

/// A sparse file that is being read.
pub(super) struct Sparse {
    /// Where the content is, counted from its end of what was given.
    at: u64,
    pub(super) size: u64,
    /// Offset and length of the parts that are stored, in order; those before `next` were given.
    parts: Vec<(u64, u64)>,
    next: usize,
}

impl Sparse {
    /// What comes next: zeros to give, and then stored bytes to read.
    pub(super) fn ahead(&mut self) -> (u64, u64) {
        let part = loop {
            match self.parts.get(self.next) {
                Some((offset, length)) if self.at >= offset + length => self.next += 1,
                part => break part,
            }
        };
        let zeros = part.map_or(self.size, |(offset, _)| *offset).saturating_sub(self.at);
        let stored = part.map_or(0, |(offset, length)| offset + length - self.at.max(*offset));
        (zeros, stored)
    }

    pub(super) fn advance(&mut self, count: u64) {
        self.at += count;
    }
}

/// Parts in the order in which they are stored.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<(u64, u64)>,
    end: u64,
    total: u64,
}

impl Parts {
    pub(super) fn add(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let after = offset.checked_add(length).filter(|_| offset >= self.end);
        self.end = after.ok_or_else(|| invalid("the parts of a sparse file overlap"))?;
        self.total = self.total.saturating_add(length);
        if self.parts.len() >= PART_COUNT_MAX {
            return Err(invalid("a sparse file has too many parts"));
        }
        self.parts.push((offset, length));
        Ok(())
    }

    pub(super) fn add_of_header(&mut self, part: &GnuSparseHeader) -> io::Result<()> {
        match part.is_empty() {
            true => Ok(()),
            false => self.add(unsigned(&part.offset)?, unsigned(&part.numbytes)?),
        }
    }

    /// The file, of which `stored` bytes are in the stream.
    pub(super) fn of_size(self, size: u64, stored: u64) -> io::Result<Sparse> {
        if self.end > size || self.total != stored {
            return Err(invalid("the parts of a sparse file are not what its size says"));
        }
        Ok(Sparse { at: 0, size, parts: self.parts, next: 0 })
    }
}

/// What records say of a sparse file.
pub(super) enum Described {
    /// They have its map (formats 0.0 and 0.1).
    Mapped,
    /// The map is in front of its content (format 1.0).
    InContent,
}

/// Whether records describe a sparse file, and how.
pub(super) fn described(records: &Records) -> io::Result<Option<Described>> {
    let version = |name: &[u8]| records.get(name).map(Vec::as_slice);
    match (version(b"GNU.sparse.major"), version(b"GNU.sparse.minor")) {
        (Some(b"1"), Some(b"0")) => Ok(Some(Described::InContent)),
        (None | Some(b"0"), None | Some(b"0" | b"1")) => {
            Ok(records.contains_key(SPARSE_MAP).then_some(Described::Mapped))
        }
        _ => Err(invalid("a sparse file is of a format that nobody describes")),
    }
}

pub(super) fn real_size(records: &Records) -> io::Result<u64> {
    let size = record_number(records, b"GNU.sparse.realsize")
        .or_else(|| record_number(records, b"GNU.sparse.size"));
    size.ok_or_else(|| invalid("a sparse file does not say its size"))
}

/// The map in the records; `stored` bytes follow.
pub(super) fn sparse_of_records(records: &Records, stored: u64) -> io::Result<Sparse> {
    let map = records.get(SPARSE_MAP).map(Vec::as_slice).unwrap_or_default();
    let malformed = || invalid("the map of a sparse file is malformed");
    let mut numbers = map.split(|byte| *byte == b',').map(|digits| {
        let text = std::str::from_utf8(digits).ok();
        text.and_then(|text| text.parse().ok()).ok_or_else(malformed)
    });
    let mut parts = Parts::default();
    while let Some(offset) = numbers.next() {
        parts.add(offset?, numbers.next().ok_or_else(malformed)??)?;
    }
    parts.of_size(real_size(records)?, stored)
}
