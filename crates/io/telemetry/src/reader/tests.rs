//! What is found in a log, and what of it is read for that.

use std::{fs, os::unix::fs::FileExt as _};

use hornero_engine_port::log::{LineLevel, LogFilter, LogStream};
use hornero_model::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{LogSizes, LogWriter};

const SMALL: LogSizes = LogSizes { block_bytes: 2_000, segment_bytes: 3_000, log_bytes: 1 << 30 };

/// A log of 400 lines, one a millisecond, sealed but for the last.
fn log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
    for number in 0..400_u64 {
        let level = if number == 300 { "error" } else { "info" };
        let text =
            format!("level={level} msg=\"request {number}\" id=r{number} part={}\n", number % 5);
        writer.take(LogStream::Stdout, text.as_bytes(), number * 1_000_000).unwrap();
    }
    directory
}

fn asked(directory: &Path, from: LogFrom, lines: usize, filter: LogFilter) -> LogPage {
    read(directory, &LogQuery { from, lines, filter }, false).unwrap()
}

fn ids(page: &LogPage) -> Vec<u64> {
    page.lines.iter().map(|line| line.time.0).collect()
}

#[test]
fn lines_are_found_by_what_they_are_like() {
    let log = log();
    let check = |filter: LogFilter, expected: &[u64]| {
        assert_eq!(ids(&asked(log.path(), LogFrom::Start, 100, filter.clone())), expected);
        let last = &expected[expected.len().saturating_sub(2)..];
        assert_eq!(ids(&asked(log.path(), LogFrom::Tail, 2, filter)), last);
    };
    let none = LogFilter::default;
    let time = |time| Some(Timestamp(time));
    check(LogFilter { since: time(397), ..none() }, &[397, 398, 399]);
    check(LogFilter { until: time(2), ..none() }, &[0, 1, 2]);
    check(LogFilter { since: time(100), until: time(101), ..none() }, &[100, 101]);
    check(LogFilter { level: Some(LineLevel::Warn), ..none() }, &[300]);
    check(LogFilter { pattern: Some("request 39[0-2]".to_owned()), ..none() }, &[390, 391, 392]);
    check(LogFilter { words: vec!["R77".to_owned()], ..none() }, &[77]);
    check(LogFilter { fields: vec![("id".to_owned(), "r7".to_owned())], ..none() }, &[7]);
    check(LogFilter { words: vec!["nowhere".to_owned()], ..none() }, &[]);
}

#[test]
fn blocks_that_cannot_have_it_are_not_decompressed() {
    let log = log();
    // The lines of each block are spoiled, headers and words are not: whoever reads lines notices.
    let files = LogFiles::list(log.path()).unwrap();
    let mut blocks = 0;
    for (_, path) in &files.blocks {
        let segment = Segment::open(path).unwrap().unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for (at, header) in segment.blocks() {
            file.write_all_at(&[0; 16], at + header.size() - 16).unwrap();
            blocks += 1;
        }
    }
    assert!(blocks >= 6, "{blocks}");
    let told = |filter| asked(log.path(), LogFrom::Start, 1_000, filter).lines.len();
    let words = |word: &str| LogFilter { words: vec![word.to_owned()], ..LogFilter::default() };
    assert!(told(words("r200")) <= 2, "in one block, and rarely seemingly in another");
    assert!(told(words("nowhere")) <= 1);
    assert_eq!(told(LogFilter { level: Some(LineLevel::Error), ..LogFilter::default() }), 1);
    let since = |time| LogFilter { since: Some(Timestamp(time)), ..LogFilter::default() };
    assert_eq!(told(since(10_000)), 0);
    // All of them: each damaged block says so, and those behind are read.
    let all = asked(log.path(), LogFrom::Start, 1_000, LogFilter::default());
    assert_eq!(all.lines.iter().filter(|line| line.stream == LogStream::Hornero).count(), blocks);
    assert_eq!(all.lines.last().unwrap().time.0, 399);
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let log = log();
    for filter in [
        LogFilter::default(),
        LogFilter { pattern: Some("part=3".to_owned()), ..LogFilter::default() },
    ] {
        let all = ids(&asked(log.path(), LogFrom::Start, 1_000, filter.clone()));
        let (mut from, mut paged) = (LogFrom::Start, Vec::new());
        loop {
            let page = asked(log.path(), from, 7, filter.clone());
            if page.lines.is_empty() {
                break;
            }
            paged.extend(ids(&page));
            from = LogFrom::Cursor(page.next);
        }
        assert_eq!(paged, all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the files hold, a page comes or an error, and no line is made up of two.
    #[test]
    fn hostile_files_are_read_without_harm(
        name in prop::sample::select(vec!["blocks", "frames"]), at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..40), cursor in any::<u64>(),
    ) {
        let log = log();
        let files = LogFiles::list(log.path()).unwrap();
        let part = if name == "blocks" { files.blocks.first() } else { files.frames.last() };
        let path = &part.unwrap().1;
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes.splice(at..bytes.len().min(at + with.len()), with);
        fs::write(path, bytes).unwrap();
        for from in [LogFrom::Start, LogFrom::Tail, LogFrom::Cursor(hornero_engine_port::log::LogCursor(cursor))] {
            if let Ok(page) = read(log.path(), &LogQuery::all(from, 500), true) {
                for line in page.lines.iter().filter(|line| line.stream == LogStream::Stdout) {
                    prop_assert!(line.text.matches("level=").count() <= 1 || cursor != 0);
                }
            }
        }
        let mut writer = LogWriter::with_sizes(log.path(), SMALL).unwrap();
        writer.take(LogStream::Stdout, b"goes on\n", 1 << 40).unwrap();
        drop(writer);
        let last = read(log.path(), &LogQuery::all(LogFrom::Tail, 1), true).unwrap();
        prop_assert_eq!(&last.lines[0].text, "goes on");
    }
}
