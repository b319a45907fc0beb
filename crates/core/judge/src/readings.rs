//! Whether slow answers come in bursts, from readings of the same counters one after another.
//!
//! A pause of the host makes dozens of answers slow at once. They tell no more than one of them, and who takes each for a
//! draw of its own finds a release slower that was only unlucky with its pauses.

use hornero_model::{LatencyBucket, LatencyHistogram, Millis, Timestamp};

/// How long answers took in a window, read several times while it went on: at most thirty-two readings, evenly spread.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings {
    kept: Vec<Reading>,
    /// The least time between two that are kept.
    gap: Millis,
}

/// What was counted in a window up to a moment.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    at: Timestamp,
    baseline: Slow,
    candidate: Slow,
}

/// How many answers took longer than what: latencies added up from the longest, to be asked for one limit after another.
#[derive(Debug, Clone, PartialEq)]
struct Slow {
    all: u64,
    /// Each bucket in which there are some, from the shortest, and how many are in it or in longer ones.
    from: Vec<(LatencyBucket, u64)>,
}

impl Slow {
    fn of(latencies: &LatencyHistogram) -> Self {
        let mut from: Vec<(LatencyBucket, u64)> = latencies.counts().collect();
        let mut all = 0_u64;
        for (_, count) in from.iter_mut().rev() {
            all = all.saturating_add(*count);
            *count = all;
        }
        Self { all, from }
    }

    fn over(&self, bucket: LatencyBucket) -> u64 {
        let longer = self.from.partition_point(|(begin, _)| *begin <= bucket);
        self.from.get(longer).map_or(0, |(_, count)| *count)
    }
}

/// How many readings are kept; with one more every second one is forgotten.
const KEPT: usize = 32;
/// The least time between two readings at first: what is read within one pause is no second piece of evidence.
const FIRST_GAP: Millis = Millis(250);
/// How many stretches there have to be at least to say anything.
const ENOUGH_STRETCHES: usize = 4;
/// How many there have to be for some of them to be taken together: bursts may be longer than the time between two readings.
const ENOUGH_TOGETHER: usize = 8;

impl Readings {
    /// Takes in a reading: what the release that serves and the candidate counted since the window began. One that comes
    /// too soon after the last is left out; one that counts less than the last was made by another edge, and all begins anew. A clock
    /// that was put back hides nothing.
    pub fn take(
        &mut self,
        at: Timestamp,
        (baseline, candidate): (&LatencyHistogram, &LatencyHistogram),
    ) {
        let gap = self.gap.max(FIRST_GAP);
        let (baseline, candidate) = (Slow::of(baseline), Slow::of(candidate));
        if let Some(last) = self.kept.last() {
            if baseline.all < last.baseline.all || candidate.all < last.candidate.all {
                *self = Self::default();
            } else if at >= last.at && at < last.at.after(gap) {
                return;
            }
        }
        self.kept.push(Reading { at, baseline, candidate });
        if self.kept.len() > KEPT {
            let mut odd = false;
            self.kept.retain(|_| {
                odd = !odd;
                !odd
            });
            self.gap = Millis(gap.0.saturating_mul(2));
        }
    }

    /// By how much the shares of answers that took longer than `bucket` vary more from one stretch of time to the next than
    /// they would if each answer were slow or not by itself (their dispersion): about as many as are slow at a time. At least
    /// 1; none while there are too few readings to tell.
    ///
    /// Pearson's statistic for each release over its degrees of freedom (McCullagh, Nelder, "Generalized Linear Models", 2nd
    /// edition, 4.5), weighted by what it adds to the variance of the difference; the largest found in stretches of one, two
    /// and four readings.
    pub(crate) fn dispersion(&self, bucket: LatencyBucket) -> Option<f64> {
        if self.kept.len() < ENOUGH_STRETCHES {
            return None;
        }
        let lengths = [1, 2, 4]
            .into_iter()
            .filter(|length| *length == 1 || self.kept.len() / length >= ENOUGH_TOGETHER);
        let found = lengths.map(|length| {
            let of = |latencies: fn(&Reading) -> &Slow| {
                dispersion(&self.stretches(length, bucket, latencies))
            };
            let (baseline, candidate) = (of(|kept| &kept.baseline), of(|kept| &kept.candidate));
            let weight = |answers: f64| if answers > 0.0 { 1.0 / answers } else { 0.0 };
            let weights = (weight(baseline.1), weight(candidate.1));
            let sum = weights.0 + weights.1;
            if sum > 0.0 { (baseline.0 * weights.0 + candidate.0 * weights.1) / sum } else { 1.0 }
        });
        Some(found.fold(1.0, f64::max))
    }

