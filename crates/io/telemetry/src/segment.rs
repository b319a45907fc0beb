//! Files of blocks: their headers, the words of one, and its lines.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use crate::{
    batch::LineBatch,
    block::{self, BLOCK_HEADER_BYTES, BlockHeader},
    files::open_existing,
    filter::{LINE_BYTES, line_has, line_of},
};

/// A file of blocks.
#[derive(Debug)]
pub struct Segment {
    file: File,
    blocks: Vec<(u64, BlockHeader)>,
    end: u64,
    size: u64,
}

impl Segment {
    /// Reads the headers of a file, up to the first that is torn; none where the file is gone.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = open_existing(path)? else { return Ok(None) };
        let size = file.metadata()?.size();
        let (mut blocks, mut at) = (Vec::new(), 0);
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        while at + BLOCK_HEADER_BYTES as u64 <= size {
            file.read_exact_at(&mut bytes, at)?;
            let Some(header) = BlockHeader::read(&bytes) else { break };
            let end = at + header.size();
            if end > size {
                break;
            }
            blocks.push((at, header));
            at = end;
        }
        Ok(Some(Self { file, blocks, end: at, size }))
    }

    /// Its blocks, oldest first.
    pub fn blocks(&self) -> &[(u64, BlockHeader)] {
        &self.blocks
    }

    /// Where its last whole block ends in the file, and how long the file is.
    pub fn extent(&self) -> (u64, u64) {
        (self.end, self.size)
    }

    /// Whether a block seems to have each of these words.
    pub fn has_words(&self, (at, header): &(u64, BlockHeader), words: &[u64]) -> io::Result<bool> {
        let mut line = [0; LINE_BYTES];
        for word in words {
            let place = (line_of(*word, header.filter_log2) * LINE_BYTES) as u64;
            self.file.read_exact_at(&mut line, at + BLOCK_HEADER_BYTES as u64 + place)?;
            if !line_has(&line, *word) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The lines of a block.
    pub fn batch(&self, (at, header): &(u64, BlockHeader)) -> io::Result<LineBatch> {
        let mut compressed = vec![0; header.compressed_bytes as usize];
        let from = at + BLOCK_HEADER_BYTES as u64 + header.filter_bytes();
        self.file.read_exact_at(&mut compressed, from)?;
        block::open(header, &compressed)
    }
}
