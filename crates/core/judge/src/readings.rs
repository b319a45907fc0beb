//! Whether slow answers come in bursts, from readings of the same counters one after another.
//!
//! A pause of the host makes dozens of answers slow at once. They tell no more than one of them, and who takes each for a
//! draw of its own finds a release slower that was only unlucky with its pauses.

use hornero_model::{LatencyBucket, LatencyHistogram, Millis, Timestamp};

/// How long answers took in a window, read several times while it went on: the newest reading, and up to sixty-four from before, about
/// evenly spread.
///
/// What was counted by the first of them is left out of all of it: where reading begins anew in the midst of a window, because
/// control or the edge did, nobody knows any more how that came about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings {
    kept: Vec<Reading>,
    /// What was read last; what comes next takes its place unless it is late enough to be kept.
    newest: Option<Reading>,
    /// What both had counted at the first reading.
    first: Option<(LatencyHistogram, LatencyHistogram)>,
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
const KEPT: usize = 64;
/// The least time between two readings at first: what is read within one pause is no second piece of evidence.
const FIRST_GAP: Millis = Millis(250);
/// How many stretches there have to be at least to say anything.
const ENOUGH_STRETCHES: usize = 4;
/// Stretches are never quite alike: of so many equal ones, as part of those there have to be, they have to say as much.
const EVENNESS: f64 = 0.75;
/// How many there have to be for some of them to be taken together: bursts may be longer than the time between two readings.
const ENOUGH_TOGETHER: usize = 8;

impl Readings {
    /// Takes in a reading: what the release that serves and the candidate counted since the window began. One that counts less
    /// than the last was made by another edge, and all begins anew.
    pub fn take(
        &mut self,
        at: Timestamp,
        (baseline, candidate): (&LatencyHistogram, &LatencyHistogram),
    ) {
        let reading = Reading { at, baseline: Slow::of(baseline), candidate: Slow::of(candidate) };
        let is_less = |than: &Reading| {
            reading.baseline.all < than.baseline.all || reading.candidate.all < than.candidate.all
        };
        let is_other = |(first, other): &(LatencyHistogram, LatencyHistogram)| {
            baseline.since(first).is_none() || candidate.since(other).is_none()
        };
        if self.newest.as_ref().is_some_and(is_less) || self.first.as_ref().is_some_and(is_other) {
            *self = Self::default();
        }
        if self.first.is_none() {
            self.first = Some((baseline.clone(), candidate.clone()));
        }
        let gap = self.gap.max(FIRST_GAP);
        // The newest one is kept once it came late enough after the one before.
        if let Some(newest) = self.newest.take() {
            let is_due = self.kept.last().is_none_or(|last| newest.at >= last.at.after(gap));
            if is_due {
                self.kept.push(newest);
            }
        }
        self.newest = Some(reading);
        if self.kept.len() > KEPT {
            let mut odd = false;
            self.kept.retain(|_| {
                odd = !odd;
                odd
            });
            self.gap = Millis(gap.0.saturating_mul(2));
        }
    }

    /// How long answers of both took that were counted after the first reading, of what was counted since the window began.
    pub(crate) fn covered(
        &self,
        (baseline, candidate): (&LatencyHistogram, &LatencyHistogram),
    ) -> (LatencyHistogram, LatencyHistogram) {
        let Some((first, other)) = &self.first else { return Default::default() };
        let since = |all: &LatencyHistogram, first| all.since(first).unwrap_or_default();
        (since(baseline, first), since(candidate, other))
    }

    /// By how much the shares of answers that took longer than `bucket` differ more between the releases, from one stretch of
    /// time to the next, than they would if each answer were slow or not by itself: about as many as are slow at a time. At
    /// least 1; none while there are too few readings to tell.
    ///
    /// In each stretch the candidate's slow answers are held against what they would be if it had those of both in its share (as
    /// in the test of Cochran, Mantel and Haenszel, Journal of the National Cancer Institute 22 (1959)), so that a busy minute
    /// of both is none of it. What these differences vary about their own mean is held against the variance of independent
    /// draws, as in quasi-likelihood; the largest in stretches of one, two and four readings counts.
    pub(crate) fn dispersion(&self, bucket: LatencyBucket) -> Option<f64> {
        let dispersion_of = |(length, enough)| dispersion(&self.stretches(length, bucket), enough);
        let found = dispersion_of((1, ENOUGH_STRETCHES))?;
        let longer =
            [2, 4].into_iter().filter_map(|length| dispersion_of((length, ENOUGH_TOGETHER)));
        Some(longer.fold(found, f64::max))
    }

    /// What came in each stretch of `length` readings.
    fn stretches(&self, length: usize, bucket: LatencyBucket) -> Vec<Stretch> {
        let counted = |reading: &Reading| {
            [&reading.baseline, &reading.candidate].map(|slow| (slow.over(bucket), slow.all))
        };
        // The newest ends the last stretch, however few readings are in it.
        let mut ends = self.kept.iter().step_by(length).chain(&self.newest).map(counted);
        let Some(mut before) = ends.next() else { return Vec::new() };
        ends.filter_map(|now| {
            let part = |at: usize| {
                let ((slow, all), (slow_before, all_before)) = (now[at], before[at]);
                (slow.saturating_sub(slow_before) as f64, all.saturating_sub(all_before) as f64)
            };
            let stretch = Stretch { baseline: part(0), candidate: part(1) };
            // It goes on until both have answered something.
            (stretch.baseline.1 > 0.0 && stretch.candidate.1 > 0.0).then(|| {
                before = now;
                stretch
            })
        })
        .collect()
    }
}

