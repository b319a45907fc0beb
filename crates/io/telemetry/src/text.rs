//! Logs of before there were blocks: lines of text in segments named by the offset of their first byte. They are only read.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
};

use hornero_engine_port::log::{LogFrom, LogPage, LogQuery, LogStream};
use hornero_model::Timestamp;

use crate::{
    batch::RawLine,
    files::{LogPart, open_existing},
    matcher::Matcher,
    page::{Gathered, shown},
};

/// Time, stream, text of 16 KiB and line feed; a replaced byte had grown to three.
const MAX_RECORD_BYTES: u64 = 3 * (16 << 10) + 64;

/// A line of such a log, and the offset behind it.
struct Record {
    time: Timestamp,
    stream: LogStream,
    text: Vec<u8>,
}

impl Record {
    fn line(&self) -> RawLine<'_> {
        RawLine {
            time_ns: self.time.0.saturating_mul(1_000_000),
            stream: self.stream,
            goes_on: false,
            bytes: &self.text,
            end: 0,
        }
    }
}

/// Reads a page.
pub(crate) fn read(
    segments: &[LogPart],
    query: &LogQuery,
    matcher: &Matcher,
    ended: bool,
) -> io::Result<LogPage> {
    let oldest = segments.first().map_or(0, |(start, _)| *start);
    let mut gathered = Gathered::new(query.lines);
    if let LogFrom::Tail = query.from {
        // The newest ones have to be found among all: such logs are small, and no more of them come.
        let mut last = VecDeque::new();
        let end = each(segments, oldest, |record| {
            if matcher.is_match(&record.line()) {
                if last.len() == query.lines {
                    last.pop_front();
                }
                last.push_back(record);
            }
            true
        })?;
        if query.lines > 0 {
            last.iter().for_each(|record| gathered.push(shown(&record.line())));
        }
        return Ok(gathered.into_page(oldest, end, ended));
    }
    let from = match query.from {
        LogFrom::Cursor(cursor) => cursor.0.max(oldest),
        LogFrom::Start | LogFrom::Tail => oldest,
    };
    let next = each(segments, from, |record| {
        if matcher.is_match(&record.line()) {
            gathered.push(shown(&record.line()));
        }
        !gathered.is_full()
    })?;
    let finished = ended && !gathered.is_full();
    Ok(gathered.into_page(oldest, next, finished))
}

/// Calls `each` with the records from an offset on until it answers false; gives the offset behind the last one.
fn each(segments: &[LogPart], from: u64, mut each: impl FnMut(Record) -> bool) -> io::Result<u64> {
    let mut next = from;
    for (position, (start, path)) in segments.iter().enumerate() {
        let end = segments.get(position + 1).map_or(u64::MAX, |(next, _)| *next);
        if next >= end {
            continue;
        }
        let Some(mut file) = open_existing(path)? else { continue };
        next = next.max(*start);
        file.seek(SeekFrom::Start(next - start))?;
        let mut reader = BufReader::new(file);
        loop {
            let mut record = Vec::new();
            let read =
                io::Read::take(&mut reader, MAX_RECORD_BYTES).read_until(b'\n', &mut record)?;
            // A record without its line feed is still being written.
            if read == 0 || record.last() != Some(&b'\n') && (read as u64) < MAX_RECORD_BYTES {
                break;
            }
            next += read as u64;
            if let Some(record) = parse(&record)
                && !each(record)
            {
                return Ok(next);
            }
        }
    }
    Ok(next)
}

fn parse(record: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(record).ok()?;
    let mut parts = text.strip_suffix('\n').unwrap_or(text).splitn(3, ' ');
    let time = parts.next()?;
    let time = serde_json::from_value(serde_json::Value::from(time)).ok()?;
    let stream = match parts.next()? {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    Some(Record { time, stream, text: parts.next()?.as_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hornero_engine_port::log::LogFilter;

    use super::*;

    #[test]
    fn logs_of_earlier_versions_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let first = "2026-01-01T00:00:00.000Z stdout one\n2026-01-01T00:00:01.000Z stderr two\n";
        let second = "2026-01-01T00:00:02.000Z stdout three\nrubbish\n2026-01-01T00:00:03.";
        fs::write(directory.path().join(format!("{:020}", 100)), first).unwrap();
        let start = 100 + first.len();
        fs::write(directory.path().join(format!("{start:020}")), second).unwrap();
        let page = |from, lines, since| {
            let filter = LogFilter { since, ..LogFilter::default() };
            crate::read(directory.path(), &LogQuery { from, lines, filter }, true).unwrap()
        };
        let texts = |page: &LogPage| -> Vec<String> {
            page.lines.iter().map(|line| line.text.clone()).collect()
        };
        let all = page(LogFrom::Start, 10, None);
        assert_eq!(texts(&all), ["one", "two", "three"]);
        assert_eq!((all.dropped_bytes, all.finished), (100, true));
        assert_eq!(all.lines[1].stream, LogStream::Stderr);
        let one = page(LogFrom::Start, 1, None);
        assert_eq!(texts(&page(LogFrom::Cursor(one.next), 1, None)), ["two"]);
        assert_eq!(texts(&page(LogFrom::Tail, 2, None)), ["two", "three"]);
        let since = all.lines[2].time;
        assert_eq!(texts(&page(LogFrom::Start, 9, Some(since))), ["three"]);
    }
}
