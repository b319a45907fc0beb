//! What came of a load.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Mode;

/// What came of a load, so far or in the end. Times are milliseconds since its start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// When it started, in milliseconds since the Unix epoch.
    pub started_unix_ms: f64,
    /// How long it ran.
    pub elapsed_ms: f64,
    /// Requests started.
    pub started: u64,
    /// Requests that got a whole answer of status 200 to 399.
    pub ok: u64,
    /// All others. `started` is `ok` and `failed` and, in a report of a load that still runs, those in flight.
    pub failed: u64,
    /// By the way they were made.
    pub modes: BTreeMap<Mode, ModeReport>,
    /// The first failures.
    pub failures: Vec<LoadFailure>,
    /// The markers seen, in the order in which they were first seen.
    pub markers: Vec<MarkerReport>,
}

/// What came of the requests of one mode.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ModeReport {
    /// Requests started.
    pub started: u64,
    /// Requests that got a whole answer of status 200 to 399.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections opened.
    pub connections: u64,
    /// Of the completed ones.
    pub latency: Latency,
}

/// Latencies in milliseconds, within 0.1 %.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latency {
    /// Half stay within this.
    pub p50_ms: f64,
    /// 90 of 100 stay within this.
    pub p90_ms: f64,
    /// 99 of 100 stay within this.
    pub p99_ms: f64,
    /// 999 of 1000 stay within this.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Latency {
    pub(crate) fn of(latencies_us: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        let within = |share| ms(latencies_us.value_at_quantile(share));
        Self {
            p50_ms: within(0.5),
            p90_ms: within(0.9),
            p99_ms: within(0.99),
            p999_ms: within(0.999),
            max_ms: ms(latencies_us.max()),
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadFailure {
    /// When it failed.
    pub at_ms: f64,
    /// How it was made.
    pub mode: Mode,
    /// Why, for people.
    pub reason: String,
}

/// Requests that were answered with one marker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MarkerReport {
    /// The marker.
    pub marker: String,
    /// When the first of them ended.
    pub first_seen_ms: f64,
    /// When the last of them was started: from here on every new request saw another marker.
    pub last_started_ms: f64,
    /// How many.
    pub count: u64,
}

impl LoadReport {
    /// The marker as it was seen.
    pub fn marker(&self, marker: &str) -> Option<&MarkerReport> {
        self.markers.iter().find(|seen| seen.marker == marker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_row() {
        let mut latencies_us = Histogram::new(3).unwrap();
        assert_eq!(Latency::of(&latencies_us), Latency::default());
        for us in 1..=100_000 {
            latencies_us.record(us).unwrap();
        }
        let found = Latency::of(&latencies_us);
        let all = [found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms];
        for (found_ms, ms) in all.into_iter().zip([50.0, 90.0, 99.0, 99.9, 100.0]) {
            assert!((found_ms - ms).abs() <= ms / 1e3, "{found_ms} instead of {ms}");
        }
    }
}
