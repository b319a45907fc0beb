//! Active health: asks every backend, all the time, whether it keeps its contract.

mod check;
mod verdict;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::{Health, HealthContract};

use self::check::{Checker, Failed};
use crate::backend::Backend;

/// Shortest pause between two checks of a backend that is not up yet.
const QUICKEST: Duration = Duration::from_millis(1);
/// The pause grows with the time already waited, by this share: a server is found at most an eighth late.
const GROWTH: u32 = 8;
/// Pause and time-out where a pool has no contract.
const DEFAULT_SPAN: Duration = Duration::from_secs(1);
/// Failures in a row where a pool has no contract.
const DEFAULT_FAILURES: u32 = 3;
/// Longest pause after a check that this side had no files for.
const OWN_WANT_PAUSE: Duration = Duration::from_millis(100);
/// Told after every change of a health state or of a suspicion.
pub(crate) trait News {
    /// A health state changed.
    fn health_changed(&self);
    /// A backend can be used again.
    fn usable(&self);
}

/// The numbers of a contract.
struct Pace {
    interval: Duration,
    timeout: Duration,
    failures: u32,
    passes: u32,
}

impl Pace {
    fn of(contract: Option<&HealthContract>) -> Self {
        match contract {
            Some(contract) => Self {
                interval: contract.interval.duration(),
                timeout: contract.timeout.duration(),
                failures: contract.unhealthy_after,
                passes: contract.healthy_after,
            },
            None => Self {
                interval: DEFAULT_SPAN,
                timeout: DEFAULT_SPAN,
                failures: DEFAULT_FAILURES,
                passes: 1,
            },
        }
    }
}

/// What checks of a backend have come to.
struct Record<N> {
    backend: Arc<Backend>,
    pace: Pace,
    news: N,
    /// In a row.
    failures: u32,
    passes: u32,
    /// Since when it has not been as it should be; the pause grows from there.
    waiting_since: Instant,
}

impl<N: News> Record<N> {
    /// Takes the result of a check.
    fn take(&mut self, result: Result<(), String>) {
        let passed = result.is_ok();
        self.passes = if passed { (self.passes + 1).min(self.pace.passes) } else { 0 };
        let was_healthy = self.backend.health() == Health::Healthy;
        let awaited = passed && !was_healthy && self.passes < self.pace.passes;
        let reason = match result {
            Ok(()) if awaited => {
                Some(format!("passed {} of {} in a row", self.passes, self.pace.passes))
            }
            result => result.err(),
        };
        *self.backend.last_error.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        match (passed, awaited) {
            (true, true) => self.failures = 0,
            (true, false) => self.passed(was_healthy),
            (false, _) => self.failed(was_healthy),
        }
    }

    /// Enough checks in a row have passed.
    fn passed(&mut self, was_healthy: bool) {
        self.failures = 0;
        let suspect = self.backend.is_suspect();
        self.backend.clear_suspicion();
        if !was_healthy {
            self.backend.set_health(Health::Healthy);
            self.news.health_changed();
        }
        if suspect || !was_healthy {
            self.news.usable();
        }
    }

    fn failed(&mut self, was_healthy: bool) {
        self.failures += 1;
        if self.failures == 1 && was_healthy {
            self.waiting_since = Instant::now();
        }
        if was_healthy && self.failures >= self.pace.failures {
            self.backend.set_health(Health::Unhealthy);
            self.news.health_changed();
        }
    }

    /// Whether the backend is in doubt, so that the next check can't wait for its turn.
    fn is_doubted(&self) -> bool {
        self.backend.is_suspect() || self.backend.health() != Health::Healthy
    }

    /// How long to wait for the next check.
    fn pause(&self, passed: bool) -> Duration {
        let interval = self.pace.interval;
        match !passed && self.is_doubted() {
            true => (self.waiting_since.elapsed() / GROWTH).clamp(QUICKEST.min(interval), interval),
            false => interval,
        }
    }
}

/// Checks `backend` until the task is aborted.
pub(crate) async fn probe_for_ever(backend: Arc<Backend>, news: impl News) {
    let pace = Pace::of(backend.contract.as_ref());
    let check = backend.contract.as_ref().map(|contract| contract.check.clone());
    let mut checker =
        Checker::new(backend.address, check, pace.timeout, backend.health_proxy_protocol);
    let waiting_since = Instant::now();
    let mut record = Record { backend, pace, news, failures: 0, passes: 0, waiting_since };
    loop {
        let result = match checker.check(record.is_doubted()).await {
            Ok(()) => Ok(()),
            Err(Failed::Backend(reason)) => Err(reason),
            // Not asked, so not judged.
            Err(Failed::Own(reason)) => {
                tracing::warn!("can't check {}: {reason}", record.backend.address);
                tokio::time::sleep(record.pace.interval.min(OWN_WANT_PAUSE)).await;
                continue;
            }
        };
        let passed = result.is_ok();
        record.take(result);
        tokio::select! {
            () = tokio::time::sleep(record.pause(passed)) => {}
            () = record.backend.check_now.notified() => record.waiting_since = Instant::now(),
        }
    }
}
