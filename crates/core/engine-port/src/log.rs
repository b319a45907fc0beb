//! The words of instance logs: which lines are asked for, and a page of them.

use std::str::FromStr;

use hornero_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Which lines of a log are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Where to begin.
    pub from: LogFrom,
    /// How many lines at most; the engine returns at most [`MAX_LINES`].
    pub lines: usize,
    /// Only such lines.
    pub filter: LogFilter,
}

impl LogQuery {
    /// Every line from there on.
    pub fn all(from: LogFrom, lines: usize) -> Self {
        Self { from, lines, filter: LogFilter::default() }
    }
}

/// What a line has to be like: all of it that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// Of this level, or worse. A line that names no level is none.
    pub level: Option<LineLevel>,
    /// A regular expression (of the crate `regex`, over bytes) that is found in it.
    pub pattern: Option<String>,
    /// Words that it has, whole, in whatever case.
    pub words: Vec<String>,
    /// Fields of a structured line, by name, with their values.
    pub fields: Vec<(String, String)>,
}

/// How bad it is what a line tells, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineLevel {
    /// Steps of the program.
    Trace,
    /// For who writes the program.
    Debug,
    /// What is in order.
    Info,
    /// What may become a failure.
    Warn,
    /// A failure.
    Error,
    /// The program can't go on.
    Fatal,
}

/// The words that programs use for levels, in lower case.
pub const LEVEL_WORDS: &[(&str, LineLevel)] = &[
    ("trace", LineLevel::Trace),
    ("debug", LineLevel::Debug),
    ("info", LineLevel::Info),
    ("notice", LineLevel::Info),
    ("log", LineLevel::Info),
    ("warn", LineLevel::Warn),
    ("warning", LineLevel::Warn),
    ("err", LineLevel::Error),
    ("error", LineLevel::Error),
    ("crit", LineLevel::Fatal),
    ("critical", LineLevel::Fatal),
    ("alert", LineLevel::Fatal),
    ("emerg", LineLevel::Fatal),
    ("fatal", LineLevel::Fatal),
    ("panic", LineLevel::Fatal),
];

impl LineLevel {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl FromStr for LineLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = LEVEL_WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        let known = "trace, debug, info, warn, error or fatal";
        found.map(|(_, level)| *level).ok_or_else(|| format!("`{text}` is no level: {known}"))
    }
}

/// Lines in one page.
pub const MAX_LINES: usize = 1_000;
/// Bytes of lines in one page, but that one line always fits.
pub const MAX_PAGE_BYTES: usize = 8 << 20;
/// Longer lines are shown in pieces: a reader holds a line in memory.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Where a page of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At the oldest line kept.
    Start,
    /// So that the page ends with the newest line of those asked for.
    Tail,
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
    /// When its end was read from the instance.
    pub time: Timestamp,
    /// How many nanoseconds later it was: lines of several instances are put in order by it.
    pub nanos: u32,
    /// Where it was written to.
    pub stream: LogStream,
    /// The text without its line feed; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// The bytes themselves, where some were replaced.
    pub bytes: Option<Vec<u8>>,
    /// Whether it goes on in the next line of its stream: it was longer than [`MAX_LINE_BYTES`].
    pub goes_on: bool,
}

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What whoever keeps the log says itself, as of what was lost.
    Hornero,
}

impl LogStream {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Hornero => "hornero",
        }
    }
}
