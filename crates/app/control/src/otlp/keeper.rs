//! Sends what there is to send every few seconds, each kind by itself, and waits longer while a collector takes nothing.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hornero_engine_port::{
    Engine, EngineError,
    log::{LogFrom, LogQuery},
};
use hornero_ledger::{Ledger, LedgerError};
use hornero_model::{Event, EventBody, InstanceId, InstanceState, Timestamp, error_chain};
use serde_json::Value;

use super::{
    cursor::{Sent, SentFile, SentLog},
    logs::{self, LogOrigin},
    metrics,
    send::{SendOutcome, send},
    settings::OtlpSettings,
    traces::{self, RolloutTrace, Rollouts},
};
use crate::metrics::FIGURES_INTERVAL;

/// Between two turns while everything was sent.
const TURN: Duration = Duration::from_secs(2);
/// The pause after the first request that was not taken; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Figures of so long go with one request.
const WINDOW_MS: u64 = 300_000;
/// Requests of one kind in one turn, so that the others get theirs.
const REQUESTS: usize = 20;
/// Lines in one request: at a megabyte each at the most, and some hundred bytes as a rule.
const LINES: usize = 500;
/// Events of one read.
const EVENTS: usize = 500;
/// Spans of so many rollouts go with one request.
const ROLLOUTS: usize = 50;

/// What is sent from.
#[derive(Clone)]
pub struct ExporterParts {
    /// Where figures are kept, and how far they were sent.
    pub directory: PathBuf,
    pub engine: Arc<dyn Engine>,
    pub ledger: Arc<dyn Ledger>,
    /// The ledger's last event at the start of this process.
    pub last_sequence: u64,
}

/// The thread that sends.
pub struct Exporter {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Sends from now on.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(settings: OtlpSettings, parts: ExporterParts) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            let mut sending = ExportState::new(settings, parts);
            while !told.load(Ordering::Acquire) {
                sending.turn();
                std::thread::park_timeout(TURN);
            }
        })?;
        Ok(Self { ended, thread })
    }

    /// Begins no more.
    pub fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

/// One kind of what is sent.
struct SignalSender {
    path: &'static str,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    pause: Duration,
}

impl SignalSender {
    const fn at(path: &'static str) -> Self {
        Self { path, not_before: None, pause: FIRST_PAUSE }
    }

