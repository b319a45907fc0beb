//! Blocks: whole lines compressed, behind a header that says when they were written, how bad they are and which words they have.

use std::io;

use hornero_engine_port::log::{LEVEL_WORDS, LineLevel};

use crate::{
    batch::{LineBatch, LineRun},
    filter::{LINE_BYTES, MAX_LINES_LOG2, WordFilter, each_word},
    frame::{checksum, stream_index, stream_of},
    number::{put, take, unzigzag, zigzag},
    structure,
};

/// Bytes of a header.
pub const BLOCK_HEADER_BYTES: usize = 88;
const MAGIC: &[u8; 8] = b"HRNOLOG1";
/// Compressed and uncompressed size of what a block may hold; a writer stays far below.
const MAX_CONTENT_BYTES: u64 = 32 << 20;
/// Level of compression: ten times smaller at 500 MB/s; the next ones are 5 % better and half as fast.
const LEVEL: i32 = 1;
/// Bytes of a run at most: length, time and kind as variable numbers.
const RUN_BYTES: usize = 24;

/// What is known of a block without its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Where its lines begin among all bytes of whole lines.
    pub start: u64,
    /// Bytes of its lines.
    pub text_bytes: u64,
    /// When the first and the last of them ended.
    pub first_ns: u64,
    pub last_ns: u64,
    pub runs: u32,
    /// A bit for each level that some line may have.
    pub levels: u32,
    /// The logarithm of how many lines the filter of words has.
    pub filter_log2: u32,
    /// Bytes of the compressed lines behind the filter.
    pub compressed_bytes: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

impl BlockHeader {
    /// Where the lines behind it begin.
    pub fn end(&self) -> u64 {
        self.start + self.text_bytes
    }

    /// Bytes of its filter.
    pub fn filter_bytes(&self) -> u64 {
        (LINE_BYTES as u64) << self.filter_log2
    }

    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + self.filter_bytes() + self.compressed_bytes
    }

    /// Whether some line may be of this level or worse.
    pub fn may_have(&self, level: LineLevel) -> bool {
        self.levels >> (level as u32) != 0
    }

    fn to_bytes(self, filter_sum: u32) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = [0; BLOCK_HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        let numbers = [
            self.start,
            self.text_bytes,
            self.first_ns,
            self.last_ns,
            u64::from(self.runs),
            u64::from(self.levels),
            u64::from(self.filter_log2),
            self.compressed_bytes,
        ];
        for (index, value) in numbers.into_iter().enumerate() {
            out[16 + index * 8..24 + index * 8].copy_from_slice(&value.to_le_bytes());
        }
        out[80..84].copy_from_slice(&filter_sum.to_le_bytes());
        let sum = checksum(&[&out[16..]]);
        out[8..12].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a header; none where there is none, or a damaged one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BLOCK_HEADER_BYTES)?;
        let sum = u32::from_le_bytes(std::array::from_fn(|index| bytes[8 + index]));
        if &bytes[..8] != MAGIC || checksum(&[&bytes[16..]]) != sum {
            return None;
        }
        let small = |at| u32::try_from(number(bytes, at)).ok();
        let header = Self {
            start: number(bytes, 16),
            text_bytes: number(bytes, 24),
            first_ns: number(bytes, 32),
            last_ns: number(bytes, 40),
            runs: small(48)?,
            levels: small(56)?,
            filter_log2: small(64)?,
            compressed_bytes: number(bytes, 72),
        };
        let fits = header.text_bytes <= MAX_CONTENT_BYTES
            && header.compressed_bytes <= MAX_CONTENT_BYTES
            && header.filter_log2 <= MAX_LINES_LOG2
            && u64::from(header.runs) <= header.text_bytes
            && header.start.checked_add(header.text_bytes).is_some();
        fits.then_some(header)
    }
}

