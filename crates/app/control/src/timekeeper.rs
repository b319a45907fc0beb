//! Keeps the time: has what comes round look when it is due, and do it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use hornero_calendar::Schedule;
use hornero_model::{CronLine, Timestamp};

/// Between two looks at most: the host's clock may jump.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks at least, also where the ledger takes nothing.
const SHORTEST: Duration = Duration::from_millis(50);

/// Something that comes round.
pub trait ComesRound: Send {
    /// Does what is due, and says how long it can wait from then on; none where the control process ends.
    fn look(&mut self, lines: &mut CronLines, now: Timestamp) -> Option<Duration>;
}

/// Has the time keeper look at once, as when something was declared.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Mutex<Option<Thread>>>);

impl Wake {
    /// Has it look.
    pub fn wake(&self) {
        if let Some(keeper) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            keeper.unpark();
        }
    }
}

/// Keeps the time until it is told to stop.
pub struct TimeKeeper {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Keeps the time from now on.
pub fn keep(wake: &Wake, mut timed: Vec<Box<dyn ComesRound>>) -> std::io::Result<TimeKeeper> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let thread = std::thread::Builder::new().name("time".to_owned()).spawn(move || {
        let mut lines = CronLines::default();
        while !told.load(Ordering::Acquire) {
            let mut pause = LONGEST;
            for one in &mut timed {
                let Some(wait) = one.look(&mut lines, Timestamp::now()) else { return };
                pause = pause.min(wait);
            }
            std::thread::park_timeout(pause.max(SHORTEST));
        }
    })?;
    *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread.thread().clone());
    Ok(TimeKeeper { ended, thread })
}

impl TimeKeeper {
    /// Begins no more; what has begun goes on.
    pub fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

/// Lines of cron that were read.
#[derive(Debug, Default)]
pub struct CronLines(BTreeMap<(String, String), Option<Schedule>>);

impl CronLines {
    /// A line, where it can be read.
    pub fn of(&mut self, line: &CronLine) -> Option<&Schedule> {
        let key = (line.line.clone(), line.timezone.clone());
        let read = self.0.entry(key).or_insert_with(|| {
            // It was read when it was declared; a later version may know a zone no more.
            Schedule::new(&line.line, &line.timezone)
                .inspect_err(|error| tracing::warn!("a schedule can't be read: {error}"))
                .ok()
        });
        read.as_ref()
    }
}
