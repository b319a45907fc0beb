//! Lines of many instances in the order of their times, each log read page by page as its turn comes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use hornero_api::message::LogLine;
use hornero_engine_port::{
    EngineError,
    log::{
        LogCursor, LogFilter, LogFrom, LogLine as EngineLine, LogPage, LogQuery, MAX_LINES,
        MAX_PAGE_BYTES,
    },
};
use hornero_model::{InstanceId, Timestamp};

use crate::logs::{
    joined::joined,
    told::{dropped, told},
    writers::LogOwner,
};

/// Reads a page of an instance's log.
pub type ReadLog<'a> = &'a dyn Fn(&InstanceId, &LogQuery) -> Result<LogPage, EngineError>;
/// Whoever reads the lines; false once it has gone.
pub type LineReader<'a> = &'a mut dyn FnMut(&LogLine) -> bool;

/// Bytes of lines that wait for their turn, of all logs together.
const WAITING_BYTES: usize = 64 << 20;
/// Lines of a page at least, however many logs are open: for fewer it is not worth to open a block.
const LEAST_LINES: usize = 64;

/// What is told of logs, and for how long.
#[derive(Clone, Copy)]
pub struct Telling<'a> {
    pub read: ReadLog<'a>,
    pub filter: &'a LogFilter,
    /// With the bytes themselves where some are no UTF-8.
    pub raw: bool,
    /// Whether it is called again as lines are written.
    pub follow: bool,
    /// Whether the reader has gone, also while there is nothing to send.
    pub is_closed: &'a dyn Fn() -> bool,
}

/// A log on its way to the reader.
#[derive(Debug)]
pub struct OpenLog {
    pub writer: LogOwner,
    from: LogFrom,
    waiting: VecDeque<EngineLine>,
    until: Until,
    /// What it was known by when it was last read to its end.
    pub mark: Option<u64>,
}

/// How far a log is read in one round: a server may write faster than anybody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Not known before a page of it was read.
    Unknown,
    /// Where it ended then.
    Place(LogCursor),
    /// No further.
    Here,
}

impl OpenLog {
    /// From its first line on.
    pub fn new(writer: LogOwner) -> Self {
        Self {
            writer,
            from: LogFrom::Start,
            waiting: VecDeque::new(),
            until: Until::Unknown,
            mark: None,
        }
    }

    /// Reads the next page with lines, so many at most; false where nothing is there, or the round is over.
    fn fill(&mut self, telling: &Telling<'_>, lines: usize) -> bool {
        let Telling { read, filter, is_closed, .. } = *telling;
        while self.until != Until::Here && !is_closed() {
            let query = LogQuery { from: self.from, lines, filter: filter.clone() };
            let Some(page) = page(read, &self.writer.id, &query) else { return false };
            self.pass(telling, &page, lines);
            let is_first = !matches!(self.from, LogFrom::Cursor(_));
            self.from = LogFrom::Cursor(page.next);
            if is_first && is_of_all(filter) {
                self.waiting.extend(dropped(&page));
            }
            let lines = if is_of_all(filter) { joined(page.lines) } else { page.lines };
            self.waiting.extend(lines);
            if !self.waiting.is_empty() {
                return true;
            }
        }
        false
    }

    /// Notes how far it is to be read, once it was read to the end of this page.
    fn pass(&mut self, telling: &Telling<'_>, page: &LogPage, lines: usize) {
        let stays = self.from == LogFrom::Cursor(page.next);
        // What comes behind a page with room for more is found in the next round, if there is one.
        if stays || page.finished || (telling.follow && !is_full(page, lines)) {
            self.until = Until::Here;
        } else if self.until == Until::Unknown {
            self.until = end(telling.read, &self.writer.id).map_or(Until::Here, Until::Place);
        }
        if let Until::Place(until) = self.until
            && page.next >= until
        {
            self.until = Until::Here;
        }
    }
}

fn is_full(page: &LogPage, lines: usize) -> bool {
    let bytes = |line: &EngineLine| line.text.len() + line.bytes.as_ref().map_or(0, Vec::len);
    page.lines.len() >= lines || page.lines.iter().map(bytes).sum::<usize>() >= MAX_PAGE_BYTES
}

/// Where a log ends now.
fn end(read: ReadLog<'_>, id: &InstanceId) -> Option<LogCursor> {
    page(read, id, &LogQuery::all(LogFrom::Tail, 0)).map(|page| page.next)
}