/// Seals lines, of which there has to be one at least.
///
/// # Errors
/// Where there is no memory for it.
pub fn seal(batch: &LineBatch) -> io::Result<Vec<u8>> {
    let mut filter = WordFilter::new();
    let (mut levels, mut at) = (0, 0);
    for run in &batch.runs {
        // Each by itself: the last line of one may have no line feed, and no word goes on in another line.
        let text = &batch.text[at..at + run.bytes];
        at += run.bytes;
        let mut behind_key = false;
        each_word(text, |begin, end, word| {
            filter.insert(word);
            let word = &text[begin..end];
            levels |= level_bits(word, behind_key);
            behind_key = is_level_key(word);
        });
    }
    let (filter, filter_log2) = filter.folded().into_parts();
    let mut content = Vec::with_capacity(batch.runs.len() * 6 + batch.text.len());
    let mut before = batch.runs.first().map_or(0, |run| run.time_ns);
    let (first_ns, mut last_ns, mut earliest) = (before, before, before);
    put(&mut content, first_ns);
    for run in &batch.runs {
        let flags = (u64::from(run.goes_on) << 3) | (u64::from(run.is_unended) << 2);
        put(&mut content, ((run.bytes as u64) << 4) | flags | stream_index(run.stream) as u64);
        put(&mut content, zigzag(run.time_ns.wrapping_sub(before) as i64));
        before = run.time_ns;
        (earliest, last_ns) = (earliest.min(before), last_ns.max(before));
    }
    content.extend_from_slice(&batch.text);
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let compressed = compressor.compress(&content)?;
    drop(content);
    let header = BlockHeader {
        start: batch.start,
        text_bytes: batch.text.len() as u64,
        first_ns: earliest,
        last_ns,
        runs: u32::try_from(batch.runs.len()).map_err(io::Error::other)?,
        levels,
        filter_log2,
        compressed_bytes: compressed.len() as u64,
    };
    let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES + filter.len() + compressed.len());
    out.extend_from_slice(&header.to_bytes(checksum(&[&filter])));
    out.extend_from_slice(&filter);
    out.extend_from_slice(&compressed);
    Ok(out)
}

/// The lines of a block, from what is behind its filter.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where they are damaged.
pub fn open(header: &BlockHeader, compressed: &[u8]) -> io::Result<LineBatch> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a block of the log is damaged");
    let (text_bytes, runs) = (header.text_bytes as usize, header.runs as usize);
    let most = text_bytes.saturating_add(runs.saturating_mul(RUN_BYTES)).saturating_add(16);
    let most = most.min(2 * MAX_CONTENT_BYTES as usize);
    let mut content = zstd::bulk::decompress(compressed, most).map_err(|_| damaged())?;
    let found = runs_of(&content, runs).filter(|(_, at)| content.len() - at == text_bytes);
    let (runs, at) = found.ok_or_else(damaged)?;
    if runs.iter().map(|run| run.bytes as u64).sum::<u64>() != header.text_bytes {
        return Err(damaged());
    }
    content.drain(..at);
    Ok(LineBatch { start: header.start, runs, text: content })
}

/// The runs at the beginning of a content, and where its text begins.
fn runs_of(content: &[u8], count: usize) -> Option<(Vec<LineRun>, usize)> {
    let mut rest = content;
    let mut time_ns = take(&mut rest)?;
    let mut runs = Vec::with_capacity(count.min(content.len()));
    for _ in 0..count {
        let kind = take(&mut rest)?;
        time_ns = time_ns.wrapping_add(unzigzag(take(&mut rest)?) as u64);
        let bytes = usize::try_from(kind >> 4).ok().filter(|bytes| *bytes <= content.len())?;
        runs.push(LineRun {
            time_ns,
            stream: stream_of((kind & 3) as u8)?,
            bytes,
            is_unended: kind & 4 != 0,
            goes_on: kind & 8 != 0,
        });
    }
    Some((runs, content.len() - rest.len()))
}

/// Whether a level stands behind this word in structured lines.
fn is_level_key(word: &[u8]) -> bool {
    // Most words end here.
    matches!(word.last(), Some(b'l' | b'y'))
        && structure::LEVEL_KEYS
            .iter()
            .any(|key| key.rsplit('.').next().is_some_and(|last| last.as_bytes() == word))
}

