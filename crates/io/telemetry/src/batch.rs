//! Whole lines in the order in which they ended, put together from frames.

use hornero_engine_port::log::{LogStream, MAX_LINE_BYTES};

use crate::frame::{Frame, stream_index};

/// Lines of one stream that ended together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRun {
    pub time_ns: u64,
    pub stream: LogStream,
    /// Bytes of its lines, line feeds included.
    pub bytes: usize,
    /// Whether the last line has no line feed: the stream ended there, or the line is in pieces.
    pub is_unended: bool,
    /// Whether that line goes on in the next run of its stream.
    pub goes_on: bool,
}

/// Whole lines, and where they begin among all bytes of whole lines that the instance wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineBatch {
    pub start: u64,
    pub runs: Vec<LineRun>,
    /// The bytes of all runs, one behind the other.
    pub text: Vec<u8>,
}

/// A line of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLine<'b> {
    pub time_ns: u64,
    pub stream: LogStream,
    pub goes_on: bool,
    /// Without its line feed.
    pub bytes: &'b [u8],
    /// Where the next line begins in the text.
    pub end: usize,
}

impl LineBatch {
    /// Where the lines behind it begin.
    pub fn end(&self) -> u64 {
        self.start + self.text.len() as u64
    }

    /// The lines from this place of the text on, which has to be where one begins.
    pub fn lines_from(&self, place: usize) -> BatchLines<'_> {
        let (mut run, mut run_end) = (0, 0);
        for (index, found) in self.runs.iter().enumerate() {
            run = index;
            run_end += found.bytes;
            if place < run_end {
                break;
            }
        }
        BatchLines { batch: self, run, run_end, at: place }
    }

    fn push(&mut self, run: LineRun, text: &[&[u8]]) {
        text.iter().for_each(|part| self.text.extend_from_slice(part));
        self.runs.push(run);
    }
}

/// Lines of a batch, in order.
#[derive(Debug, Clone)]
pub struct BatchLines<'b> {
    batch: &'b LineBatch,
    run: usize,
    run_end: usize,
    at: usize,
}

impl BatchLines<'_> {
    /// Passes every line that begins before this place.
    pub fn skip_to(&mut self, place: usize) {
        while self.run + 1 < self.batch.runs.len() && place >= self.run_end {
            self.run += 1;
            self.run_end += self.batch.runs[self.run].bytes;
        }
        self.at = self.at.max(place);
    }
}

impl<'b> Iterator for BatchLines<'b> {
    type Item = RawLine<'b>;

    fn next(&mut self) -> Option<RawLine<'b>> {
        let batch = self.batch;
        if self.at >= batch.text.len() {
            return None;
        }
        while self.at >= self.run_end {
            self.run += 1;
            self.run_end += batch.runs.get(self.run)?.bytes;
        }
        let run = batch.runs.get(self.run)?;
        let text = batch.text.get(self.at..self.run_end)?;
        let feed = memchr::memchr(b'\n', text);
        let end = self.at + feed.map_or(text.len(), |feed| feed + 1);
        self.at = end;
        let is_last = end == self.run_end;
        Some(RawLine {
            time_ns: run.time_ns,
            stream: run.stream,
            goes_on: is_last && run.goes_on,
            bytes: &text[..feed.unwrap_or(text.len())],
            end,
        })
    }
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unended {
    pub bytes: Vec<u8>,
    /// When the last of it came.
    pub time_ns: u64,
    /// Whether it is the rest of a longer line.
    pub continues: bool,
}

/// Puts lines together from frames.
#[derive(Debug, Clone, Default)]
pub struct Assembler {
    batch: LineBatch,
    unended: [Unended; 3],
}

impl Assembler {
    /// For frames behind which so many bytes of whole lines were written.
    pub fn new(start: u64) -> Self {
        Self { batch: LineBatch { start, ..LineBatch::default() }, unended: Default::default() }
    }

    /// Where the whole lines so far end.
    pub fn end(&self) -> u64 {
        self.batch.end()
    }

    /// Takes what was read at once.
    pub fn take(&mut self, frame: &Frame<'_>) {
        let unended = &mut self.unended[stream_index(frame.stream)];
        if unended.bytes.is_empty() {
            unended.continues = frame.continues;
        }
        unended.time_ns = frame.time_ns;
        let run = |bytes, is_unended| LineRun {
            time_ns: frame.time_ns,
            stream: frame.stream,
            bytes,
            is_unended,
            goes_on: is_unended,
        };
        let mut rest = frame.bytes;
        // Pieces of a line that is too long, each by itself.
        loop {
            let first = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            if unended.bytes.len() + first <= MAX_LINE_BYTES {
                break;
            }
            let (now, later) = rest.split_at(MAX_LINE_BYTES - unended.bytes.len());
            self.batch.push(run(MAX_LINE_BYTES, true), &[&unended.bytes, now]);
            unended.bytes.clear();
            unended.continues = true;
            rest = later;
        }
        if let Some(last) = memchr::memrchr(b'\n', rest) {
            let (lines, behind) = rest.split_at(last + 1);
            let bytes = unended.bytes.len() + lines.len();
            self.batch.push(run(bytes, false), &[&unended.bytes, lines]);
            unended.bytes.clear();
            unended.continues = false;
            rest = behind;
        }
        unended.bytes.extend_from_slice(rest);
    }

