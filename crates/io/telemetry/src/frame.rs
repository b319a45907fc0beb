//! Frames: what was read from an instance at once, as it is appended before its lines have ended.

use hornero_engine_port::log::LogStream;

/// Bytes before the payload of a frame.
pub const HEADER_BYTES: usize = 24;
/// Largest payload, which is what a pipe holds; more is damage.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// In place of a length: the payload was on its way when the writer ended, and reaches to the end of the file.
const OPEN: u32 = u32::MAX;
/// The first byte of what the checksum is over.
const CHECKED_FROM: usize = 8;

/// What was read from an instance at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Where it was written to.
    pub stream: LogStream,
    /// Whether the last frame of this stream ended within a line, which goes on here.
    pub continues: bool,
    pub bytes: &'b [u8],
}

fn stream_byte(stream: LogStream) -> u8 {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
        LogStream::Hornero => 2,
    }
}

/// The stream of a byte as [`stream_byte`] gives it.
pub(crate) fn stream_of(byte: u8) -> Option<LogStream> {
    [LogStream::Stdout, LogStream::Stderr, LogStream::Hornero].get(usize::from(byte)).copied()
}

/// The place of a stream in arrays of three.
pub(crate) fn stream_index(stream: LogStream) -> usize {
    usize::from(stream_byte(stream))
}

/// The CRC-32 of these bytes.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = flate2::Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

impl Frame<'_> {
    /// The header of this frame: length, checksum of all that follows it, time, stream, continuation.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = self.rest_of_header();
        header[..4].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        let sum = checksum(&[&header[CHECKED_FROM..], self.bytes]);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// The header of a frame whose payload is about to be written behind it.
    pub fn open_header(&self) -> [u8; HEADER_BYTES] {
        let mut header = self.rest_of_header();
        header[..4].copy_from_slice(&OPEN.to_le_bytes());
        let sum = checksum(&[&header[CHECKED_FROM..]]);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        header
    }

    fn rest_of_header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[8..16].copy_from_slice(&self.time_ns.to_le_bytes());
        header[16] = stream_byte(self.stream);
        header[17] = u8::from(self.continues);
        header
    }

    /// Appends the frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header());
        out.extend_from_slice(self.bytes);
    }
}

/// The frames at the beginning of some bytes, up to the first that is torn.
#[derive(Debug, Clone)]
pub struct LogFrames<'b> {
    rest: &'b [u8],
    /// Whether nobody writes any more: a payload that was on its way counts as far as it came.
    ended: bool,
}

impl<'b> LogFrames<'b> {
    /// Of these bytes.
    pub fn of(bytes: &'b [u8], ended: bool) -> Self {
        Self { rest: bytes, ended }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

impl<'b> Iterator for LogFrames<'b> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        let header = self.rest.get(..HEADER_BYTES)?;
        let (length, sum) = (u32_at(header, 0), u32_at(header, 4));
        let behind = &self.rest[HEADER_BYTES..];
        let checked = &header[CHECKED_FROM..];
        let bytes = if length == OPEN {
            let came = &behind[..behind.len().min(MAX_PAYLOAD_BYTES)];
            let taken = self.ended && !came.is_empty() && checksum(&[checked]) == sum;
            taken.then_some(came)?
        } else {
            let length = usize::try_from(length).ok().filter(|it| *it <= MAX_PAYLOAD_BYTES)?;
            behind.get(..length).filter(|bytes| checksum(&[checked, bytes]) == sum)?
        };
        let frame = Frame {
            time_ns: u64_at(header, 8),
            stream: stream_of(header[16])?,
            continues: header[17] & 1 != 0,
            bytes,
        };
        let taken = HEADER_BYTES + bytes.len();
        self.rest = &self.rest[taken..];
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(parts: &[(u64, u8, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for (time_ns, stream, bytes) in parts {
            let stream = stream_of(stream % 3).unwrap();
            Frame { time_ns: *time_ns, stream, continues: false, bytes }.append_to(&mut out);
            ends.push(out.len());
        }
        (out, ends)
    }

    proptest! {
        /// Whenever a writer is killed, what it had written whole is read, and nothing else.
        #[test]
        fn every_prefix_is_readable(
            parts in prop::collection::vec((any::<u64>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8),
            cut in any::<prop::sample::Index>(),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (out, ends) = written(&parts);
            let at = cut.index(out.len() + 1);
            let whole = ends.iter().filter(|end| **end <= at).count();
            let frames = LogFrames::of(&out[..at], true);
            let read: Vec<Vec<u8>> = frames.map(|frame| frame.bytes.to_vec()).collect();
            let expected: Vec<Vec<u8>> = parts[..whole].iter().map(|part| part.2.clone()).collect();
            prop_assert_eq!(read, expected);
            // Whatever stands behind it, nothing is made up and nothing panics.
            let mut spoiled = out[..at].to_vec();
            spoiled.extend(behind);
            prop_assert!(LogFrames::of(&spoiled, false).count() >= whole);
        }
    }

    #[test]
    fn a_payload_on_its_way_counts_once_nobody_writes_any_more() {
        let frame =
            Frame { time_ns: 7, stream: LogStream::Stderr, continues: true, bytes: b"half" };
        let mut out = frame.open_header().to_vec();
        assert_eq!(LogFrames::of(&out, true).count(), 0);
        out.extend_from_slice(b"half");
        assert_eq!(LogFrames::of(&out, false).count(), 0);
        assert_eq!(LogFrames::of(&out, true).next(), Some(frame));
        out[9] ^= 1;
        assert_eq!(LogFrames::of(&out, true).count(), 0);
    }
}
