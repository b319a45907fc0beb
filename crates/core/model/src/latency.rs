//! How long requests took: counts in fixed, log-spaced buckets, which add up and subtract without loss.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span of latencies, numbered from the shortest: whole microseconds up to 15, then eight buckets for each doubling, so
/// that none is wider than an eighth of where it begins. The last one begins at 4.5 hours.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct LatencyBucket(u8);

/// Buckets for each doubling, as a power of two.
const STEPS_LOG2: u32 = 3;

impl LatencyBucket {
    /// How many there are.
    pub const COUNT: usize = 256;

    /// All of them, from the shortest.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The bucket of a latency in microseconds; what is longer than all buckets is in the last.
    pub const fn of_micros(micros: u64) -> Self {
        let Some(octave) = micros.checked_ilog2() else { return Self(0) };
        let Some(shift) = octave.checked_sub(STEPS_LOG2) else { return Self(micros as u8) };
        let bucket = ((shift as u64) << STEPS_LOG2) + (micros >> shift);
        if bucket >= Self::COUNT as u64 { Self(u8::MAX) } else { Self(bucket as u8) }
    }

    /// The first latency after this bucket, in microseconds.
    pub const fn end_micros(self) -> u64 {
        let next = self.0 as u64 + 1;
        match (next >> STEPS_LOG2).checked_sub(1) {
            None => next,
            Some(shift) => ((1 << STEPS_LOG2) + next % (1 << STEPS_LOG2)) << shift,
        }
    }

    /// The last bucket that has ended by a latency in microseconds; the first one where none has.
    pub const fn ended_by(micros: u64) -> Self {
        Self::of_micros(micros).before()
    }

    /// The bucket before this one; the first one is before itself.
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Its place among all buckets, less than [`Self::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Latencies of requests: how many fell into each bucket. What is kept and sent is only what is not 0, as pairs of bucket and
/// count: numbers can't be names of fields in every place where JSON is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<(LatencyBucket, u64)>", into = "Vec<(LatencyBucket, u64)>")]
pub struct LatencyHistogram(BTreeMap<LatencyBucket, u64>);

impl LatencyHistogram {
    /// Counts one latency, in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.add(LatencyBucket::of_micros(micros), 1);
    }

    /// Counts `count` latencies of one bucket.
    pub fn add(&mut self, bucket: LatencyBucket, count: u64) {
        if count > 0 {
            let sum = self.0.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            self.add(*bucket, *count);
        }
    }

    /// What was counted after `earlier`, an older reading of the same counts; none where it is no such reading, because
    /// counting began anew in between.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut rest = self.clone();
        for (bucket, before) in &earlier.0 {
            let count = rest.0.get_mut(bucket)?;
            *count = count.checked_sub(*before)?;
        }
        rest.0.retain(|_, count| *count > 0);
        Some(rest)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many fell into each bucket, of those into which any did, from the shortest.
    pub fn counts(&self) -> impl Iterator<Item = (LatencyBucket, u64)> {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// How many took longer than all of a bucket.
    pub fn count_over(&self, bucket: LatencyBucket) -> u64 {
        use std::ops::Bound::{Excluded, Unbounded};
        let over = self.0.range((Excluded(bucket), Unbounded));
        over.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The first bucket that at most a share of `1 - quantile` is over (0.99: the 99th percentile); none while empty.
    pub fn quantile(&self, quantile: f64) -> Option<LatencyBucket> {
        let may_be_over = self.count() as f64 * (1.0 - quantile);
        let mut over = 0_u64;
        let from_the_last = self.0.iter().rev().take_while(|(_, count)| {
            let before = over;
            over = over.saturating_add(**count);
            before as f64 <= may_be_over
        });
        from_the_last.last().map(|(bucket, _)| *bucket)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<(LatencyBucket, u64)>> for LatencyHistogram {
    fn from(counts: Vec<(LatencyBucket, u64)>) -> Self {
        let mut histogram = Self::default();
        counts.into_iter().for_each(|(bucket, count)| histogram.add(bucket, count));
        histogram
    }
}

impl From<LatencyHistogram> for Vec<(LatencyBucket, u64)> {
    fn from(histogram: LatencyHistogram) -> Self {
        histogram.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_up_to_the_last() {
        let mut begin = 0;
        for index in 0..=u8::MAX {
            let bucket = LatencyBucket(index);
            let end = bucket.end_micros();
            assert_eq!(LatencyBucket::of_micros(begin), bucket);
            assert_eq!(LatencyBucket::of_micros(end - 1), bucket);
            assert_eq!(LatencyBucket::ended_by(end), LatencyBucket(index.min(u8::MAX - 1)));
            assert!(end - begin <= (begin / 8).max(1), "{begin} to {end}");
            begin = end;
        }
        assert_eq!(LatencyBucket::of_micros(u64::MAX), LatencyBucket(u8::MAX));
    }

    #[test]
    fn json_has_only_what_was_counted() {
        let mut histogram = LatencyHistogram::default();
        for micros in [0, 5, 5, 1_000_000] {
            histogram.record(micros);
        }
        let json = serde_json::to_string(&histogram).unwrap();
        assert_eq!(json, "[[0,1],[5,2],[143,1]]");
        assert_eq!(serde_json::from_str::<LatencyHistogram>(&json).unwrap(), histogram);
        for wrong in ["[[256,1]]", "[[-1,1]]", "[[1,-1]]", "[[1]]", "{}"] {
            assert!(serde_json::from_str::<LatencyHistogram>(wrong).is_err(), "{wrong}");
        }
    }

    fn histogram(latencies: &[u64]) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        latencies.iter().for_each(|micros| histogram.record(*micros));
        histogram
    }

    proptest! {
        #[test]
        fn a_window_is_the_difference_of_two_readings(
            before in prop::collection::vec(0u64..10_000_000, 0..50),
            after in prop::collection::vec(0u64..10_000_000, 0..50),
        ) {
            let (first, window) = (histogram(&before), histogram(&after));
            let mut second = first.clone();
            second.merge(&window);
            prop_assert_eq!(second.since(&first), Some(window.clone()));
            prop_assert_eq!(second.count(), (before.len() + after.len()) as u64);
            prop_assert_eq!(first.since(&second).is_some(), window.is_empty());
        }

        #[test]
        fn a_quantile_has_its_share_above_it_and_not_below(
            mut latencies in prop::collection::vec(0u64..10_000_000, 1..200),
            quantile in 0.0f64..1.0,
        ) {
            let bucket = histogram(&latencies).quantile(quantile).unwrap();
            latencies.sort_unstable();
            let over = latencies.iter().filter(|micros| **micros >= bucket.end_micros()).count();
            let share = (1.0 - quantile) * latencies.len() as f64;
            prop_assert!(over as f64 <= share);
            let inside = latencies.iter().filter(|micros| LatencyBucket::of_micros(**micros) == bucket);
            prop_assert!((over + inside.count()) as f64 > share);
        }
    }
}
