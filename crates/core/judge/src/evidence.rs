//! Evidence that one share is larger than another, which may be looked at after every single request.
//!
//! Two streams of yes and no are compared by an e-process: a number that begins at 1, is multiplied with every request, and
//! whose expectation never exceeds 1 while the null hypothesis holds. By Ville's inequality it ever reaches `1 / alpha` with a
//! probability of at most `alpha`, so that whoever looks all the time errs no more often than who looks once.
//!
//! The process is a mixture over pairs of shares (the alternatives) of likelihood ratios between that pair and its
//! projection onto the null hypothesis: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that
//! allow for optional stopping", Journal of Statistical Planning and Inference 230 (2024), section 3; that the
//! projection gives a valid process for any convex null hypothesis: Grünwald, de Heide, Koolen, "Safe testing", Journal of
//! the Royal Statistical Society B 86 (2024), theorem 1. Mixtures for tests that are looked at continuously go back to
//! Robbins, Annals of Mathematical Statistics 41 (1970); for experiments on web traffic see Johari, Koomen, Pekelis, Walsh,
//! "Always valid inference", Operations Research 70 (2022).
//!
//! It holds whatever the shares are, and where they change with time as long as they change for both alike: a busy hour
//! is no evidence against the release that happened to begin in it. It is exact where each request goes to either side in
//! the same proportion throughout; the proportion that came about stands in for it, which the simulation in `bench/`
//! finds to make no difference.
//!
//! Where slow answers come several at a time, each likelihood ratio is raised to the power of one by as many: a power of at
//! most 1 keeps an e-process one (Jensen's inequality), and is how a likelihood is tempered where a model has more variance than
//! it says (Grünwald, van Ommen, "Inconsistency of Bayesian inference for misspecified linear models", Bayesian Analysis 12
//! (2017); the variance as in quasi-likelihood, Wedderburn, Biometrika 61 (1974)).

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// How often it did; at most `all`.
    pub hits: u64,
    /// How often it could have.
    pub all: u64,
}

impl Share {
    /// Between 0 and 1; 0 where nothing could have happened.
    pub(crate) fn rate(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.hits as f64 / self.all as f64 }
    }
}

/// Lower shares of the alternatives: log odds from 1 in 10,000 up to 19 in 20, each 1.28 times the odds before.
const BASE_LOG_ODDS: Grid = Grid { first: -9.2, step: 0.25, count: 49 };

/// How many times the odds of the higher share are those of the lower one.
const ODDS_RATIOS: [f64; 6] = [1.4, 2.0, 4.0, 12.0, 60.0, 600.0];

/// The same, where the higher one may be lower than the lower one by a margin: equal, or better than that.
const ODDS_RATIOS_WITHIN: [f64; 2] = [1.0, 2.0];

struct Grid {
    first: f64,
    step: f64,
    count: u32,
}

impl Grid {
    fn values(&self) -> impl Iterator<Item = f64> {
        (0..self.count).map(|at| self.first + self.step * f64::from(at))
    }
}

/// The natural logarithm of the evidence that the share of `high` is more than that of `low`. Not positive where what was
/// counted does not even look like it.
///
/// `at_a_time` is how many come at a time, at least 1 where each comes by itself.
pub(crate) fn of_more(low: Share, high: Share, at_a_time: f64) -> f64 {
    // What was counted lies in the null hypothesis, and there no ratio is more than 1 (Jensen's inequality).
    if low.all == 0 || high.all == 0 || high.rate() <= low.rate() {
        return 0.0;
    }
    let in_high = high.all as f64 / (high.all as f64 + low.all as f64);
    mixture(low, high, at_a_time, &ODDS_RATIOS, |lower, higher| {
        let pooled = in_high * higher + (1.0 - in_high) * lower;
        (pooled, pooled)
    })
}

/// The natural logarithm of the evidence that the share of `candidate` is less than that of `baseline` plus `margin`,
/// which is between 0 and 1.
pub(crate) fn of_less_than_more_by(margin: f64, baseline: Share, candidate: Share) -> f64 {
    let inside = candidate.rate() - baseline.rate() >= margin;
    if baseline.all == 0 || candidate.all == 0 || inside {
        return 0.0;
    }
    let in_baseline = baseline.all as f64 / (baseline.all as f64 + candidate.all as f64);
    mixture(candidate, baseline, 1.0, &ODDS_RATIOS_WITHIN, |lower, higher| {
        let share = project(margin, in_baseline, higher, lower);
        (share + margin, share)
    })
}

/// The mixture over all alternatives; `project` gives the shares of the null hypothesis that are nearest to a pair.
fn mixture(
    low: Share,
    high: Share,
    at_a_time: f64,
    odds_ratios: &[f64],
    project: impl Fn(f64, f64) -> (f64, f64),
) -> f64 {
    let terms = BASE_LOG_ODDS.values().flat_map(|log_odds| {
        odds_ratios.iter().map(move |ratio| (share_of(log_odds), share_of(log_odds + ratio.ln())))
    });
    let logs: Vec<f64> = terms
        .map(|(lower, higher)| {
            let (null_lower, null_higher) = project(lower, higher);
            (log_ratio(low, lower, null_lower) + log_ratio(high, higher, null_higher)) / at_a_time
        })
        .collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + (sum / logs.len() as f64).ln()
}

fn share_of(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// How much more likely what was counted is with one share than with another. Neither is 0 or 1.
fn log_ratio(seen: Share, share: f64, null: f64) -> f64 {
    let misses = (seen.all - seen.hits) as f64;
    seen.hits as f64 * (share / null).ln() + misses * ((1.0 - share) / (1.0 - null)).ln()
}

/// The share `x` of the baseline at which (`x`, `x + margin`) is nearest to (`baseline`, `candidate`) by relative entropy,
/// each weighted by its part of the requests. Its derivative rises through 0 there, between where either term alone does.
fn project(margin: f64, in_baseline: f64, baseline: f64, candidate: f64) -> f64 {
    let slope = |share: f64, at: f64| (at - share) / (at * (1.0 - at));
    let (mut least, mut most) = ((candidate - margin).max(0.0), baseline.min(1.0 - margin));
    // Enough for the last bits of what is left between them.
    for _ in 0..48 {
        let middle = f64::midpoint(least, most);
        let rises = in_baseline * slope(baseline, middle)
            + (1.0 - in_baseline) * slope(candidate, middle + margin);
        if rises > 0.0 {
            most = middle;
        } else {
            least = middle;
        }
    }
    // Never 0 or 1, for logarithms.
    f64::midpoint(least, most).clamp(f64::MIN_POSITIVE, 1.0 - margin - f64::EPSILON)
}

/// How often each release did badly.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub baseline: Share,
    pub candidate: Share,
}