/// Slow answers of each release in a stretch of time, and all of them.
struct Stretch {
    baseline: (f64, f64),
    candidate: (f64, f64),
}

impl Stretch {
    /// How many slow answers more the candidate has than by its share of all, and by how much that counts.
    fn difference(&self) -> (f64, f64) {
        let ((slow, all), (candidate_slow, candidate_all)) = (self.baseline, self.candidate);
        let part = candidate_all / (all + candidate_all);
        (candidate_slow - (slow + candidate_slow) * part, all * part)
    }
}

/// None where what came lies in fewer stretches than are `enough`: one that has nearly all of it is little more than one.
fn dispersion(stretches: &[Stretch], enough: usize) -> Option<f64> {
    let sum = |of: fn(&Stretch) -> f64| stretches.iter().map(of).sum::<f64>();
    let (weights, squares) = (sum(|of| of.difference().1), sum(|of| of.difference().1.powi(2)));
    // As many stretches of equal weight would say as much (Kish, "Survey Sampling", 1965, 11.7).
    let count = weights * weights / squares;
    // Also where nothing came, and it is no number.
    if stretches.len() < enough || count.is_nan() || count < enough as f64 * EVENNESS {
        return None;
    }
    let slow = sum(|of| of.baseline.0 + of.candidate.0);
    let (all, candidate) = (sum(|of| of.baseline.1 + of.candidate.1), sum(|of| of.candidate.1));
    let share = slow / all;
    // Of independent draws in all of the time together, which is what the evidence takes them for.
    let expected = candidate * (1.0 - candidate / all) * share * (1.0 - share);
    let mean = sum(|of| of.difference().0) / weights;
    let residuals = stretches.iter().map(|of| {
        let (difference, weight) = of.difference();
        (difference - mean * weight).powi(2)
    });
    // What the mean takes of it: a stretch with much of the weight pulls the mean towards itself.
    let found = residuals.sum::<f64>() / (1.0 - 1.0 / count) / expected;
    Some(if found.is_finite() { found.max(1.0) } else { 1.0 })
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
    fn nothing_is_said_of_four_readings() {
        assert_eq!(readings(&[[100, 1, 10, 0]; 4]).dispersion(FAST), None);
        assert_eq!(readings(&[[100, 1, 10, 0]; 5]).dispersion(FAST), Some(1.0));
        assert_eq!(Readings::default().dispersion(FAST), None);
        assert_eq!(readings(&[[0; 4]; 9]).dispersion(FAST), None);
        // Nor of one in which nearly all came, or of those in which one release answered nothing.
        let mut once = vec![[2, 0, 1, 0]; 30];
        once[20] = [4_000, 40, 1_000, 200];
        assert_eq!(readings(&once).dispersion(FAST), None);
        assert_eq!(readings(&[[100, 1, 0, 0]; 30]).dispersion(FAST), None);
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
    fn a_busy_minute_of_both_is_no_burst_of_one() {
        let mut stretches = vec![[400, 4, 100, 1]; 30];
        stretches[8..16].fill([200, 204, 50, 51]);
        let busy = readings(&stretches).dispersion(FAST).unwrap();
        assert!(busy < 1.2, "{busy}");
    }

    #[test]
    fn a_burst_is_seen_by_the_reading_that_shows_it() {
        // Whatever is kept: after a long time readings are, but for the newest, far apart.
        let stretches = vec![[400, 4, 100, 1]; 700];
        let mut seen = readings(&stretches);
        assert!(seen.dispersion(FAST).unwrap() < 1.2);
        let slow = LatencyBucket::of_micros(50_000);
        let mut sums = [LatencyHistogram::default(), LatencyHistogram::default()];
        for (sum, (fast, paused)) in sums.iter_mut().zip([(280_000, 2_800), (70_000, 760)]) {
            sum.add(FAST, fast);
            sum.add(slow, paused);
        }
        seen.take(Timestamp(700_000), (&sums[0], &sums[1]));
        let burst = seen.dispersion(FAST).unwrap();
        assert!(burst > 3.0, "{burst}");
    }

    #[test]
    fn what_came_before_another_edge_is_left_out() {
        let mut seen = readings(&[[100, 1, 10, 0]; 9]);
        let (mut less, none) = (LatencyHistogram::default(), LatencyHistogram::default());
        less.add(FAST, 7);
        seen.take(Timestamp(60_000), (&less, &none));
        assert_eq!(seen.dispersion(FAST), None);
        let mut more = less.clone();
        more.add(FAST, 5);
        let (baseline, candidate) = seen.covered((&more, &less));
        assert_eq!((baseline.count(), candidate.count()), (5, 7));
    }

    proptest! {
        #[test]
        fn however_many_come_few_are_kept_and_dispersion_is_a_number(
            stretches in prop::collection::vec(prop::array::uniform4(0_u64..50), 0..300)
        ) {
            let readings = readings(&stretches);
            prop_assert!(readings.kept.len() <= KEPT);
            prop_assert!(stretches.len() <= KEPT || readings.kept.len() >= KEPT / 2);
            if let Some(dispersion) = readings.dispersion(FAST) {
                prop_assert!(dispersion >= 1.0 && dispersion.is_finite(), "{dispersion}");
            }
        }
    }
}
