//! Latencies in buckets that are at most 1/32 wide: percentiles within 3 % at a fixed size.

use std::time::Duration;

/// Buckets a power of two is divided into.
const STEPS: u64 = 32;
/// Powers of two above the first `STEPS` microseconds, which have a bucket each; together over an hour.
const POWERS: u64 = 28;

/// Counts of latencies, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (STEPS * (POWERS + 1)) as usize], count: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one latency; what is over the range counts as the largest.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let index = index_of(us).min(self.buckets.len() - 1);
        self.buckets[index] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The latency that `share` (0 to 1) of all stay within; zero where nothing was counted.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = (share.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(upper_bound(index as u64).min(self.max_us));
            }
        }
        self.max()
    }
}

fn index_of(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let power = u64::from(us.ilog2() - STEPS.ilog2());
    ((power + 1) * STEPS + ((us >> power) - STEPS)) as usize
}

fn upper_bound(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let (power, step) = (index / STEPS - 1, index % STEPS);
    ((STEPS + step + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_latency_is_in_its_bucket(us in 0..3_600_000_000_u64) {
            let index = index_of(us) as u64;
            prop_assert!(upper_bound(index) >= us);
            prop_assert!(index == 0 || upper_bound(index - 1) < us);
            prop_assert!((upper_bound(index) - us) as f64 <= us as f64 / 32.0 + 1.0);
        }
    }

    #[test]
    fn percentiles_of_a_known_row() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.99), Duration::ZERO);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let near = |share, us: f64| {
            let found = histogram.percentile(share).as_micros() as f64;
            assert!((found - us).abs() <= us / 32.0 + 1.0, "{share}: {found}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        near(1.0, 1000.0);
        near(0.0, 1.0);
        assert_eq!((histogram.count(), histogram.max()), (1000, Duration::from_millis(1)));
    }
}