/// The levels that a line with this word may have.
fn level_bits(word: &[u8], behind_key: bool) -> u32 {
    match word {
        [tens @ b'1'..=b'6', b'0'] if behind_key => 1 << (tens - b'1'),
        // Letters with which a level begins.
        [first, ..]
            if (3..=8).contains(&word.len()) && b"tdinlwecafp".contains(&(first | 0x20)) =>
        {
            let same =
                |(known, _): &&(&str, LineLevel)| word.eq_ignore_ascii_case(known.as_bytes());
            LEVEL_WORDS.iter().find(same).map_or(0, |(_, level)| 1 << (*level as u32))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hornero_engine_port::log::LogStream;
    use proptest::prelude::*;

    use super::*;
    use crate::{batch::Assembler, frame::Frame};

    fn batch(parts: &[(u64, u8, Vec<u8>)]) -> LineBatch {
        let mut assembler = Assembler::new(17);
        for (time_ns, stream, bytes) in parts {
            let stream = stream_of(*stream % 3).unwrap();
            assembler.take(&Frame { time_ns: *time_ns, stream, continues: false, bytes });
        }
        assembler.finish()
    }

    fn opened(bytes: &[u8]) -> Option<LineBatch> {
        let header = BlockHeader::read(bytes)?;
        let from = BLOCK_HEADER_BYTES + header.filter_bytes() as usize;
        open(&header, bytes.get(from..header.size() as usize)?).ok()
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back(
            parts in prop::collection::vec((any::<u64>(), any::<u8>(), prop::collection::vec(any::<u8>(), 1..80)), 1..9)
        ) {
            let batch = batch(&parts);
            prop_assert_eq!(opened(&seal(&batch).unwrap()), Some(batch));
        }

        /// Hostile bytes are refused or read as lines; nothing panics and nothing grows without bound.
        #[test]
        fn damage_is_refused(
            at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let good = seal(&batch(&[(5, 0, b"one two three\nfour".to_vec())])).unwrap();
            let mut bad = good.clone();
            let at = at.index(bad.len());
            bad[at] ^= with;
            let in_filter = (BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + LINE_BYTES).contains(&at);
            prop_assert!(with == 0 || in_filter || (12..16).contains(&at) || opened(&bad).is_none());
            prop_assert_eq!(opened(&good[..cut.index(good.len())]), None);
        }

        #[test]
        fn any_bytes_may_stand_in_a_file(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let header = BlockHeader { start: 0, text_bytes: 9, first_ns: 0, last_ns: 0, runs: 2, levels: 0, filter_log2: 0, compressed_bytes: 9 };
            prop_assert!(open(&header, &bytes).is_err());
            let _ = runs_of(&bytes, 5);
            let _ = BlockHeader::read(&bytes);
        }
    }

    #[test]
    fn a_line_without_its_end_has_words_of_its_own() {
        let parts = [(1, 0, b"it is panic".to_vec()), (2, 1, b"fatal it is".to_vec())];
        let sealed = seal(&batch(&parts)).unwrap();
        let header = BlockHeader::read(&sealed).unwrap();
        assert!(header.may_have(LineLevel::Fatal));
        let filter = &sealed[BLOCK_HEADER_BYTES..];
        for word in [&b"panic"[..], b"fatal"] {
            let word = crate::filter::words_of(word)[0];
            let from = crate::filter::line_of(word, header.filter_log2) * LINE_BYTES;
            assert!(crate::filter::line_has(&filter[from..from + LINE_BYTES], word));
        }
        // A key of one line has no value in another.
        let parts = [(1, 0, b"the level".to_vec()), (2, 1, b"50 of them".to_vec())];
        let header = BlockHeader::read(&seal(&batch(&parts)).unwrap()).unwrap();
        assert!(!header.may_have(LineLevel::Trace));
    }

    #[test]
    fn a_header_knows_times_and_levels() {
        let parts = [(50, 0, b"all is well\n".to_vec()), (40, 1, b"ERROR: no\n".to_vec())];
        let header = BlockHeader::read(&seal(&batch(&parts)).unwrap()).unwrap();
        assert_eq!((header.first_ns, header.last_ns), (40, 50));
        assert!(header.may_have(LineLevel::Warn) && !header.may_have(LineLevel::Fatal));
        let quiet = batch(&[(1, 0, b"nothing to see\n".to_vec())]);
        assert!(!BlockHeader::read(&seal(&quiet).unwrap()).unwrap().may_have(LineLevel::Trace));
        assert_eq!(quiet.runs[0].stream, LogStream::Stdout);
    }
}
