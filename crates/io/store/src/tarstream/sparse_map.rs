//! Reads the map of a sparse file where it is in the stream itself.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::{
    TarReader,
    entry::{Records, unsigned},
    fault::{BLOCK, early, invalid},
    sparse::{PART_COUNT_MAX, Parts, Sparse, real_size},
};

/// Digits of a number that fits 64 bits.
const NUMBER_LEN_MAX: usize = 20;

impl<R: Read> TarReader<R> {
    /// The map in the header and the blocks after it; `stored` bytes follow them.
    pub(super) fn sparse_of_header(&mut self, header: &Header, stored: u64) -> io::Result<Sparse> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("a sparse file has no GNU header"))?;
        let mut parts = Parts::default();
        gnu.sparse.iter().try_for_each(|part| parts.add_of_header(part))?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            if !self.block(next.as_mut_bytes())? {
                return Err(early("header"));
            }
            next.sparse.iter().try_for_each(|part| parts.add_of_header(part))?;
            more = next.is_extended();
        }
        parts.of_size(unsigned(&gnu.realsize)?, stored)
    }

    /// Reads the map in front of the content: a count, then an offset and a length each, every number on a line of its
    /// own, padded to whole blocks. What is left of the stored bytes are the parts.
    pub(super) fn sparse_of_content(&mut self, records: &Records) -> io::Result<Sparse> {
        let count = self.line()?;
        if count > PART_COUNT_MAX as u64 {
            return Err(invalid("a sparse file has too many parts"));
        }
        let mut parts = Parts::default();
        for _ in 0..count {
            let (offset, length) = (self.line()?, self.line()?);
            parts.add(offset, length)?;
        }
        // The content began at a whole block.
        let rest = (BLOCK - self.position % BLOCK) % BLOCK;
        io::copy(&mut self.content().take(rest), &mut io::sink())?;
        parts.of_size(real_size(records)?, self.stored)
    }

    fn line(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        let mut content = self.content().take(NUMBER_LEN_MAX as u64 + 1);
        let mut byte = [0];
        while content.read(&mut byte)? == 1 && byte[0] != b'\n' {
            digits.push(byte[0]);
        }
        let text = std::str::from_utf8(&digits).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("the map of a sparse file is malformed"))
    }
}