    fn may_send(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Sends a request; whether it is done with, taken or refused for good.
    fn send(&mut self, settings: &OtlpSettings, request: &Value) -> bool {
        let path = self.path;
        match send(settings, path, request) {
            SendOutcome::Later(why, after) => {
                let pause = after.unwrap_or(self.pause);
                if self.not_before.is_none() {
                    tracing::warn!("the collector takes nothing at `{path}`: {why}; trying again");
                }
                self.not_before = Some(Instant::now() + pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                return false;
            }
            SendOutcome::Refused(why) => {
                tracing::warn!(
                    "the collector refused what was sent to `{path}`, which is lost to it: {why}"
                );
            }
            SendOutcome::Taken(Some((count, why))) => {
                tracing::warn!("the collector refused {count} of what was sent to `{path}`: {why}");
            }
            SendOutcome::Taken(None) if self.not_before.is_some() => {
                tracing::info!("the collector takes again what is sent to `{path}`");
            }
            SendOutcome::Taken(None) => {}
        }
        (self.not_before, self.pause) = (None, FIRST_PAUSE);
        true
    }
}

/// What the thread has between two turns.
struct ExportState {
    settings: OtlpSettings,
    parts: ExporterParts,
    host: String,
    file: Option<SentFile>,
    signals: [SignalSender; 3],
    rollouts: Rollouts,
    /// Events were read up to this one.
    read: u64,
    /// Rollouts that are over and were not sent.
    pending: Vec<RolloutTrace>,
    /// What each log was like when all of it had been sent.
    marks: BTreeMap<InstanceId, u64>,
}

impl ExportState {
    fn new(settings: OtlpSettings, parts: ExporterParts) -> Self {
        let node = rustix::system::uname();
        Self {
            settings,
            parts,
            host: node.nodename().to_string_lossy().into_owned(),
            file: None,
            signals: ["/v1/metrics", "/v1/traces", "/v1/logs"].map(SignalSender::at),
            rollouts: Rollouts::default(),
            read: 0,
            pending: Vec::new(),
            marks: BTreeMap::new(),
        }
    }

    fn turn(&mut self) {
        // The directory is made by who keeps figures.
        if !self.parts.directory.is_dir() {
            return;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.opened(),
        };
        if let Err(error) = self.read_events(&mut file.sent) {
            tracing::warn!("what happened can't be sent: {}", error_chain(&error));
        }
        if self.settings.metrics && self.signals[0].may_send() {
            self.send_metrics(&mut file.sent);
        }
        // Without any to send, only how far was read moves on.
        if self.signals[1].may_send() {
            self.send_traces(&mut file.sent);
        }
        if self.settings.logs && self.signals[2].may_send() {
            self.send_logs(&mut file.sent);
        }
        if let Err(error) = file.keep() {
            tracing::warn!("how far everything was sent can't be remembered: {error}");
        }
        self.file = Some(file);
    }

    /// How far everything was sent before; where nothing ever was, it begins with what comes.
    fn opened(&mut self) -> SentFile {
        let last = self.parts.last_sequence;
        let begin = Sent {
            metrics: Timestamp::now(),
            traces: last,
            rollouts: Default::default(),
            instances: last,
            logs: self.ends_of_logs(),
        };
        let file = SentFile::open(&self.parts.directory, begin);
        self.read = file.sent.traces.min(file.sent.instances);
        file
    }

    /// Where the logs of what runs end.
    fn ends_of_logs(&self) -> BTreeMap<InstanceId, SentLog> {
        let running = self.parts.engine.list().unwrap_or_default().into_iter();
        let ends = running.map(|of| {
            let tail = self.parts.engine.logs(&of.id, &LogQuery::all(LogFrom::Tail, 1));
            let next = tail.ok().map(|page| page.next);
            (of.id, SentLog { service: of.service, release: of.release, next, archived: false })
        });
        ends.collect()
    }

    /// Reads what happened: rollouts that ended, and instances that were made.
    fn read_events(&mut self, sent: &mut Sent) -> Result<(), LedgerError> {
        while self.pending.len() < ROLLOUTS {
            let events = self.parts.ledger.read(self.read + 1, EVENTS)?;
            let Some(last) = events.last() else { break };
            self.read = last.sequence;
            for event in &events {
                self.take(event, sent);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event, sent: &mut Sent) {
        if event.sequence > sent.traces
            && let Some(trace) = self.rollouts.take(event)
            && !sent.rollouts.contains(&trace.rollout)
            && self.settings.traces
        {
            self.pending.push(trace);
        }
        if event.sequence <= sent.instances {
            return;
        }
        sent.instances = event.sequence;
        if !self.settings.logs {
            return;
        }
        let EventBody::InstanceChanged { instance, service, release, state, .. } = &event.body
        else {
            return;
        };
        if *state == InstanceState::Created {
            let (service, release) = (service.clone(), *release);
            let log = SentLog { service, release, next: None, archived: false };
            sent.logs.insert(instance.clone(), log);
        } else if let Some(log) = sent.logs.get_mut(instance) {
            log.archived |= *state == InstanceState::Archived;
        }
    }

    fn send_metrics(&mut self, sent: &mut Sent) {
        let now = Timestamp::now();
        // The next moment is kept no sooner.
        if now.since(sent.metrics).duration() < FIGURES_INTERVAL {
            return;
        }
        for _ in 0..REQUESTS {
            let until = Timestamp((sent.metrics.0 + WINDOW_MS).min(now.0));
            let range = (sent.metrics, until);
            match metrics::batch(&self.parts.directory, &self.host, range) {
                Ok(Some(batch)) => {
                    if !self.signals[0].send(&self.settings, &batch.request) {
                        return;
                    }
                    sent.metrics = batch.until;
                }
                // Nothing was seen then: no control ran.
                Ok(None) if until < now => sent.metrics = until,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("figures can't be read to be sent: {error}");
                    return;
                }
            }
        }
    }

    fn send_traces(&mut self, sent: &mut Sent) {
        if !self.pending.is_empty() {
            let spans: Vec<Value> =
                self.pending.iter().flat_map(|trace| trace.spans.iter().cloned()).collect();
            if !self.signals[1].send(&self.settings, &traces::request(&self.host, &spans)) {
                return;
            }
            sent.rollouts.extend(self.pending.drain(..).map(|trace| trace.rollout));
        }
        sent.traces = sent.traces.max(self.rollouts.settled());
        sent.rollouts = self.rollouts.still(&sent.rollouts);
    }

    fn send_logs(&mut self, sent: &mut Sent) {
        let instances: Vec<InstanceId> = sent.logs.keys().cloned().collect();
        for instance in instances {
            let mark = self.parts.engine.log_mark(&instance);
            if mark.is_some() && self.marks.get(&instance) == mark.as_ref() {
                continue;
            }
            let Some(log) = sent.logs.get_mut(&instance) else { continue };
            match self.send_log(&instance, log) {
                LogState::Whole => {
                    if let Some(mark) = mark {
                        self.marks.insert(instance, mark);
                    }
                }
                LogState::Over => {
                    sent.logs.remove(&instance);
                    self.marks.remove(&instance);
                }
                LogState::More => {}
                LogState::Untaken => return,
            }
        }
    }

    /// Sends what an instance wrote since.
    fn send_log(&mut self, instance: &InstanceId, log: &mut SentLog) -> LogState {
        let (service, release) = (log.service.clone(), log.release);
        let writer = LogOrigin { instance: instance.clone(), service, release };
        for _ in 0..REQUESTS {
            let from = log.next.map_or(LogFrom::Start, LogFrom::Cursor);
            let page = match self.parts.engine.logs(instance, &LogQuery::all(from, LINES)) {
                Ok(page) => page,
                // It never started, or its log is gone by age.
                Err(EngineError::NotFound { .. }) if log.archived => return LogState::Over,
                Err(error) => {
                    // It has not started yet.
                    tracing::debug!("{}", error_chain(&error));
                    return LogState::More;
                }
            };
            if page.lines.is_empty() {
                log.next = Some(page.next);
                return if page.finished { LogState::Over } else { LogState::Whole };
            }
            let request = logs::request(&self.host, &writer, &page.lines);
            if !self.signals[2].send(&self.settings, &request) {
                return LogState::Untaken;
            }
            log.next = Some(page.next);
        }
        LogState::More
    }
}

/// How far the log of an instance is sent.
enum LogState {
    /// All of it that there is.
    Whole,
    /// All of it, and nothing more is to come.
    Over,
    /// There is more, or it can't be told.
    More,
    /// The collector takes nothing.
    Untaken,
}
