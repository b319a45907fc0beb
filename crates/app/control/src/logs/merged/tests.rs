//! How far logs are read that are written to meanwhile.

use std::cell::Cell;

use hornero_engine_port::log::LogStream;

use super::*;

fn owner(name: &str) -> LogOwner {
    let id = InstanceId::new(name).unwrap();
    LogOwner { id, service: None, release: None, since: Timestamp(0) }
}

fn line(place: u64) -> EngineLine {
    EngineLine {
        time: Timestamp(place),
        nanos: 0,
        stream: LogStream::Stdout,
        text: format!("line {place}"),
        bytes: None,
        goes_on: false,
    }
}

/// A log that has grown whenever it is looked at, by as many lines as a page holds; `matching` of ten are asked for.
struct Busy {
    end: Cell<u64>,
    reads: Cell<usize>,
    matching: u64,
}

impl Busy {
    fn new(matching: u64) -> Self {
        Self { end: Cell::new(5_000), reads: Cell::new(0), matching }
    }

    fn read(&self, query: &LogQuery) -> LogPage {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < 1_000, "it is read for ever");
        self.end.set(self.end.get() + MAX_LINES as u64);
        let end = self.end.get();
        let begin = match query.from {
            LogFrom::Start => 0,
            LogFrom::Tail => end,
            LogFrom::Cursor(cursor) => cursor.0,
        };
        let asked_for = (begin..end).filter(|place| place % 10 < self.matching);
        let lines: Vec<EngineLine> = asked_for.take(query.lines).map(line).collect();
        let is_full = lines.len() == query.lines;
        let next = lines.last().filter(|_| is_full).map_or(end, |last| last.time.0 + 1);
        LogPage { lines, dropped_bytes: 0, next: LogCursor(next), finished: false }
    }
}

/// What is told of a log that is written to all the time, in one round.
fn told_of(busy: &Busy, follow: bool, is_closed: &dyn Fn() -> bool) -> usize {
    let read = |_: &InstanceId, query: &LogQuery| Ok(busy.read(query));
    let filter = LogFilter { pattern: Some("line".to_owned()), ..LogFilter::default() };
    let telling = Telling { read: &read, filter: &filter, raw: false, follow, is_closed };
    let (mut log, mut told) = (OpenLog::new(owner("site-1-a")), 0);
    tell_merged(&mut [&mut log], &telling, &mut |_| {
        told += 1;
        true
    });
    told
}

#[test]
fn a_log_that_is_written_to_all_the_time_has_an_end() {
    for follow in [false, true] {
        assert_eq!(told_of(&Busy::new(0), follow, &|| false), 0);
        let told = told_of(&Busy::new(1), follow, &|| false);
        assert!((500..2_000).contains(&told), "{told}");
        // Faster than it is read: what was there when it was first read.
        let told = told_of(&Busy::new(10), follow, &|| false);
        assert!((6_000..12_000).contains(&told), "{told}");
    }
}

#[test]
fn nothing_is_read_for_a_reader_who_has_gone() {
    let busy = Busy::new(0);
    assert_eq!(told_of(&busy, false, &|| busy.reads.get() >= 1), 0);
    // A page and where the log ends; no further page.
    assert_eq!(busy.reads.get(), 2);
}

#[test]
fn rounds_go_on_where_the_last_one_ended() {
    let busy = Busy::new(10);
    let read = |_: &InstanceId, query: &LogQuery| Ok(busy.read(query));
    let filter = LogFilter { pattern: Some("line".to_owned()), ..LogFilter::default() };
    let telling =
        Telling { read: &read, filter: &filter, raw: false, follow: true, is_closed: &|| false };
    let (mut log, mut told) = (OpenLog::new(owner("site-1-a")), Vec::new());
    for _ in 0..3 {
        tell_merged(&mut [&mut log], &telling, &mut |line| {
            told.push(line.time.0);
            true
        });
    }
    assert!(told.len() > 10_000);
    assert!(told.iter().copied().eq(0..told.len() as u64));
}

#[test]
fn pages_are_smaller_where_many_logs_wait() {
    assert_eq!((page_lines(1), page_lines(8)), (MAX_LINES, MAX_LINES));
    assert_eq!((page_lines(80), page_lines(10_000)), (MAX_LINES / 10, LEAST_LINES));
}
