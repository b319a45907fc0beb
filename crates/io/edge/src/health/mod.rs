//! Active health: asks every backend, all the time, whether it keeps its contract.

mod check;
mod verdict;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::{Health, HealthContract};

use self::check::{Checker, Failed};
use crate::table::Backend;

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
}

impl Pace {
    fn of(contract: Option<&HealthContract>) -> Self {
        match contract {
            Some(contract) => Self {
                interval: contract.interval.duration(),
                timeout: contract.timeout.duration(),
                failures: contract.unhealthy_after,
            },
            None => {
                Self { interval: DEFAULT_SPAN, timeout: DEFAULT_SPAN, failures: DEFAULT_FAILURES }
            }
        }
    }
}

/// Checks `backend` until the task is aborted.
pub(crate) async fn probe_for_ever(backend: Arc<Backend>, news: impl News) {
    let pace = Pace::of(backend.contract.as_ref());
    let mut failures = 0;
    // Since when it has not been as it should be; the pause grows from there.
    let mut waiting_since = Instant::now();
    let check = backend.contract.as_ref().map(|contract| contract.check.clone());
    let mut checker = Checker::new(backend.address, check, pace.timeout);
    loop {
        let doubted = backend.is_suspect() || backend.health() != Health::Healthy;
        let result = match checker.check(doubted).await {
            Ok(()) => Ok(()),
            Err(Failed::Backend(reason)) => Err(reason),
            // Not asked, so not judged.
            Err(Failed::Own(reason)) => {
                tracing::warn!("can't check {}: {reason}", backend.address);
                tokio::time::sleep(pace.interval.min(OWN_WANT_PAUSE)).await;
                continue;
            }
        };
        let healthy = result.is_ok();
        *backend.last_error.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        let before = backend.health();
        if healthy {
            failures = 0;
            let suspect = backend.is_suspect();
            backend.clear_suspicion();
            if before != Health::Healthy {
                backend.set_health(Health::Healthy);
                news.health_changed();
            }
            if suspect || before != Health::Healthy {
                news.usable();
            }
        } else {
            failures += 1;
            if failures == 1 && before == Health::Healthy {
                waiting_since = Instant::now();
            }
            if before == Health::Healthy && failures >= pace.failures {
                backend.set_health(Health::Unhealthy);
                news.health_changed();
            }
        }
        let quick = !healthy && (backend.is_suspect() || backend.health() != Health::Healthy);
        let pause = match quick {
            true => {
                (waiting_since.elapsed() / GROWTH).clamp(QUICKEST.min(pace.interval), pace.interval)
            }
            false => pace.interval,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = backend.check_now.notified() => waiting_since = Instant::now(),
        }
    }
}
