//! Logs of a service or an instance, also of those long gone.

use std::{path::Path, sync::Arc, time::Duration};

use hornero_api::message::LogLine;
use hornero_engine_port::{
    Engine, EngineError,
    log::{LogFrom, LogPage, LogQuery, LogStream, MAX_LINES},
};
use hornero_ledger::{Ledger, LedgerError, MAX_READ_EVENTS};
use hornero_model::{Event, EventBody, InstanceId, Timestamp};
use hyper::StatusCode;

use crate::{
    answer::{Answer, ApiRefusal, stream},
    local,
    offline::ledger_of,
};

/// Between two looks for new lines; what a person who watches takes for at once.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// Most that may be asked for of a log's last lines: they are sorted in memory.
pub const LAST_LINES_MAX: usize = MAX_LINES;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWish {
    /// Only lines after this.
    pub since: Option<Timestamp>,
    /// Only the last so many of all, at most [`LAST_LINES_MAX`].
    pub last: Option<usize>,
    /// Go on as lines are written.
    pub follow: bool,
}

/// Where logs and the instances that wrote them are read from.
struct Source<'a> {
    events: &'a dyn Fn(u64) -> Result<Vec<Event>, LedgerError>,
    log: &'a dyn Fn(&InstanceId, &LogQuery) -> Result<LogPage, EngineError>,
}

/// Whoever reads the lines; false once it has gone.
type Reader<'a> = &'a mut dyn FnMut(&LogLine) -> bool;

/// Streams the lines of every instance that `object` means, oldest instance first.
pub async fn answer(
    ledger: Arc<dyn Ledger>,
    engine: Arc<dyn Engine>,
    object: &str,
    wish: LogWish,
) -> Answer {
    let (name, reader) = (object.to_owned(), Arc::clone(&ledger));
    let found = tokio::task::spawn_blocking(move || {
        instances(&|next| reader.read(next, MAX_READ_EVENTS), &name, 1)
    });
    let found = found.await.map_err(ApiRefusal::internal)?.map_err(ApiRefusal::internal)?;
    if found.0.is_empty() {
        return Err(ApiRefusal::new(
            StatusCode::NOT_FOUND,
            "no_such_object",
            format!("neither a service nor an instance `{object}`"),
        ));
    }
    let (lines, answer) = stream();
    let name = object.to_owned();
    tokio::task::spawn_blocking(move || {
        let events = |next| ledger.read(next, MAX_READ_EVENTS);
        let log = |id: &InstanceId, query: &LogQuery| engine.logs(id, query);
        let source = Source { events: &events, log: &log };
        let send = &mut |line: &LogLine| lines.send_blocking(line);
        source.tell(&name, found, wish, &|| lines.is_closed(), send);
    });
    answer
}

/// The same from a home's own files, where no control process runs; false where the home knows no such object.
pub fn logs_offline(
    home: &Path,
    object: &str,
    wish: LogWish,
    send: &mut dyn FnMut(&LogLine) -> bool,
) -> anyhow::Result<bool> {
    let ledger = ledger_of(home)?;
    let events = |next| ledger.read(next, MAX_READ_EVENTS);
    let log = |id: &InstanceId, query: &LogQuery| local::read_log(home, id, query);
    let found = instances(&events, object, 1)?;
    if found.0.is_empty() {
        return Ok(false);
    }
    Source { events: &events, log: &log }.tell(object, found, wish, &|| false, send);
    Ok(true)
}