/// Lines of a page where so many logs have lines that wait.
fn page_lines(open: usize) -> usize {
    let pages = WAITING_BYTES / MAX_PAGE_BYTES;
    (MAX_LINES * pages / open.max(1)).clamp(LEAST_LINES, MAX_LINES)
}

/// Whether lines that stand together are told together.
fn is_of_all(filter: &LogFilter) -> bool {
    let LogFilter { since: _, until: _, level, pattern, words, fields } = filter;
    level.is_none() && pattern.is_none() && words.is_empty() && fields.is_empty()
}

/// A page of a log; none where there is no log so far, or it can't be read.
fn page(read: ReadLog<'_>, id: &InstanceId, query: &LogQuery) -> Option<LogPage> {
    match read(id, query) {
        Ok(page) => Some(page),
        // Decided, but not started yet: it has no log so far.
        Err(EngineError::NotFound { .. }) => None,
        Err(error) => {
            tracing::warn!("reading the log of `{id}` failed: {error}");
            None
        }
    }
}

fn order(line: &EngineLine) -> (Timestamp, u32) {
    (line.time, line.nanos)
}

/// Sends what is there of these logs, oldest first; false once the reader has gone.
pub fn tell_merged(logs: &mut [&mut OpenLog], telling: &Telling<'_>, send: LineReader<'_>) -> bool {
    logs.iter_mut().for_each(|log| log.until = Until::Unknown);
    // A log is read once its first line can be the next: it holds none older than its instance.
    let begins = |log: &OpenLog| (log.writer.since, 0);
    let mut turns: BinaryHeap<_> =
        logs.iter().enumerate().map(|(index, log)| Reverse((begins(log), index))).collect();
    while let Some(Reverse((_, index))) = turns.pop() {
        let open = logs.iter().filter(|log| !log.waiting.is_empty()).count() + 1;
        let log = &mut *logs[index];
        if log.waiting.is_empty() {
            if log.fill(telling, page_lines(open))
                && let Some(line) = log.waiting.front()
            {
                turns.push(Reverse((order(line), index)));
            }
            continue;
        }
        let next = turns.peek().map(|Reverse((turn, _))| *turn);
        // As many as stand before the first line of another log.
        while let Some(line) = log.waiting.pop_front() {
            if !send(&told(&log.writer, telling.raw, line)) {
                return false;
            }
            match log.waiting.front().map(order) {
                Some(turn) if next.is_some_and(|next| next < turn) => {
                    turns.push(Reverse((turn, index)));
                    break;
                }
                Some(_) => {}
                None => turns.push(Reverse(((Timestamp(0), 0), index))),
            }
        }
    }
    true
}

/// Sends the last lines of all, by their times; false once the reader has gone. The newest logs are read first, the
/// others only for what is newer than what was found.
pub fn tell_last(
    logs: &mut [OpenLog],
    telling: &Telling<'_>,
    last: usize,
    send: LineReader<'_>,
) -> bool {
    let mut found: Vec<(usize, EngineLine)> = Vec::new();
    let mut filter = telling.filter.clone();
    let joins = is_of_all(&filter);
    for (index, log) in logs.iter_mut().enumerate().rev() {
        let query = LogQuery {
            from: LogFrom::Tail,
            lines: last.clamp(1, MAX_LINES),
            filter: filter.clone(),
        };
        let Some(page) = page(telling.read, &log.writer.id, &query) else { continue };
        log.from = LogFrom::Cursor(page.next);
        found.extend(page.lines.into_iter().map(|line| (index, line)));
        found.sort_by_key(|(_, line)| order(line));
        found.drain(..found.len().saturating_sub(last));
        if found.len() == last
            && let Some((_, oldest)) = found.first()
        {
            filter.since = filter.since.max(Some(oldest.time));
        }
    }
    let mut groups: Vec<(usize, Vec<EngineLine>)> = Vec::new();
    for (index, line) in found {
        match groups.last_mut().filter(|(of, _)| joins && *of == index) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((index, vec![line])),
        }
    }
    groups.into_iter().all(|(index, lines)| {
        let lines = if joins { joined(lines) } else { lines };
        lines.into_iter().all(|line| send(&told(&logs[index].writer, telling.raw, line)))
    })
}

#[cfg(test)]
mod tests;
