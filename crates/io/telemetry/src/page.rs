//! A page of lines while it is put together.

use hornero_engine_port::log::{LogCursor, LogLine, LogPage, LogStream, MAX_LINES, MAX_PAGE_BYTES};
use hornero_model::Timestamp;

use crate::{
    batch::{LineBatch, RawLine},
    matcher::Matcher,
};

/// Lines gathered so far.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub lines: Vec<LogLine>,
    most: usize,
    bytes: usize,
}

impl Gathered {
    /// For so many lines at most.
    pub fn new(most: usize) -> Self {
        Self { lines: Vec::new(), most: most.min(MAX_LINES), bytes: 0 }
    }

    /// Whether it has all that it is to have.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= self.most || self.bytes >= MAX_PAGE_BYTES
    }

    /// Takes a line.
    pub fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len() + line.bytes.as_ref().map_or(0, Vec::len);
        self.lines.push(line);
    }

    /// Takes the lines of a batch from a place among all lines on; gives the place behind the last one looked at.
    pub fn take(&mut self, batch: &LineBatch, from: u64, matcher: &Matcher) -> u64 {
        let place = usize::try_from(from.saturating_sub(batch.start)).unwrap_or(usize::MAX);
        if self.is_full() {
            return from;
        }
        if place >= batch.text.len() {
            return from.max(batch.end());
        }
        let end = matcher.search(batch, place, |line| {
            self.push(shown(&line));
            !self.is_full()
        });
        batch.start + end as u64
    }

    /// Takes the last lines of a batch, before those that it has (the newest of all come first here).
    pub fn take_last(&mut self, batch: &LineBatch, matcher: &Matcher) {
        let mut found = std::collections::VecDeque::new();
        let wanted = self.most.saturating_sub(self.lines.len());
        matcher.search(batch, 0, |line| {
            if found.len() == wanted {
                found.pop_front();
            }
            found.push_back(line);
            true
        });
        for line in found.iter().rev() {
            if self.is_full() {
                return;
            }
            self.push(shown(line));
        }
    }

    /// The page of it.
    pub fn into_page(self, dropped_bytes: u64, next: u64, finished: bool) -> LogPage {
        LogPage { lines: self.lines, dropped_bytes, next: LogCursor(next), finished }
    }
}

/// A line as it is told.
pub(crate) fn shown(line: &RawLine<'_>) -> LogLine {
    let text = String::from_utf8_lossy(line.bytes);
    let replaced = matches!(text, std::borrow::Cow::Owned(_));
    LogLine {
        time: Timestamp(line.time_ns / 1_000_000),
        nanos: (line.time_ns % 1_000_000) as u32,
        stream: line.stream,
        bytes: replaced.then(|| line.bytes.to_vec()),
        text: text.into_owned(),
        goes_on: line.goes_on,
    }
}

/// What is said where lines should be and are not.
pub(crate) fn unreadable(bytes: u64, time_ns: u64) -> LogLine {
    let text =
        format!("{bytes} bytes of lines are gone: they were dropped, or their block is damaged");
    shown(&RawLine {
        time_ns,
        stream: LogStream::Hornero,
        goes_on: false,
        bytes: text.as_bytes(),
        end: 0,
    })
}
