//! What is found of one measure of two releases.

use hornero_model::{LatencyBucket, LatencyHistogram};

use crate::{
    Comparison, JudgeSettings, Measure, Verdict,
    evidence::{self, Pair, Share},
    settings::{SEEN_PART, Tolerance},
    words::{self, Words},
};

/// Latencies from before the window that are enough to take the percentiles from.
const ENOUGH_BEFORE: u64 = 1_000;

/// One measure of both releases, found to be one thing or another.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// What was measured.
    pub measure: Measure,
    /// The verdict on it alone.
    pub verdict: Verdict,
    /// Why, with numbers, for people.
    pub reason: String,
}

/// What was counted of a measure, in the ways that the questions are put.
struct Counted {
    /// How often each release did badly, to tell whether the candidate is worse.
    worse: Pair,
    /// The same, to tell whether it is better.
    better: Pair,
    /// Whether the difference, as far as it was seen, counts for worse and for better.
    seen_worse: bool,
    seen_better: bool,
    /// How many of what is counted for worse come at a time, and for better.
    at_a_time: (f64, f64),
}

/// The verdict on errors: requests that failed and answers with a server error.
pub(crate) fn errors(comparison: &Comparison<'_>, settings: &JudgeSettings) -> Finding {
    let share = |tally: &crate::Tally| Share { hits: tally.errors(), all: tally.requests };
    let (baseline, candidate) = (share(comparison.baseline.1), share(comparison.candidate.1));
    let pair = Pair { baseline, candidate };
    let tolerance = settings.tolerance.errors;
    let difference = candidate.rate() - baseline.rate();
    let counted = Counted {
        worse: pair,
        better: pair,
        seen_worse: difference > tolerance * SEEN_PART,
        seen_better: -difference > tolerance * SEEN_PART,
        // Failures that come at once are no less.
        at_a_time: (1.0, 1.0),
    };
    let words = words::of_errors(comparison, pair, tolerance);
    let within = || evidence::of_less_than_more_by(tolerance, baseline, candidate);
    conclude(Measure::Errors, &counted, within, words, settings)
}

/// The verdict on a percentile of the latencies: whether more of the candidate's answers take longer than the baseline's
/// percentile than of its own, in the window or when the percentile was taken. Where a hundredth of its answers took longer
/// before, a candidate of which a two-hundredth does has no slower percentile, though the baseline may have still fewer by
/// now: pauses come in bursts, which hit one release more than the other. None where no latency of the baseline is known: an edge of an older version, or
/// connections without requests.
pub(crate) fn latency(
    measure: Measure,
    quantile: f64,
    comparison: &Comparison<'_>,
    settings: &JudgeSettings,
) -> Option<Finding> {
    let all = (&comparison.baseline.1.latency, &comparison.candidate.1.latency);
    if all.0.is_empty() && comparison.before.count() < ENOUGH_BEFORE {
        return None;
    }
    let (baseline, candidate) = &comparison.readings.covered(all);
    let known =
        [comparison.before, baseline].into_iter().find(|known| known.count() >= ENOUGH_BEFORE);
    // The percentile lies in a bucket, and much can lie there with it. Over its end are too few of the baseline's to hide a
    // slower candidate; over its beginning are enough to show that one is as fast.
    let known = known.unwrap_or(baseline);
    let at_a_time = |bucket| comparison.readings.dispersion(bucket);
    let end = known.quantile(quantile);
    let Some((end, worse_at_a_time)) = end.and_then(|end| Some((end, at_a_time(end)?))) else {
        let reason = words::too_soon(words::answers(comparison, (all.0.count(), all.1.count())));
        return Some(Finding { measure, verdict: Verdict::Inconclusive, reason });
    };
    let begin = end.before();
    let Tolerance { slowdown, pause_micros, .. } = settings.tolerance;
    let seen = 1.0 + slowdown * SEEN_PART;
    let over = |latencies: &LatencyHistogram, bucket| Share {
        hits: latencies.count_over(bucket),
        all: latencies.count(),
    };
    let pair =
        |bucket| Pair { baseline: over(baseline, bucket), candidate: over(candidate, bucket) };
    let (worse, better) = (pair(end), pair(begin));
    let allowed = |share: Share, bucket| Share {
        hits: share.hits.max((share.all as f64 * over(known, bucket).rate()) as u64).min(share.all),
        all: share.all,
    };
    let limit = allowed(worse.baseline, end);
    let slowest = longer(begin, 1.0 + slowdown, pause_micros);
    let at_a_time = |bucket| at_a_time(bucket).unwrap_or(1.0);
    let counted = Counted {
        worse: Pair { baseline: limit, ..worse },
        better,
        seen_worse: over(candidate, longer(end, seen, pause_micros)).rate() > limit.rate(),
        seen_better: better.candidate.rate()
            < over(baseline, shorter(begin, seen, pause_micros)).rate(),
        at_a_time: (worse_at_a_time, at_a_time(begin)),
    };
    let limits = (begin.end_micros(), end.end_micros());
    let from_before = comparison.before.count() >= ENOUGH_BEFORE;
    let words = words::of_latency(
        measure,
        comparison,
        (limits, from_before),
        (worse, better),
        slowest.end_micros(),
    );
    let within = || {
        let at_a_time = at_a_time(slowest).max(at_a_time(begin));
        evidence::of_more(over(candidate, slowest), allowed(better.baseline, begin), at_a_time)
    };
    Some(conclude(measure, &counted, within, words, settings))
}

