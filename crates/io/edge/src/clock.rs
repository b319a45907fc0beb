//! A thread's clock: read once a tick, so that no request asks the kernel for the time.

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime},
};

use crate::date::{DATE_BYTES, http_date};

/// How exact deadlines are; each connection's is looked at this often.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The time as a thread knows it.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    now_ms: Cell<u64>,
    date: Cell<[u8; DATE_BYTES]>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            now_ms: Cell::new(0),
            date: Cell::new(http_date(SystemTime::now())),
        }
    }

    /// Milliseconds since the thread began, as exact as a tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The date for answers, as exact as a tick.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        self.date.get()
    }

    /// The point in time `span` from now, as a slot's deadline.
    pub(crate) fn deadline_ms(&self, span: Duration) -> u64 {
        self.now_ms.get().saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads the time anew; gives the milliseconds.
    pub(crate) fn tick(&self) -> u64 {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        self.date.set(http_date(SystemTime::now()));
        now_ms
    }
}
