//! Contents in blocks: whole ones by themselves, the last parts of files gathered to fragments.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use hornero_model::Digest;
use hornero_store::{StoreError, Tree};

use crate::{ExportError, ExportEvent, contents, ordered, output::Output, work::ExportWork};

use super::format::{BLOCK_LEN, LEVEL};

/// In a size: the block is stored as it is.
const UNCOMPRESSED: u32 = 1 << 24;
/// The fragment of a file that has none.
pub(super) const NO_FRAGMENT: u32 = u32::MAX;

/// Where one content lies.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Of the first whole block.
    pub(super) start: u64,
    /// Stored size of each whole block.
    pub(super) blocks: Vec<u32>,
    pub(super) fragment: u32,
    /// Where the last part begins in the fragment.
    pub(super) offset: u32,
}

impl Default for Placed {
    fn default() -> Self {
        Self { start: 0, blocks: Vec::new(), fragment: NO_FRAGMENT, offset: 0 }
    }
}

/// All contents as written.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) placed: HashMap<Digest, Placed>,
    /// Start and stored size of each fragment block.
    pub(super) fragments: Vec<(u64, u32)>,
    /// Where the next thing may be written.
    pub(super) end: u64,
}

impl Data {
    pub(super) fn fragment_records(&self) -> Vec<u8> {
        let mut records = Vec::with_capacity(16 * self.fragments.len());
        for (start, size) in &self.fragments {
            records.extend_from_slice(&start.to_le_bytes());
            records.extend_from_slice(&size.to_le_bytes());
            records.extend_from_slice(&0_u32.to_le_bytes());
        }
        records
    }
}

/// Bytes of all distinct contents.
pub(super) fn distinct_bytes(tree: &Tree) -> u64 {
    let distinct: HashMap<Digest, u64> = tree.contents().collect();
    distinct.values().sum()
}

/// What a block is.
enum Block {
    Whole(Digest),
    Fragment,
}

/// Writes every distinct content from `start` on.
pub(super) fn write(
    work: &ExportWork<'_>,
    output: &Output,
    start: u64,
) -> Result<Data, ExportError> {
    let mut placed: HashMap<Digest, Placed> = HashMap::new();
    let mut written: HashMap<Digest, (u64, Vec<u32>)> = HashMap::new();
    let mut fragments = Vec::new();
    let mut end = start;
    let mut sink = |block: Block, raw: Vec<u8>, compressed: Vec<u8>| {
        let (bytes, size) = if compressed.len() < raw.len() {
            (&compressed, compressed.len() as u32)
        } else {
            (&raw, raw.len() as u32 | UNCOMPRESSED)
        };
        output.write_at(bytes, end)?;
        match block {
            Block::Whole(digest) => {
                written.entry(digest).or_insert_with(|| (end, Vec::new())).1.push(size);
            }
            Block::Fragment => fragments.push((end, size)),
        }
        end += bytes.len() as u64;
        Ok(())
    };
    let compress =
        |raw: &[u8]| zstd::bulk::compress(raw, LEVEL).map_err(|error| output.failed(error));
    ordered::run(compress, &mut sink, |feeder| {
        let (mut gathered, mut fragment) = (Vec::with_capacity(BLOCK_LEN), 0_u32);
        for (digest, size) in work.tree.contents().filter(|(_, size)| *size > 0) {
            if placed.contains_key(&digest) {
                continue;
            }
            let mut file = work.store.open_object(&digest)?;
            for _ in 0..size / BLOCK_LEN as u64 {
                feeder.feed(Block::Whole(digest), read(&mut file, &digest, BLOCK_LEN)?)?;
            }
            let mut place = Placed::default();
            let rest = (size % BLOCK_LEN as u64) as usize;
            if rest > 0 {
                let last = read(&mut file, &digest, rest)?;
                if gathered.len() + rest > BLOCK_LEN {
                    let full = std::mem::replace(&mut gathered, Vec::with_capacity(BLOCK_LEN));
                    feeder.feed(Block::Fragment, full)?;
                    fragment += 1;
                }
                place.fragment = fragment;
                place.offset = gathered.len() as u32;
                gathered.extend_from_slice(&last);
            }
            placed.insert(digest, place);
            work.progress.event(ExportEvent::Written { bytes: size });
        }
        if gathered.is_empty() { Ok(()) } else { feeder.feed(Block::Fragment, gathered) }
    })?;
    for (digest, (start, blocks)) in written {
        let place = placed.get_mut(&digest).expect("every content with blocks was placed");
        (place.start, place.blocks) = (start, blocks);
    }
    Ok(Data { placed, fragments, end })
}

fn read(file: &mut impl Read, digest: &Digest, len: usize) -> Result<Vec<u8>, ExportError> {
    let mut bytes = vec![0; len];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(contents::damaged(digest))
        }
        Err(source) => Err(StoreError::Source { name: digest.to_string(), source }.into()),
    }
}
