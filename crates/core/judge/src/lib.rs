//! Whether a new release does worse than the one that serves, from what the edge counted of both over the same time.
//!
//! [`judge`] can be asked after every request; its error bound ([`JudgeSettings::alpha`]) holds all the same, see `evidence`. It
//! looks at three measures: errors, the median and the 99th percentile of the latencies. One that is worse makes the whole
//! worse; all have to be within what is tolerated for the same or better. Slow answers that come in bursts count as what they
//! are, few draws and not many: see `readings`.

mod evidence;
mod finding;
mod readings;
mod settings;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use finding::Finding;
pub use readings::Readings;
pub use settings::{JudgeSettings, Tolerance};
pub use tally::{Comparison, Tally};
pub use verdict::{Measure, Verdict};

/// A verdict, and what it follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// One for each measure that is known.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Why the verdict is what it is, for people: of the findings those that decide.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let decides = |finding: &&Finding| finding.verdict == self.verdict;
        self.findings.iter().filter(decides).map(|finding| finding.reason.as_str())
    }
}

/// Compares a candidate with the release that serves. Pure: the same counts give the same verdict.
pub fn judge(comparison: &Comparison<'_>, settings: &JudgeSettings) -> Judgement {
    let settings = &settings.sane();
    let findings: Vec<Finding> = [
        Some(finding::errors(comparison, settings)),
        finding::latency(Measure::TailLatency, 0.99, comparison, settings),
        finding::latency(Measure::MedianLatency, 0.5, comparison, settings),
    ]
    .into_iter()
    .flatten()
    .collect();
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let verdict = if any(Verdict::Worse) {
        Verdict::Worse
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else if any(Verdict::Better) {
        Verdict::Better
    } else {
        Verdict::Same
    };
    Judgement { verdict, findings }
}
