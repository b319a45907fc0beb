//! What a release did, and what two releases did over the same time.

use hornero_model::{LatencyHistogram, ReleaseCounters, ReleaseNumber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Readings;

/// What one release did, since the edge first knew it or over a window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Requests that have ended, one way or another.
    pub requests: u64,
    /// Those without an answer of the release: refused, broken, timed out, cut off.
    pub failed: u64,
    /// Answers with a status of 500 or more.
    pub server_errors: u64,
    /// How long answers took to begin.
    pub latency: LatencyHistogram,
}

impl Tally {
    /// What the edge counted for a release in all its pools together.
    pub fn of<'a>(counters: impl IntoIterator<Item = &'a ReleaseCounters>) -> Self {
        let mut tally = Self::default();
        for of_pool in counters {
            tally.merge(&Self {
                requests: of_pool.requests.saturating_sub(of_pool.in_flight),
                failed: of_pool.failed,
                server_errors: of_pool.server_errors,
                latency: of_pool.latency.clone(),
            });
        }
        tally
    }

    /// What came of the edges' own requests to a release, in all its pools together.
    pub fn of_probes<'a>(counters: impl IntoIterator<Item = &'a ReleaseCounters>) -> Self {
        let mut tally = Self::default();
        for probes in counters.into_iter().filter_map(|counters| counters.probes.as_deref()) {
            tally.merge(&Self {
                requests: probes.requests,
                failed: probes.failed,
                server_errors: probes.server_errors,
                latency: probes.latency.clone(),
            });
        }
        tally
    }

    /// Adds another one: that of another pool or edge.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.latency.merge(&other.latency);
    }

    /// What happened after `earlier`, an older reading of the same counters. Where counting began anew in between,
    /// because the edge was killed, that is all that was counted since.
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = || {
            Some(Self {
                requests: self.requests.checked_sub(earlier.requests)?,
                failed: self.failed.checked_sub(earlier.failed)?,
                server_errors: self.server_errors.checked_sub(earlier.server_errors)?,
                latency: self.latency.since(&earlier.latency)?,
            })
        };
        difference().unwrap_or_else(|| self.clone())
    }

    /// Requests that did not go well. One can count twice: its answer began as a server error, then broke off.
    pub fn errors(&self) -> u64 {
        self.failed.saturating_add(self.server_errors).min(self.requests)
    }
}

/// Two releases that get requests at the same time, in shares that do not change while they are compared.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The release that serves.
    pub baseline: (ReleaseNumber, &'a Tally),
    /// The one that may take its place.
    pub candidate: (ReleaseNumber, &'a Tally),
    /// How long the baseline's answers took before the window began: from this come the percentiles that both are
    /// held against. Where it is thin, they come from the window itself.
    pub before: &'a LatencyHistogram,
    /// How long answers of both took in the window, as read again and again while it goes on.
    pub readings: &'a Readings,
}