/// The last bucket that has ended by `factor` times the end of `bucket`, or `pause` microseconds after it.
fn longer(bucket: LatencyBucket, factor: f64, pause: u64) -> LatencyBucket {
    let end = bucket.end_micros();
    // Saturates beyond the last bucket.
    LatencyBucket::ended_by(((end as f64 * factor) as u64).max(end.saturating_add(pause)))
}

/// The last bucket that has ended by a `factor`th of the end of `bucket`, or `pause` microseconds before it.
fn shorter(bucket: LatencyBucket, factor: f64, pause: u64) -> LatencyBucket {
    let end = bucket.end_micros();
    LatencyBucket::ended_by(((end as f64 / factor) as u64).min(end.saturating_sub(pause)))
}

/// What part of the error bound a measure has for itself: all parts together are the whole (Bonferroni).
fn part(measure: Measure) -> f64 {
    match measure {
        Measure::Errors => 0.5,
        Measure::MedianLatency | Measure::TailLatency => 0.25,
    }
}

/// `within` is the evidence, as logarithm, that the candidate stays within the tolerance.
fn conclude(
    measure: Measure,
    counted: &Counted,
    within: impl Fn() -> f64,
    words: Words,
    settings: &JudgeSettings,
) -> Finding {
    let needed = -(settings.alpha * part(measure)).ln();
    let requests = counted.worse.baseline.all.min(counted.worse.candidate.all);
    // A failure is one whenever it comes. The first answers of young processes take long.
    let enough = measure == Measure::Errors || requests >= settings.minimum_requests;
    let (worse_at_a_time, better_at_a_time) = counted.at_a_time;
    let worse = evidence::of_more(counted.worse.baseline, counted.worse.candidate, worse_at_a_time);
    if worse >= needed && counted.seen_worse && enough {
        let reason = words::once_in(words.worse, worse);
        return Finding { measure, verdict: Verdict::Worse, reason };
    }
    if requests < settings.minimum_requests {
        let reason = words::too_few(words.counted, settings.minimum_requests);
        return Finding { measure, verdict: Verdict::Inconclusive, reason };
    }
    // Any one measure beyond its tolerance keeps the whole from being the same: no need to split the bound here.
    let within = within();
    if within < -settings.alpha.ln() {
        return Finding { measure, verdict: Verdict::Inconclusive, reason: words.open };
    }
    let better =
        evidence::of_more(counted.better.candidate, counted.better.baseline, better_at_a_time);
    let (verdict, reason) = if better >= needed && counted.seen_better {
        (Verdict::Better, words::once_in(words.better, better))
    } else {
        (Verdict::Same, words::once_in(words.same, within))
    };
    Finding { measure, verdict, reason }
}
