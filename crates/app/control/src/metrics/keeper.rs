//! Looks at everything every few seconds, keeps what it saw, and has it for whoever asks.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hornero_api::message::ScrapeTarget;
use hornero_driver::Driver;
use hornero_engine_port::Engine;
use hornero_ledger::Ledger;
use hornero_model::{ServiceName, error_chain};
use hornero_telemetry::figures::{FigureLimits, FigureWriter, size_bytes};

use super::{
    seen::Seen,
    tally::{HomeTally, LedgerTally},
    targets::{self, TargetsFile},
};
use crate::input::Input;

/// Between two looks that are kept: a month of them takes a few megabytes for a dozen servers.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at where instances are scraped.
const TARGETS_INTERVAL: Duration = Duration::from_secs(1);
/// A look that is no older is new enough for whoever asks.
const FRESH: Duration = Duration::from_secs(1);
/// Rates are told from looks that are no longer apart.
const RATE_SPAN: Duration = Duration::from_secs(15);
/// Looks that are remembered for rates.
const REMEMBERED: usize = 16;
/// How long the thread that owns the driver may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// What is known of everything's figures.
pub struct Metrics {
    directory: PathBuf,
    engine: Arc<dyn Engine>,
    inputs: Sender<Input>,
    /// One look at a time.
    looks: Mutex<VecDeque<Arc<Seen>>>,
    tally: Mutex<LedgerTally>,
    /// Whether nobody takes questions any more.
    over: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Of a home, whose ledger's last event is `last`.
    pub fn new(
        home: &Path,
        engine: Arc<dyn Engine>,
        (ledger, last): (Arc<dyn Ledger>, u64),
        inputs: Sender<Input>,
    ) -> Self {
        let tally = Mutex::new(LedgerTally::after(ledger, last));
        let directory = home.join("metrics");
        let over = AtomicBool::new(false);
        Self { directory, engine, inputs, looks: Mutex::default(), tally, over }
    }

    /// Where figures are kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn ask<T: Send + 'static>(&self, look: fn(&Driver) -> T) -> Option<T> {
        let (sender, receiver) = sync_channel(1);
        let question = Box::new(move |driver: &Driver| {
            // Whoever asked may wait no more.
            let _ = sender.try_send(look(driver));
        });
        if self.inputs.send(Input::Ask(question)).is_err() {
            self.over.store(true, Ordering::Release);
            return None;
        }
        receiver.recv_timeout(ANSWER_BOUND).ok()
    }

    /// The last look and one a while before it; a new one where the last is not new any more. None where the driver does not
    /// answer in time. Blocks for as long as a look takes.
    pub fn look(&self) -> Option<(Arc<Seen>, Option<Arc<Seen>>)> {
        let mut looks = locked(&self.looks);
        if looks.back().is_none_or(|last| last.taken.elapsed() >= FRESH) {
            let mut seen = self.ask(Seen::of)?;
            seen.usage = self.engine.usage(&seen.running());
            let now = seen.taken;
            looks.push_back(Arc::new(seen));
            let is_old = |looks: &VecDeque<Arc<Seen>>| {
                looks.front().is_some_and(|first| now - first.taken > RATE_SPAN)
            };
            while looks.len() > REMEMBERED || is_old(&looks) {
                looks.pop_front();
            }
        }
        let before = (looks.len() > 1).then(|| looks.front().cloned()).flatten();
        looks.back().cloned().map(|last| (last, before))
    }

    /// What happened since the control process started.
    pub fn tally(&self, seen: &Seen) -> HomeTally {
        let mut tally = locked(&self.tally);
        let there = seen.services.iter().map(|service| &service.name).collect();
        tally.look(seen.last_sequence, &there);
        tally.tally.clone()
    }

    /// Where instances are scraped.
    pub fn targets(&self) -> Option<Vec<(ServiceName, ScrapeTarget)>> {
        self.ask(targets::targets)
    }

    /// What the kept figures take.
    pub fn size_bytes(&self) -> u64 {
        size_bytes(&self.directory)
    }
}

/// The thread that looks.
pub struct MetricsKeeper {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MetricsKeeper {
    /// Looks from now on.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            let mut keeping = Keeping::new(&metrics);
            while !told.load(Ordering::Acquire) && !metrics.over.load(Ordering::Acquire) {
                keeping.turn();
                std::thread::park_timeout(TARGETS_INTERVAL);
            }
        })?;
        Ok(Self { ended, thread })
    }

    /// Looks no more.
    pub fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

/// What the thread has between two turns.
struct Keeping<'m> {
    metrics: &'m Metrics,
    file: TargetsFile,
    writer: Option<FigureWriter>,
    next: Instant,
    /// Whether it was said that nothing can be kept.
    complained: bool,
    /// Whether the last look that was kept saw nothing.
    idle: bool,
}

impl<'m> Keeping<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        let file = TargetsFile::of(&metrics.directory);
        Self { metrics, file, writer: None, next: Instant::now(), complained: false, idle: false }
    }

    /// Looks, where it is time; what is not answered in time is asked again with the next turn.
    fn turn(&mut self) {
        if Instant::now() >= self.next {
            let Some((seen, _)) = self.metrics.look() else { return };
            self.next = Instant::now() + INTERVAL;
            self.metrics.tally(&seen);
            match self.keep(&seen) {
                Ok(()) => self.complained = false,
                Err(error) if self.complained => tracing::debug!("{}", error_chain(&error)),
                Err(error) => {
                    tracing::warn!("figures can't be kept: {}", error_chain(&error));
                    self.complained = true;
                }
            }
        }
        let Some(targets) = self.metrics.targets() else { return };
        // The directory is made with the first look that is kept.
        if self.writer.is_some() {
            let targets: Vec<ScrapeTarget> =
                targets.into_iter().map(|(_, target)| target).collect();
            self.file.hold(&targets);
        }
    }

    fn keep(&mut self, seen: &Seen) -> std::io::Result<()> {
        let figures = seen.figures();
        if self.writer.is_none() {
            let opened = FigureWriter::open(&self.metrics.directory, FigureLimits::default())?;
            self.writer = Some(opened);
        }
        match &mut self.writer {
            // That there is nothing is kept once, so that what comes then is known to begin.
            Some(writer) if !figures.is_empty() || !self.idle => {
                self.idle = figures.is_empty();
                writer.append(seen.at, &figures)
            }
            Some(_) | None => Ok(()),
        }
    }
}
