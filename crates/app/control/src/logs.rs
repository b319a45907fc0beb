//! Logs of a service or an instance, also of those long gone.

mod joined;
mod merged;
mod told;
mod writers;

use std::{path::Path, sync::Arc, time::Duration};

use hornero_api::message::LogLine;
use hornero_engine_port::{
    Engine,
    log::{LogFilter, LogQuery, MAX_LINES},
};
use hornero_ledger::{Ledger, LedgerError, MAX_READ_EVENTS};
use hornero_model::{Event, InstanceId};
use hornero_telemetry::{FilterError, Matcher};
use hyper::StatusCode;

use crate::{
    answer::{Answer, ApiRefusal, stream},
    local,
    logs::{
        merged::{LineReader, OpenLog, ReadLog, Telling, tell_last, tell_merged},
        writers::{LogOwner, Selector, writers},
    },
    offline::ledger_of,
};

/// Between two looks for new lines; what a person who watches takes for at once.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// Most that may be asked for of a log's last lines: they are sorted in memory.
pub const LAST_LINES_MAX: usize = MAX_LINES;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogWish {
    /// Only such lines.
    pub filter: LogFilter,
    /// Only the last so many of all, at most [`LAST_LINES_MAX`].
    pub last: Option<usize>,
    /// Go on as lines are written.
    pub follow: bool,
    /// With the bytes themselves where some are no UTF-8.
    pub raw: bool,
}

impl LogWish {
    /// # Errors
    /// Where no line can be asked for like that.
    pub fn check(&self) -> Result<(), FilterError> {
        Matcher::of(&self.filter).map(drop)
    }
}

/// Where logs and the instances that wrote them are read from.
struct Source<'a> {
    events: &'a dyn Fn(u64) -> Result<Vec<Event>, LedgerError>,
    log: ReadLog<'a>,
    mark: &'a dyn Fn(&InstanceId) -> Option<u64>,
}

/// Streams the lines of every instance that `object` means, the oldest first.
pub async fn answer(
    ledger: Arc<dyn Ledger>,
    engine: Arc<dyn Engine>,
    object: &str,
    wish: LogWish,
) -> Answer {
    let (name, reader) = (object.to_owned(), Arc::clone(&ledger));
    let found = tokio::task::spawn_blocking(move || {
        let events = |next| reader.read(next, MAX_READ_EVENTS);
        Selector::of(&name).map(|selector| writers(&events, &selector, 1)).transpose()
    });
    let found = found.await.map_err(ApiRefusal::internal)?.map_err(ApiRefusal::internal)?;
    let Some(found) = found.filter(|found| !found.0.is_empty()) else {
        return Err(ApiRefusal::new(
            StatusCode::NOT_FOUND,
            "no_such_object",
            format!("neither a service nor an instance `{object}`"),
        ));
    };
    let (lines, answer) = stream();
    let name = object.to_owned();
    tokio::task::spawn_blocking(move || {
        let events = |next| ledger.read(next, MAX_READ_EVENTS);
        let log = |id: &InstanceId, query: &LogQuery| engine.logs(id, query);
        let mark = |id: &InstanceId| engine.log_mark(id);
        let source = Source { events: &events, log: &log, mark: &mark };
        let send = &mut |line: &LogLine| lines.send_blocking(line);
        source.tell(&name, found, &wish, &|| lines.is_closed(), send);
    });
    answer
}

/// The same from a home's own files, where no control process runs; false where the home knows no such object.
///
/// # Errors
/// Where the ledger can't be read.
pub fn logs_offline(
    home: &Path,
    object: &str,
    wish: &LogWish,
    send: &mut dyn FnMut(&LogLine) -> bool,
) -> anyhow::Result<bool> {
    let Some(selector) = Selector::of(object) else { return Ok(false) };
    let ledger = ledger_of(home)?;
    let events = |next| ledger.read(next, MAX_READ_EVENTS);
    let log = |id: &InstanceId, query: &LogQuery| local::read_log(home, id, query);
    let mark = |id: &InstanceId| local::log_mark(home, id);
    let found = writers(&events, &selector, 1)?;
    if found.0.is_empty() {
        return Ok(false);
    }
    let source = Source { events: &events, log: &log, mark: &mark };
    source.tell(object, found, wish, &|| false, send);
    Ok(true)
}

impl Source<'_> {
    /// Tells the lines of these instances, and of those that come.
    fn tell(
        &self,
        object: &str,
        (found, mut next): (Vec<LogOwner>, u64),
        wish: &LogWish,
        is_closed: &dyn Fn() -> bool,
        send: LineReader<'_>,
    ) {
        let Some(selector) = Selector::of(object) else { return };
        let mut logs: Vec<OpenLog> = found.into_iter().map(OpenLog::new).collect();
        let telling = Telling {
            read: self.log,
            filter: &wish.filter,
            raw: wish.raw,
            follow: wish.follow,
            is_closed,
        };
        let told = match wish.last {
            Some(0) if !wish.follow => return,
            Some(last) => tell_last(&mut logs, &telling, last, send),
            None => tell_merged(&mut logs.iter_mut().collect::<Vec<_>>(), &telling, send),
        };
        if !told {
            return;
        }
        while wish.follow && !is_closed() {
            if !self.tell_new(&mut logs, &telling, send) {
                return;
            }
            std::thread::sleep(FOLLOW_PAUSE);
            // Only what is new in the ledger: it is read many times a second, and grows for ever.
            let Ok((new, after)) = writers(self.events, &selector, next) else { continue };
            next = after;
            for writer in new {
                if !logs.iter().any(|known| known.writer.id == writer.id) {
                    logs.push(OpenLog::new(writer));
                }
            }
        }
    }

    /// Tells what was written since the last look; false once the reader has gone.
    fn tell_new(&self, logs: &mut [OpenLog], telling: &Telling<'_>, send: LineReader<'_>) -> bool {
        // Looked at first: what comes while it is read is found next time.
        let changed = logs.iter_mut().filter_map(|log| {
            let before = std::mem::replace(&mut log.mark, (self.mark)(&log.writer.id));
            (log.mark.is_none() || log.mark != before).then_some(log)
        });
        tell_merged(&mut changed.collect::<Vec<_>>(), telling, send)
    }
}
