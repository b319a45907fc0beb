//! Logs of a service or an instance, also of those long gone.

use std::{sync::Arc, time::Duration};

use hornero_api::message::LogLine;
use hornero_engine::{
    Engine, EngineError,
    log::{LogFrom, LogPage, LogQuery, LogStream, MAX_LINES},
};
use hornero_ledger::Ledger;
use hornero_model::{EventBody, InstanceId, Timestamp};
use hyper::StatusCode;

use crate::server::{Answer, LineSender, Refusal, stream};

/// Between two looks for new lines; what a person who watches takes for at once.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);

/// Streams the lines of every instance that `object` means, oldest instance first.
pub async fn answer(
    ledger: Arc<dyn Ledger>,
    engine: Arc<dyn Engine>,
    object: &str,
    since: Option<Timestamp>,
    follow: bool,
) -> Answer {
    let (name, reader) = (object.to_owned(), Arc::clone(&ledger));
    let found = tokio::task::spawn_blocking(move || instances(&*reader, &name, 1)).await;
    let (found, mut next) = found.map_err(Refusal::internal)?.map_err(Refusal::internal)?;
    if found.is_empty() {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "no_such_object",
            format!("neither a service nor an instance `{object}`"),
        ));
    }
    let (lines, answer) = stream();
    let name = object.to_owned();
    tokio::task::spawn_blocking(move || {
        let begin = since.map_or(LogFrom::Start, LogFrom::Since);
        let mut cursors: Vec<(InstanceId, LogFrom)> =
            found.into_iter().map(|id| (id, begin)).collect();
        loop {
            for (id, from) in &mut cursors {
                if !drain(&*engine, id, from, &lines) {
                    return;
                }
            }
            if !follow || lines.is_closed() {
                return;
            }
            std::thread::sleep(FOLLOW_PAUSE);
            // Only what is new in the ledger: it is read many times a second, and grows for ever.
            let Ok((new, after)) = instances(&*ledger, &name, next) else { continue };
            next = after;
            for id in new {
                if !cursors.iter().any(|(known, _)| *known == id) {
                    cursors.push((id, LogFrom::Start));
                }
            }
        }
    });
    answer
}

/// Every instance made that is `object`, or of the service `object`, by the ledger's events from `next` on, and the
/// number of the event after them.
fn instances(
    ledger: &dyn Ledger,
    object: &str,
    mut next: u64,
) -> Result<(Vec<InstanceId>, u64), hornero_ledger::LedgerError> {
    let mut found: Vec<InstanceId> = Vec::new();
    loop {
        let events = ledger.read(next, hornero_ledger::MAX_READ_EVENTS)?;
        let Some(last) = events.last() else { return Ok((found, next)) };
        next = last.sequence + 1;
        for event in events {
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

/// Sends what is new; false once the reader has gone.
fn drain(engine: &dyn Engine, id: &InstanceId, from: &mut LogFrom, lines: &LineSender) -> bool {
    loop {
        let page = match engine.logs(id, &LogQuery { from: *from, lines: MAX_LINES }) {
            Ok(page) => page,
            // Decided, but not started yet: it has no log so far.
            Err(EngineError::NotFound { .. }) => return true,
            Err(error) => {
                tracing::warn!("reading the log of `{id}` failed: {error}");
                return true;
            }
        };
        let is_first = !matches!(from, LogFrom::Cursor(_));
        *from = LogFrom::Cursor(page.next);
        if is_first
            && let Some(line) = dropped(id, &page)
            && !lines.send_blocking(&line)
        {
            return false;
        }
        if page.lines.is_empty() {
            return true;
        }
        for line in page.lines {
            let stream = match line.stream {
                LogStream::Stdout => "stdout",
                LogStream::Stderr => "stderr",
            };
            let line = LogLine {
                time: line.time,
                instance: id.clone(),
                stream: stream.to_owned(),
                text: line.text,
            };
            if !lines.send_blocking(&line) {
                return false;
            }
        }
    }
}
