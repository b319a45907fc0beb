//! Tells a webhook of beginnings and ends of rollouts, each at least once, by the ledger and a cursor in it.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hornero_home::{Opening, open, put};
use hornero_ledger::Ledger;
use hornero_model::{Event, EventBody, RolloutId};
use serde_json::{Value, json};

use super::send::post;

/// Events read at once.
const PAGE: usize = 200;
/// Between two looks, and two tries at first.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two tries at most.
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// Events before the newest that are told at most of those that were missed: what is older is history.
const BEHIND: u64 = 10_000;

/// Tells of rollouts.
#[derive(Debug)]
pub struct RolloutNews {
    home: String,
    file: PathBuf,
    url: String,
    ended: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl RolloutNews {
    /// To a URL.
    pub fn new(home: &Path, url: String) -> Self {
        let file = home.join("alerts.cursor.json");
        let (ended, fault) = (AtomicBool::new(false), Mutex::default());
        Self { home: home.display().to_string(), file, url, ended, fault }
    }

    /// Why the last try failed.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// No more is told.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Tells of what comes, on the thread that calls this, until it is ended.
    pub fn run(&self, ledger: &Arc<dyn Ledger>, newest: impl Fn() -> u64) {
        // What began before is told of at its end alone.
        let mut begun = BTreeSet::new();
        let mut kept = self.cursor();
        let first = kept.unwrap_or_else(&newest);
        let mut cursor = first.max(newest().saturating_sub(BEHIND)).min(newest());
        let mut pause = PAUSE;
        while !self.ended.load(Ordering::Acquire) {
            if newest() <= cursor {
                self.keep(cursor, &mut kept);
                if self.waited(PAUSE) {
                    return;
                }
                continue;
            }
            let page = ledger.read(cursor + 1, PAGE).unwrap_or_default();
            for event in &page {
                if let Some(body) = news(&self.home, event, &mut begun) {
                    while let Err(fault) = post(&self.url, &body) {
                        self.note(Some(fault));
                        if self.waited(pause) {
                            return;
                        }
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                    (pause, cursor) = (PAUSE, event.sequence);
                    self.note(None);
                    self.keep(cursor, &mut kept);
                }
            }
            cursor = page.last().map_or(cursor, |event| event.sequence);
            // One that can't be read is no reason for haste.
            if page.is_empty() && self.waited(PAUSE) {
                return;
            }
        }
    }

    fn note(&self, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Waits; true where it is ended meanwhile.
    fn waited(&self, pause: Duration) -> bool {
        let mut left = pause;
        while !left.is_zero() && !self.ended.load(Ordering::Acquire) {
            let step = left.min(Duration::from_millis(200));
            std::thread::sleep(step);
            left -= step;
        }
        self.ended.load(Ordering::Acquire)
    }

    fn cursor(&self) -> Option<u64> {
        let mut text = String::new();
        open(&self.file, Opening::Read).ok()?.take(4096).read_to_string(&mut text).ok()?;
        let kept: Value = serde_json::from_str(&text).ok()?;
        (kept["format"] == 1).then(|| kept["sequence"].as_u64())?
    }

    fn keep(&self, cursor: u64, kept: &mut Option<u64>) {
        if *kept == Some(cursor) {
            return;
        }
        let text = json!({ "format": 1, "sequence": cursor }).to_string();
        match put(&self.file, text.as_bytes()) {
            Ok(()) => *kept = Some(cursor),
            Err(error) => tracing::warn!("`{}` can't be written: {error}", self.file.display()),
        }
    }
}

/// What a webhook is told of an event, where it is a beginning or an end of a rollout.
fn news(home: &str, event: &Event, begun: &mut BTreeSet<RolloutId>) -> Option<Value> {
    let EventBody::RolloutStep { entry } = &event.body else { return None };
    // Its first entry is of the moment when it was asked for, whatever it begins with.
    let requested = entry.state.get("requested");
    let begins = requested.is_some() && requested == entry.state.get("since");
    let is_new = !entry.finished && begun.insert(entry.rollout) && begins;
    if !is_new && !entry.finished {
        return None;
    }
    if entry.finished {
        begun.remove(&entry.rollout);
    }
    let failure = entry.state.get("failure").and_then(|failure| failure.get("reason"));
    Some(json!({
        "version": 1,
        "kind": "rollout",
        "home": home,
        "rollout": entry.rollout,
        "service": entry.service,
        "state": entry.phase,
        "finished": entry.finished,
        "from": entry.state.get("from"),
        "to": entry.state.get("to"),
        "failure": failure,
        "who": event.by.who,
        "why": event.by.why,
        "time": event.time,
        "sequence": event.sequence,
    }))
}
