//! Tells whoever follows a run what it writes, as it does, and how it ended.

use std::{sync::Arc, time::Duration};

use hornero_api::message::RunLine;
use hornero_engine_port::{
    Engine,
    log::{LogCursor, LogFrom, LogPage, LogQuery, MAX_LINES},
};
use hornero_model::{InstanceId, error_chain};

use crate::{
    answer::{Answer, LineSender, stream},
    runs::watched::Watched,
};

/// Between two looks for new lines; what a person who watches takes for at once.
const PAUSE: Duration = Duration::from_millis(40);

/// Streams what a run writes from this cursor on, to its end.
pub fn output(engine: Arc<dyn Engine>, id: InstanceId, watched: Arc<Watched>, from: u64) -> Answer {
    let (lines, answer) = stream();
    tokio::task::spawn_blocking(move || {
        let page = |from: u64| {
            let query = LogQuery::all(LogFrom::Cursor(LogCursor(from)), MAX_LINES);
            engine.logs(&id, &query).map_err(|error| {
                // Before its server was made there is no log.
                tracing::debug!("the log of run `{id}`: {}", error_chain(&error));
            })
        };
        tell(&lines, &watched, from, page);
    });
    answer
}

fn tell(
    lines: &LineSender,
    watched: &Watched,
    mut from: u64,
    page: impl Fn(u64) -> Result<LogPage, ()>,
) {
    loop {
        // Looked at first: whatever it wrote is in its log once it has ended.
        let end = watched.end();
        let read = page(from).ok().filter(|page| !page.lines.is_empty());
        match (read, end) {
            (Some(page), _) => {
                if !send(lines, &page, from) {
                    return;
                }
                from = page.next.0;
            }
            (None, Some(end)) => {
                // A reader that has gone misses nothing that the ledger does not have.
                let _ = lines.send_blocking(&RunLine::Finished { end });
                return;
            }
            (None, None) if lines.is_closed() => return,
            (None, None) => watched.wait(PAUSE),
        }
    }
}

/// Sends a page; false once the reader has gone.
fn send(lines: &LineSender, page: &LogPage, from: u64) -> bool {
    let lost = page.dropped_bytes.saturating_sub(from);
    if lost > 0 && !lines.send_blocking(&RunLine::Lost { bytes: lost }) {
        return false;
    }
    let told = page.lines.iter().all(|line| {
        let (stream, text) = (line.stream.as_str().to_owned(), line.text.clone());
        lines.send_blocking(&RunLine::Output { stream, text })
    });
    told && lines.send_blocking(&RunLine::Told { next: page.next.0 })
}