impl Source<'_> {
    /// Tells the lines of these instances, and of those that come.
    fn tell(
        &self,
        object: &str,
        (found, mut next): (Vec<InstanceId>, u64),
        wish: LogWish,
        is_closed: &dyn Fn() -> bool,
        send: Reader<'_>,
    ) {
        let begin = wish.since.map_or(LogFrom::Start, LogFrom::Since);
        let mut cursors: Vec<(InstanceId, LogFrom)> =
            found.into_iter().map(|id| (id, begin)).collect();
        if let Some(last) = wish.last
            && !self.tell_last(&mut cursors, wish.since, last, send)
        {
            return;
        }
        loop {
            let mut drained = cursors.iter_mut().filter(|(_, from)| {
                // With the last lines alone, what was not there then is not told.
                wish.follow || wish.last.is_none() || !matches!(from, LogFrom::Cursor(_))
            });
            if !drained.all(|(id, from)| self.drain(id, from, send)) {
                return;
            }
            if !wish.follow || is_closed() {
                return;
            }
            std::thread::sleep(FOLLOW_PAUSE);
            // Only what is new in the ledger: it is read many times a second, and grows for ever.
            let Ok((new, after)) = instances(self.events, object, next) else { continue };
            next = after;
            for id in new {
                if !cursors.iter().any(|(known, _)| *known == id) {
                    cursors.push((id, LogFrom::Start));
                }
            }
        }
    }

    /// Tells the last lines of all, by their times; false once the reader has gone.
    fn tell_last(
        &self,
        cursors: &mut [(InstanceId, LogFrom)],
        since: Option<Timestamp>,
        last: usize,
        send: Reader<'_>,
    ) -> bool {
        let mut lines = Vec::new();
        for (id, from) in cursors {
            let query = LogQuery { from: LogFrom::Tail, lines: last.clamp(1, LAST_LINES_MAX) };
            let Some(page) = self.page(id, &query) else { continue };
            *from = LogFrom::Cursor(page.next);
            lines.extend(page.lines.into_iter().map(|line| told(id, line)));
        }
        lines.retain(|line| since.is_none_or(|since| line.time >= since));
        lines.sort_by_key(|line| line.time);
        let skipped = lines.len().saturating_sub(last);
        lines[skipped..].iter().all(send)
    }

    /// Sends what is new; false once the reader has gone.
    fn drain(&self, id: &InstanceId, from: &mut LogFrom, send: Reader<'_>) -> bool {
        loop {
            let query = LogQuery { from: *from, lines: MAX_LINES };
            let Some(page) = self.page(id, &query) else { return true };
            let is_first = !matches!(from, LogFrom::Cursor(_));
            *from = LogFrom::Cursor(page.next);
            if is_first
                && let Some(line) = dropped(id, &page)
                && !send(&line)
            {
                return false;
            }
            if page.lines.is_empty() {
                return true;
            }
            if !page.lines.into_iter().all(|line| send(&told(id, line))) {
                return false;
            }
        }
    }

    /// A page of a log; none where there is no log so far, or it can't be read.
    fn page(&self, id: &InstanceId, query: &LogQuery) -> Option<LogPage> {
        match (self.log)(id, query) {
            Ok(page) => Some(page),
            // Decided, but not started yet: it has no log so far.
            Err(EngineError::NotFound { .. }) => None,
            Err(error) => {
                tracing::warn!("reading the log of `{id}` failed: {error}");
                None
            }
        }
    }
}

/// Every instance made that is `object`, or of the service `object`, by the ledger's events from `next` on, and the
/// number of the event after them.
fn instances(
    events: &dyn Fn(u64) -> Result<Vec<Event>, LedgerError>,
    object: &str,
    mut next: u64,
) -> Result<(Vec<InstanceId>, u64), LedgerError> {
    let mut found: Vec<InstanceId> = Vec::new();
    loop {
        let events = events(next)?;
        let Some(last) = events.last() else { return Ok((found, next)) };
        next = last.sequence + 1;
        for event in events {
            let apart = match &event.body {
                EventBody::RunStarted { run } => Some(&run.id),
                EventBody::RehearsalStarted { rehearsal } => Some(&rehearsal.id),
                _ => None,
            };
            found.extend(apart.filter(|id| id.as_str() == object).cloned());
            if let EventBody::InstanceChanged { instance, service, .. } = event.body
                && (service.as_str() == object || instance.as_str() == object)
                && !found.contains(&instance)
            {
                found.push(instance);
            }
        }
    }
}

/// What is said where older lines of an instance are gone: logs are bounded.
fn dropped(id: &InstanceId, page: &LogPage) -> Option<LogLine> {
    if page.dropped_bytes == 0 {
        return None;
    }
    // Where no line is left, the time is that of the look.
    let time = page.lines.first().map_or_else(Timestamp::now, |line| line.time);
    let text = format!("{} bytes of older lines were dropped", page.dropped_bytes);
    Some(LogLine { time, instance: id.clone(), stream: "hornero".to_owned(), text })
}

fn told(id: &InstanceId, line: hornero_engine_port::log::LogLine) -> LogLine {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    LogLine { time: line.time, instance: id.clone(), stream: stream.to_owned(), text: line.text }
}
