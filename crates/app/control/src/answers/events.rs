//! The ledger's events as they happen: server-sent events whose ids are sequence numbers.

use std::{sync::Arc, time::Duration};

use hornero_ledger::Ledger;
use hornero_model::{Event, error_chain};
use hyper::{HeaderMap, Response, StatusCode, body::Bytes, header::HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::records::parameter;
use crate::{
    answer::{Answer, ApiRefusal, Body, pieces},
    api::Api,
    request::HangUp,
};

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader may take nothing before it is cut off: it goes on from where it was.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that are read at once.
const PAGE: usize = 32;
/// Pages on their way to a reader that is slower than the ledger.
const DEPTH: usize = 2;
/// Milliseconds after which a browser comes back.
const RETRY_MS: u64 = 1000;
/// Readers at once: each takes a read of the ledger for each event.
pub const READERS: usize = 128;

/// Where a reader wants to go on; none for what comes from now on.
fn wanted(query: &str, headers: &HeaderMap) -> Result<Option<u64>, ApiRefusal> {
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let Some(text) = last.or_else(|| parameter(query, "after")) else { return Ok(None) };
    let number = text.trim().parse().map(Some);
    number.map_err(|_| {
        let text = "`Last-Event-ID` or `after` is no sequence number";
        ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
    })
}

fn frame(event: &Event) -> Result<String, serde_json::Error> {
    // JSON has no line end but in texts, where it is escaped.
    Ok(format!("id: {}\ndata: {}\n\n", event.sequence, serde_json::to_string(event)?))
}

/// What a reader is told that is no event of the ledger; it goes on after `newest`.
fn told(kind: &str, newest: u64) -> Bytes {
    Bytes::from(format!("event: {kind}\nid: {newest}\ndata: {{\"sequence\":{newest}}}\n\n"))
}

impl Api {
    /// Events, from the one on after that which the reader has, and as they come.
    pub fn events(&self, query: &str, headers: &HeaderMap, hang_up: HangUp) -> Answer {
        let after = wanted(query, headers)?;
        let place = Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            let text = format!("{READERS} read events already");
            ApiRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_readers", text)
        })?;
        let (sender, mut response): (_, Response<Body>) = pieces("text/event-stream", DEPTH);
        // A proxy is not to collect them.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        let newest = self.newest.clone();
        let telling = Telling { sender, ledger: Arc::clone(&self.ledger), newest, _place: place };
        tokio::spawn(async move {
            if telling.tell(after).await.is_none() {
                hang_up.hang_up();
            }
        });
        Ok(response)
    }
}

/// One reader.
struct Telling {
    sender: mpsc::Sender<Bytes>,
    ledger: Arc<dyn Ledger>,
    /// The newest event there is.
    newest: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

impl Telling {
    /// Tells a reader to its end; none where it is to be cut off.
    async fn tell(mut self, after: Option<u64>) -> Option<()> {
        let newest = *self.newest.borrow_and_update();
        let first = match after {
            None => told("hello", newest),
            // It knows another ledger: what it has is not of this one.
            Some(after) if after > newest => told("reset", newest),
            Some(_) => Bytes::new(),
        };
        let mut last = after.unwrap_or(newest).min(newest);
        let begin = format!("retry: {RETRY_MS}\n\n");
        self.send([Bytes::from(begin), first].concat().into()).await?;
        loop {
            let page = self.page(last + 1).await;
            let Some((newest, frames)) = page else {
                // It comes back, and goes on from what it has.
                tracing::warn!("events can't be read for one who follows them");
                return Some(());
            };
            if !frames.is_empty() {
                last = newest;
                self.send(frames).await?;
                continue;
            }
            tokio::select! {
                changed = self.newest.changed() => if changed.is_err() { return Some(()) },
                () = self.sender.closed() => return Some(()),
                () = tokio::time::sleep(HEARTBEAT) => self.send(Bytes::from_static(b": alive\n\n")).await?,
            }
        }
    }

    /// The next events, and the number of the last of them.
    async fn page(&self, from: u64) -> Option<(u64, Bytes)> {
        let ledger = Arc::clone(&self.ledger);
        let read = tokio::task::spawn_blocking(move || ledger.read(from, PAGE)).await.ok()?;
        let events = read.inspect_err(|error| tracing::warn!("{}", error_chain(error))).ok()?;
        let frames: Result<Vec<String>, _> = events.iter().map(frame).collect();
        Some((events.last().map_or(from, |event| event.sequence), frames.ok()?.concat().into()))
    }

    async fn send(&self, bytes: Bytes) -> Option<()> {
        match self.sender.send_timeout(bytes, PATIENCE).await {
            Ok(()) => Some(()),
            // It went by itself.
            Err(mpsc::error::SendTimeoutError::Closed(_)) => None,
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => None,
        }
    }
}
