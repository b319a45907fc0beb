//! Instance logs on disk: segments named by the offset of their first byte, written by shims, read by the engine.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::Timestamp;

use hornero_engine_port::log::{
    LogCursor, LogFrom, LogLine, LogPage, LogQuery, LogStream, MAX_LINES,
};

/// A segment is closed when it has grown past this.
const SEGMENT_BYTES: u64 = 16 << 20;
/// With the segment being written, an instance's logs take 64 MiB at most.
const SEGMENTS: usize = 4;
/// Longer lines are split: a reader holds a line in memory.
const MAX_LINE_BYTES: usize = 16 << 10;
/// Time, stream, text and line feed; a replaced byte grows to three.
const MAX_RECORD_BYTES: u64 = 3 * MAX_LINE_BYTES as u64 + 64;

/// Writes the log of one instance.
pub(crate) struct LogWriter {
    directory: PathBuf,
    segment_bytes: u64,
    file: File,
    /// Offset of the segment's first byte.
    start: u64,
    length: u64,
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::with_segments_of(directory, SEGMENT_BYTES)
    }

    pub(crate) fn with_segments_of(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let start = segments(directory)?.last().map_or(0, |(start, _)| *start);
        let file = open_segment(directory, start)?;
        let length = file.metadata()?.len();
        let directory = directory.to_owned();
        Ok(Self { directory, segment_bytes, file, start, length, partial: Default::default() })
    }

    /// Takes what was read from a stream: whole lines are written, the rest waits for its line feed.
    pub fn take(&mut self, stream: LogStream, bytes: &[u8], time: Timestamp) -> io::Result<()> {
        let mut records = Vec::with_capacity(bytes.len() + 64);
        let partial = &mut self.partial[index(stream)];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut piece, ended) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (piece, false),
            };
            while partial.len() + piece.len() > MAX_LINE_BYTES {
                let (now, later) = piece.split_at(MAX_LINE_BYTES - partial.len());
                partial.extend_from_slice(now);
                append_record(&mut records, stream, partial, time);
                partial.clear();
                piece = later;
            }
            partial.extend_from_slice(piece);
            if ended {
                append_record(&mut records, stream, partial, time);
                partial.clear();
            }
        }
        self.write(&records)
    }

    /// Writes what was not ended by a line feed.
    pub fn finish(&mut self, time: Timestamp) -> io::Result<()> {
        let mut records = Vec::new();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let partial = std::mem::take(&mut self.partial[index(stream)]);
            if !partial.is_empty() {
                append_record(&mut records, stream, &partial, time);
            }
        }
        self.write(&records)
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if self.length >= self.segment_bytes {
            self.rotate()?;
        }
        self.file.write_all(records)?;
        self.length += records.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let start = self.start + self.length;
        self.file = open_segment(&self.directory, start)?;
        (self.start, self.length) = (start, 0);
        let existing = segments(&self.directory)?;
        for (_, path) in existing.iter().rev().skip(SEGMENTS) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn index(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

fn append_record(records: &mut Vec<u8>, stream: LogStream, line: &[u8], time: Timestamp) {
    let name = match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    let text = String::from_utf8_lossy(line);
    records.extend_from_slice(format!("{time} {name} {text}\n").as_bytes());
}

fn open_segment(directory: &Path, start: u64) -> io::Result<File> {
    // Twenty digits: sorted by name is sorted by offset.
    let path = directory.join(format!("{start:020}"));
    hornero_home::open(&path, Opening::Append)
}

/// A segment of a log: the offset of its first byte, and its file.
pub(crate) type LogSegment = (u64, PathBuf);

/// Segments by their first offset, oldest first.
pub(crate) fn segments(directory: &Path) -> io::Result<Vec<LogSegment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(start) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((start, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a page of the log in `directory`. `ended` says that nothing will be added.
pub(crate) fn read(directory: &Path, query: &LogQuery, ended: bool) -> io::Result<LogPage> {
    let segments = segments(directory)?;
    let lines = query.lines.min(MAX_LINES);
    let oldest = segments.first().map_or(0, |(start, _)| *start);
    let begin = match query.from {
        LogFrom::Start | LogFrom::Since(_) => oldest,
        LogFrom::Cursor(cursor) => cursor.0.max(oldest),
        LogFrom::Tail => tail(&segments, lines)?.max(oldest),
    };
    let mut page = LogPage {
        lines: Vec::new(),
        dropped_bytes: oldest,
        next: LogCursor(begin),
        finished: false,
    };
    for (position, (start, path)) in segments.iter().enumerate() {
        let last = position + 1 == segments.len();
        let end = segments.get(position + 1).map_or(u64::MAX, |(next, _)| *next);
        if page.next.0 >= end {
            continue;
        }
        let Some(mut file) = open_existing(path)? else { continue };
        page.next = LogCursor(page.next.0.max(*start));
        file.seek(SeekFrom::Start(page.next.0 - start))?;
        let mut reader = BufReader::new(file);
        while page.lines.len() < lines {
            let mut record = Vec::new();
            let read =
                io::Read::take(&mut reader, MAX_RECORD_BYTES).read_until(b'\n', &mut record)?;
            // A record without its line feed is still being written.
            if read == 0 || record.last() != Some(&b'\n') && (read as u64) < MAX_RECORD_BYTES {
                page.finished = last && ended;
                break;
            }
            page.next.0 += read as u64;
            let Some(line) = parse(&record) else { continue };
            if !matches!(query.from, LogFrom::Since(since) if line.time < since) {
                page.lines.push(line);
            }
        }
        if page.lines.len() == lines {
            break;
        }
    }
    if segments.is_empty() {
        page.finished = ended;
    }
    Ok(page)
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match hornero_home::open(path, Opening::Read) {
        Ok(file) => Ok(Some(file)),
        // Dropped by rotation since the directory was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The offset where the last `lines` lines begin.
fn tail(segments: &[(u64, PathBuf)], lines: usize) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut wanted = lines;
    let mut begin = segments.last().map_or(0, |(start, _)| *start);
    for (start, path) in segments.iter().rev() {
        let Some(mut file) = open_existing(path)? else { break };
        let mut end = file.seek(SeekFrom::End(0))?;
        begin = *start;
        let mut at_end = true;
        while end > 0 {
            let from = end.saturating_sub(BLOCK);
            let mut block = vec![0; usize::try_from(end - from).map_err(io::Error::other)?];
            file.seek(SeekFrom::Start(from))?;
            io::Read::read_exact(&mut file, &mut block)?;
            for (position, byte) in block.iter().enumerate().rev() {
                if *byte != b'\n' {
                    at_end = false;
                    continue;
                }
                // The line feed that ends the last line begins none.
                if std::mem::replace(&mut at_end, false) {
                    continue;
                }
                wanted = wanted.saturating_sub(1);
                if wanted == 0 {
                    return Ok(start + from + position as u64 + 1);
                }
            }
            end = from;
        }
        // The first line of a segment has no line feed before it.
        wanted = wanted.saturating_sub(1);
        if wanted == 0 {
            break;
        }
    }
    Ok(begin)
}

fn parse(record: &[u8]) -> Option<LogLine> {
    let text = std::str::from_utf8(record).ok()?;
    let mut parts = text.strip_suffix('\n').unwrap_or(text).splitn(3, ' ');
    let time = parts.next()?;
    let time = serde_json::from_value(serde_json::Value::from(time)).ok()?;
    let stream = match parts.next()? {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    Some(LogLine { time, stream, text: parts.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp(1_700_000_000_000);

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    fn page(directory: &Path, from: LogFrom, lines: usize) -> LogPage {
        read(directory, &LogQuery { from, lines }, true).unwrap()
    }

    #[test]
    fn lines_come_back_whole_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(directory.path()).unwrap();
        writer.take(LogStream::Stdout, b"one\ntw", TIME).unwrap();
        writer.take(LogStream::Stderr, b"problem\n", Timestamp(TIME.0 + 5)).unwrap();
        writer.take(LogStream::Stdout, b"o\n\n\xff", Timestamp(TIME.0 + 9)).unwrap();
        writer.finish(Timestamp(TIME.0 + 9)).unwrap();
        let all = page(directory.path(), LogFrom::Start, 100);
        assert_eq!(texts(&all), ["one", "problem", "two", "", "\u{fffd}"]);
        assert_eq!(all.lines[1].stream, LogStream::Stderr);
        assert!(all.finished);
        let tail = page(directory.path(), LogFrom::Tail, 2);
        assert_eq!(texts(&tail), ["", "\u{fffd}"]);
        let since = page(directory.path(), LogFrom::Since(Timestamp(TIME.0 + 5)), 1);
        assert_eq!(texts(&since), ["problem"]);
        assert!(!since.finished);
        let rest = page(directory.path(), LogFrom::Cursor(since.next), 100);
        assert_eq!(texts(&rest), ["two", "", "\u{fffd}"]);
        assert_eq!(texts(&page(directory.path(), LogFrom::Tail, 0)), [""; 0]);
    }

    #[test]
    fn a_log_never_outgrows_its_segments_and_cursors_outlive_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::with_segments_of(directory.path(), 1_000).unwrap();
        let first = page(directory.path(), LogFrom::Start, 10).next;
        for number in 0..1_000 {
            writer.take(LogStream::Stdout, format!("line {number}\n").as_bytes(), TIME).unwrap();
        }
        assert!(segments(directory.path()).unwrap().len() <= SEGMENTS);
        let kept = page(directory.path(), LogFrom::Cursor(first), 1_000);
        assert_eq!(texts(&kept).last(), Some(&"line 999"));
        assert!(kept.lines.len() < 200, "{}", kept.lines.len());
        let tail = page(directory.path(), LogFrom::Tail, 40);
        assert_eq!(tail.lines.len(), 40);
        assert_eq!(texts(&tail)[0], "line 960");
        // A writer that starts again goes on where the log ends.
        drop(writer);
        let mut writer = LogWriter::with_segments_of(directory.path(), 1_000).unwrap();
        writer.take(LogStream::Stdout, b"again\n", TIME).unwrap();
        assert_eq!(texts(&page(directory.path(), LogFrom::Tail, 2)), ["line 999", "again"]);
    }

    #[test]
    fn endless_lines_are_split() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(directory.path()).unwrap();
        writer.take(LogStream::Stdout, &vec![b'x'; MAX_LINE_BYTES * 2 + 5], TIME).unwrap();
        writer.take(LogStream::Stdout, b"\n", TIME).unwrap();
        let lengths: Vec<_> = page(directory.path(), LogFrom::Start, 10)
            .lines
            .iter()
            .map(|line| line.text.len())
            .collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]);
    }

    #[test]
    fn rubbish_in_a_segment_is_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(directory.path()).unwrap();
        writer.take(LogStream::Stdout, b"one\n", TIME).unwrap();
        let path = directory.path().join(format!("{:020}", 0));
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"\xff\xfe\nno record\nhalf").unwrap();
        let all = page(directory.path(), LogFrom::Start, 10);
        assert_eq!(texts(&all), ["one"]);
    }
}