    /// How many answers took longer than `bucket`, and how many there were, in each stretch of `length` readings.
    fn stretches(
        &self,
        length: usize,
        bucket: LatencyBucket,
        latencies: fn(&Reading) -> &Slow,
    ) -> Vec<(f64, f64)> {
        let counted = |reading: &Reading| {
            let latencies = latencies(reading);
            (latencies.over(bucket), latencies.all)
        };
        let ends = self.kept.iter().skip(length - 1).step_by(length).map(counted);
        let mut before = (0, 0);
        ends.map(|(slow, all)| {
            let stretch = (slow.saturating_sub(before.0), all.saturating_sub(before.1));
            before = (slow, all);
            (stretch.0 as f64, stretch.1 as f64)
        })
        .filter(|(_, all)| *all > 0.0)
        .collect()
    }
}

/// The dispersion of shares, and of how many they are in all.
fn dispersion(stretches: &[(f64, f64)]) -> (f64, f64) {
    let (hits, all) =
        stretches.iter().fold((0.0, 0.0), |sum, stretch| (sum.0 + stretch.0, sum.1 + stretch.1));
    let share = if all > 0.0 { hits / all } else { 0.0 };
    let variance = share * (1.0 - share);
    if variance <= 0.0 || stretches.len() < 2 {
        return (1.0, all);
    }
    let statistic: f64 =
        stretches.iter().map(|(hits, all)| (hits - all * share).powi(2) / (all * variance)).sum();
    ((statistic / (stretches.len() - 1) as f64).max(1.0), all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAST: LatencyBucket = LatencyBucket::of_micros(1_000);

    /// Readings of stretches of so many fast and slow answers of each release, a second each.
    fn readings(stretches: &[[u64; 4]]) -> Readings {
        let mut readings = Readings::default();
        let mut sums = [LatencyHistogram::default(), LatencyHistogram::default()];
        for (second, [fast, slow, candidate_fast, candidate_slow]) in stretches.iter().enumerate() {
            for (sum, (fast, slow)) in
                sums.iter_mut().zip([(fast, slow), (candidate_fast, candidate_slow)])
            {
                sum.add(FAST, *fast);
                sum.add(LatencyBucket::of_micros(50_000), *slow);
            }
            readings.take(Timestamp(1_000 * second as u64), (&sums[0], &sums[1]));
        }
        readings
    }

    #[test]
    fn nothing_is_said_of_three_readings() {
        assert_eq!(readings(&[[100, 1, 10, 0]; 3]).dispersion(FAST), None);
        assert_eq!(readings(&[[100, 1, 10, 0]; 4]).dispersion(FAST), Some(1.0));
        assert_eq!(Readings::default().dispersion(FAST), None);
        assert_eq!(readings(&[[0; 4]; 9]).dispersion(FAST), Some(1.0));
    }

    #[test]
    fn slow_answers_that_come_at_once_count_as_about_one() {
        let mut stretches = vec![[400, 4, 100, 1]; 30];
        stretches[7] = [400, 4, 60, 40];
        let burst = readings(&stretches).dispersion(FAST).unwrap();
        assert!(burst > 15.0, "{burst}");
        // As many, evenly spread.
        let spread = readings(&[[400, 4, 98, 2]; 30]).dispersion(FAST).unwrap();
        assert!(spread < 1.01, "{spread}");
    }

    #[test]
    fn a_burst_longer_than_the_time_between_two_readings_is_seen_whole() {
        let mut stretches = vec![[400, 4, 99, 1]; 32];
        let one = {
            stretches[8] = [400, 4, 80, 20];
            readings(&stretches).dispersion(FAST).unwrap()
        };
        stretches[9..12].fill([400, 4, 80, 20]);
        let four = readings(&stretches).dispersion(FAST).unwrap();
        assert!(four > 2.0 * one, "{one} {four}");
    }

    #[test]
    fn another_edge_begins_anew() {
        let mut seen = readings(&[[100, 1, 10, 0]; 9]);
        let less = LatencyHistogram::default();
        seen.take(Timestamp(60_000), (&less, &less));
        assert_eq!(seen.kept.len(), 1);
    }

    proptest! {
        #[test]
        fn however_many_come_few_are_kept_and_dispersion_is_a_number(
            stretches in prop::collection::vec(prop::array::uniform4(0_u64..50), 0..300)
        ) {
            let readings = readings(&stretches);
            prop_assert!(readings.kept.len() <= KEPT);
            prop_assert!(stretches.len() < KEPT || readings.kept.len() >= KEPT / 2 - 1);
            if let Some(dispersion) = readings.dispersion(FAST) {
                prop_assert!(dispersion >= 1.0 && dispersion.is_finite(), "{dispersion}");
            }
        }
    }
}
