//! How sure the judge has to be, and what it lets pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How sure the judge has to be, and what it lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JudgeSettings {
    /// The error bound, between 0 and 1: a release that does no worse is called worse at most this often, and one that
    /// does worse than tolerated is called the same or better at most this often, however often it is asked.
    pub alpha: f64,
    /// Requests of each release before it may be called the same or better; worse needs no minimum.
    pub minimum_requests: u64,
    /// Differences that don't count.
    pub tolerance: Tolerance,
}

/// Differences that don't count: the candidate is the same once they are ruled out. It is worse once it certainly does worse
/// and, as far as it was seen, by more than a quarter of them, in latencies by more than the pause.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tolerance {
    /// Errors more for each request, between 0 and 1.
    pub errors: f64,
    /// How much longer than the baseline's a percentile of the latencies may be, for each unit of time (0.5: half as long
    /// again). Latencies are known to an eighth.
    pub slowdown: f64,
    /// How much longer than the baseline's it may be in any case, in microseconds: what answers within a millisecond is not
    /// worse because its processes are younger.
    pub pause_micros: u64,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self { alpha: 0.01, minimum_requests: 100, tolerance: Tolerance::default() }
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { errors: 0.005, slowdown: 0.5, pause_micros: 5_000 }
    }
}

impl JudgeSettings {
    /// Settings for each of a number of windows, such as the steps of a canary, so that the bound is that of all together.
    pub fn for_each_of(self, windows: u32) -> Self {
        Self { alpha: self.alpha / f64::from(windows.max(1)), ..self }
    }
}

/// The longest pause that can be tolerated.
const A_MINUTE_MICROS: u64 = 60_000_000;

/// What part of the tolerance has to be seen for a candidate to be worse.
pub(crate) const SEEN_PART: f64 = 0.25;

impl JudgeSettings {
    /// The same without what no bound or tolerance can be; what is no number stands for 0, with which nothing is certain.
    pub(crate) fn sane(self) -> Self {
        let within = |value: f64, most| if value > 0.0 { value.min(most) } else { 0.0 };
        let Tolerance { errors, slowdown, pause_micros } = self.tolerance;
        let tolerance = Tolerance {
            errors: within(errors, 0.5),
            slowdown: within(slowdown, 100.0),
            pause_micros: pause_micros.min(A_MINUTE_MICROS),
        };
        Self { alpha: within(self.alpha, 1.0), tolerance, ..self }
    }
}
