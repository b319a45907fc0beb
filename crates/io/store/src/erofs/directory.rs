//! Directory blocks: sorted entries, each block with its records first and their names after.

use super::disk::BLOCK_LEN;

const RECORD_LEN: usize = 12;

/// The type byte of a directory record.
#[derive(Debug, Clone, Copy)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

/// One name of a directory; the target is an index of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) target: usize,
}

/// How a directory's names fall into blocks.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    names: Vec<Name<'a>>,
    /// End of each block's run of names.
    ends: Vec<usize>,
    /// Bytes used of the last block.
    pub(super) tail_len: usize,
}

impl<'a> Packing<'a> {
    /// Packs `names`, which need not be sorted and have to hold `.` and `..`.
    pub(super) fn new(mut names: Vec<Name<'a>>) -> Self {
        // Lookups search by byte order; `.` sorts in between as any other name.
        names.sort_unstable_by(|one, two| one.bytes.cmp(two.bytes));
        let (mut ends, mut used) = (Vec::new(), 0);
        for (index, name) in names.iter().enumerate() {
            let len = RECORD_LEN + name.bytes.len();
            if used + len > BLOCK_LEN {
                ends.push(index);
                used = 0;
            }
            used += len;
        }
        ends.push(names.len());
        Self { names, ends, tail_len: used }
    }

    /// Number of blocks before the last.
    pub(super) fn full_blocks(&self) -> usize {
        self.ends.len() - 1
    }

    /// The size of the directory in bytes.
    pub(super) fn size(&self) -> u64 {
        (self.full_blocks() * BLOCK_LEN + self.tail_len) as u64
    }

    /// Writes block `index`, not padded; `node` gives inode number and type of a target.
    pub(super) fn encode(&self, index: usize, node: impl Fn(usize) -> (u64, FileType)) -> Vec<u8> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let names = &self.names[start..self.ends[index]];
        let mut block = Vec::with_capacity(BLOCK_LEN);
        let mut name_offset = names.len() * RECORD_LEN;
        for name in names {
            let (number, file_type) = node(name.target);
            block.extend_from_slice(&number.to_le_bytes());
            block.extend_from_slice(&(name_offset as u16).to_le_bytes());
            block.push(file_type as u8);
            block.push(0);
            name_offset += name.bytes.len();
        }
        for name in names {
            block.extend_from_slice(name.bytes);
        }
        block
    }
}
