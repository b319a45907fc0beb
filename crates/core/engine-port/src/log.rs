//! The words of instance logs: which lines are asked for, and a page of them.

use hornero_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Which lines of a log are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Where to begin.
    pub from: LogFrom,
    /// How many lines at most; the engine returns at most [`MAX_LINES`].
    pub lines: usize,
}

/// Lines in one page: at most 16 MiB with the longest lines.
pub const MAX_LINES: usize = 1_000;

/// Where a page of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At the oldest line kept.
    Start,
    /// So that the page ends with the newest line.
    Tail,
    /// At the first line not older than this.
    Since(Timestamp),
    /// Where an earlier page ended.
    Cursor(LogCursor),
}

/// The place of the next line; stays valid while the log is rotated (lines dropped meanwhile are skipped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogCursor(pub u64);

/// Some lines of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Bytes of older lines that are gone: logs are bounded.
    pub dropped_bytes: u64,
    /// Where the next page begins.
    pub next: LogCursor,
    /// Whether the instance has ended and every line was read.
    pub finished: bool,
}

/// One line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read from the instance.
    pub time: Timestamp,
    /// Where it was written to.
    pub stream: LogStream,
    /// The text without its line feed; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