    /// The lines so far, and of each stream the line whose end has not come.
    pub fn into_parts(self) -> (LineBatch, [Unended; 3]) {
        (self.batch, self.unended)
    }

    /// The lines, those without an end included: nothing will come any more.
    pub fn finish(mut self) -> LineBatch {
        for stream in [LogStream::Stdout, LogStream::Stderr, LogStream::Hornero] {
            let unended = std::mem::take(&mut self.unended[stream_index(stream)]);
            if !unended.bytes.is_empty() {
                let run = LineRun {
                    time_ns: unended.time_ns,
                    stream,
                    bytes: unended.bytes.len(),
                    is_unended: true,
                    goes_on: false,
                };
                self.batch.push(run, &[&unended.bytes]);
            }
        }
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(batch: &LineBatch) -> Vec<(LogStream, Vec<u8>)> {
        batch.lines_from(0).map(|line| (line.stream, line.bytes.to_vec())).collect()
    }

    fn frame(time_ns: u64, stream: LogStream, bytes: &[u8]) -> Frame<'_> {
        Frame { time_ns, stream, continues: false, bytes }
    }

    #[test]
    fn lines_are_in_the_order_in_which_they_end() {
        let mut assembler = Assembler::new(100);
        assembler.take(&frame(1, LogStream::Stdout, b"one\ntw"));
        assembler.take(&frame(2, LogStream::Stderr, b"problem\n"));
        assembler.take(&frame(3, LogStream::Stdout, b"o\n\nthr"));
        let batch = assembler.finish();
        let lines: Vec<_> = batch.lines_from(0).map(|it| (it.time_ns, it.bytes.to_vec())).collect();
        let expected: [(u64, &[u8]); 5] =
            [(1, b"one"), (2, b"problem"), (3, b"two"), (3, b""), (3, b"thr")];
        assert_eq!(lines, expected.map(|(time, text)| (time, text.to_vec())));
        assert_eq!(batch.end(), 100 + 4 + 8 + 4 + 1 + 3);
    }

    #[test]
    fn a_line_of_the_longest_length_is_whole_and_a_longer_one_says_that_it_goes_on() {
        for (length, pieces) in [(MAX_LINE_BYTES, 1), (MAX_LINE_BYTES * 2 + 5, 3)] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            let mut assembler = Assembler::new(0);
            for part in text.chunks(60_000) {
                assembler.take(&frame(1, LogStream::Stdout, part));
            }
            let batch = assembler.finish();
            let lines: Vec<_> = batch.lines_from(0).collect();
            assert_eq!(lines.len(), pieces);
            assert_eq!(lines.iter().map(|line| line.bytes.len()).sum::<usize>(), length);
            let going_on = lines.iter().filter(|line| line.goes_on).count();
            assert_eq!(going_on, pieces - 1);
        }
    }

    proptest! {
        /// However a stream was torn into frames, its bytes come out, and lines begin where they began.
        #[test]
        fn lines_do_not_depend_on_frames(
            parts in prop::collection::vec((0..2_u8, "[ab\n]{0,12}"), 0..12),
            place in any::<prop::sample::Index>(),
        ) {
            let mut assembler = Assembler::new(0);
            let mut written: [Vec<u8>; 2] = Default::default();
            for (stream, text) in &parts {
                let kind = [LogStream::Stdout, LogStream::Stderr][usize::from(*stream)];
                assembler.take(&frame(0, kind, text.as_bytes()));
                written[usize::from(*stream)].extend(text.as_bytes());
            }
            let batch = assembler.finish();
            for (stream, text) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(&written) {
                let mut expected: Vec<Vec<u8>> =
                    text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                expected.pop_if(|last| last.is_empty());
                let read: Vec<Vec<u8>> =
                    lines_of(&batch).into_iter().filter(|line| line.0 == stream).map(|line| line.1).collect();
                prop_assert_eq!(read, expected);
            }
            // From the beginning of any line on, the same lines follow.
            let ends: Vec<usize> = batch.lines_from(0).map(|line| line.end).collect();
            if !ends.is_empty() {
                let from = place.index(ends.len());
                let rest: Vec<usize> = batch.lines_from(ends[from]).map(|line| line.end).collect();
                prop_assert_eq!(&rest, &ends[from + 1..]);
                let mut skipped = batch.lines_from(0);
                skipped.skip_to(ends[from]);
                prop_assert_eq!(skipped.map(|line| line.end).collect::<Vec<_>>(), rest);
            }
        }
    }
}
