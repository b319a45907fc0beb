//! The counters that all workers of a load write to.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;

use crate::{
    Mode,
    report::{Latency, LoadFailure, LoadReport, MarkerReport, ModeReport},
};

/// Failures kept with their reasons: enough to see a pattern, bounded when everything fails.
const FAILURES_KEPT: usize = 20;
/// Markers told apart; more than the releases of the longest soak.
const MARKERS_KEPT: usize = 1024;

/// A completed request.
pub(crate) struct RequestOutcome {
    pub(crate) status: u16,
    pub(crate) marker: Option<String>,
}

/// Longest latency told apart, an hour; a longer one counts as this.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Significant digits of a latency: percentiles are within 0.1 %.
const LATENCY_DIGITS: u8 = 3;

struct ModeCounts {
    report: ModeReport,
    latencies_us: Histogram<u64>,
}

impl Default for ModeCounts {
    fn default() -> Self {
        let latencies_us = Histogram::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS)
            .expect("an hour and three digits are within a histogram's bounds");
        Self { report: ModeReport::default(), latencies_us }
    }
}

#[derive(Default)]
struct Counts {
    modes: BTreeMap<Mode, ModeCounts>,
    failures: Vec<LoadFailure>,
    markers: Vec<MarkerReport>,
}

/// Counts requests; shared by all workers.
pub(crate) struct Recorder {
    began: Instant,
    began_unix_ms: f64,
    counts: Mutex<Counts>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_unix_ms = since.as_secs_f64() * 1e3;
        Self { began: Instant::now(), began_unix_ms, counts: Mutex::default() }
    }

    pub(crate) fn connected(&self, mode: Mode) {
        self.lock().modes.entry(mode).or_default().report.connections += 1;
    }

    /// Counts a request as started; [`Recorder::ended`] must follow.
    pub(crate) fn started(&self, mode: Mode) {
        self.lock().modes.entry(mode).or_default().report.started += 1;
    }

    /// Counts how a started request ended: `due` is when it should have started, `begun` when it did.
    pub(crate) fn ended(
        &self,
        mode: Mode,
        due: Instant,
        begun: Instant,
        result: Result<RequestOutcome, String>,
    ) {
        let now_ms = self.since_start(Instant::now());
        let begun_ms = self.since_start(begun);
        let mut counts = self.lock();
        let Counts { modes, failures, markers } = &mut *counts;
        let of_mode = modes.entry(mode).or_default();
        let reason = match result {
            Ok(outcome) => {
                *of_mode.report.statuses.entry(outcome.status).or_default() += 1;
                if let Some(marker) = outcome.marker {
                    see(markers, marker, now_ms, begun_ms);
                }
                if (200..400).contains(&outcome.status) {
                    of_mode.report.ok += 1;
                    let latency_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                    of_mode.latencies_us.saturating_record(latency_us);
                    return;
                }
                format!("status {}", outcome.status)
            }
            Err(reason) => reason,
        };
        of_mode.report.failed += 1;
        if failures.len() < FAILURES_KEPT {
            failures.push(LoadFailure { at_ms: now_ms, mode, reason });
        }
    }

    pub(crate) fn report(&self) -> LoadReport {
        let counts = self.lock();
        let modes: BTreeMap<_, _> = counts
            .modes
            .iter()
            .map(|(mode, of_mode)| {
                let latency = Latency::of(&of_mode.latencies_us);
                (*mode, ModeReport { latency, ..of_mode.report.clone() })
            })
            .collect();
        let sum = |field: fn(&ModeReport) -> u64| modes.values().map(field).sum();
        LoadReport {
            started_unix_ms: self.began_unix_ms,
            elapsed_ms: self.since_start(Instant::now()),
            started: sum(|mode| mode.started),
            ok: sum(|mode| mode.ok),
            failed: sum(|mode| mode.failed),
            failures: counts.failures.clone(),
            markers: counts.markers.clone(),
            modes,
        }
    }

    fn since_start(&self, when: Instant) -> f64 {
        when.saturating_duration_since(self.began).as_secs_f64() * 1e3
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters are whole after every statement, also when a worker panicked.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn see(markers: &mut Vec<MarkerReport>, marker: String, now_ms: f64, begun_ms: f64) {
    if let Some(seen) = markers.iter_mut().find(|seen| seen.marker == marker) {
        seen.count += 1;
        seen.last_started_ms = seen.last_started_ms.max(begun_ms);
    } else if markers.len() < MARKERS_KEPT {
        markers.push(MarkerReport {
            marker,
            first_seen_ms: now_ms,
            last_started_ms: begun_ms,
            count: 1,
        });
    }
}
