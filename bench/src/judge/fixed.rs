//! The analyses of Flagger and Argo Rollouts with the numbers of their documentation: fixed thresholds at fixed intervals.

use hornero_judge::Tally;
use hornero_model::LatencyBucket;

/// An analysis that fails a candidate after a number of bad measurements.
pub struct FixedThresholds {
    pub who: &'static str,
    /// Seconds between two measurements, each of what came since the last.
    pub interval: u32,
    /// The least share of requests that go well.
    success: f64,
    /// The longest 99th percentile.
    latency_micros: Option<u64>,
    /// Bad measurements after which the candidate is taken back.
    bad_ones: u32,
}

/// The canary of the documentation ("How it works", "Metrics analysis"): each minute, at least 99 percent of requests that go
/// well and a 99th percentile of at most 500 ms; back after five bad minutes.
pub const FLAGGER: FixedThresholds = FixedThresholds {
    who: "Flagger",
    interval: 60,
    success: 0.99,
    latency_micros: Some(500_000),
    bad_ones: 5,
};

/// The background analysis of the documentation ("Analysis & Progressive Delivery"): each five minutes, at least 95 percent of
/// requests that go well; aborted after three bad measurements.
pub const ARGO_ROLLOUTS: FixedThresholds = FixedThresholds {
    who: "Argo Rollouts",
    interval: 300,
    success: 0.95,
    latency_micros: None,
    bad_ones: 3,
};

/// An analysis under way.
pub struct Analysis<'a> {
    rules: &'a FixedThresholds,
    last: Tally,
    bad: u32,
}

impl<'a> Analysis<'a> {
    pub fn new(rules: &'a FixedThresholds) -> Self {
        Self { rules, last: Tally::default(), bad: 0 }
    }

    /// Looks at the candidate at the end of a second; whether it is to be taken back.
    pub fn look(&mut self, second: u32, candidate: &Tally) -> bool {
        if !second.is_multiple_of(self.rules.interval) {
            return false;
        }
        let seen = candidate.since(&self.last);
        self.last = candidate.clone();
        let errors = seen.errors() as f64 / seen.requests.max(1) as f64;
        let slow = self.rules.latency_micros.is_some_and(|limit| {
            let percentile = seen.latency.quantile(0.99);
            percentile.is_some_and(|bucket| bucket > LatencyBucket::of_micros(limit))
        });
        if 1.0 - errors < self.rules.success || slow {
            self.bad += 1;
        }
        self.bad >= self.rules.bad_ones
    }
}
