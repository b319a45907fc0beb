//! The reasons of a verdict in plain words and numbers.

use std::fmt::Write as _;

use crate::{Comparison, Measure, evidence::Pair};

/// What is said of one measure; of all but the last two the odds are said after them.
pub(crate) struct Words {
    pub worse: String,
    pub better: String,
    pub same: String,
    pub open: String,
    pub counted: String,
}

pub(crate) fn of_errors(comparison: &Comparison<'_>, pair: Pair, tolerance: f64) -> Words {
    let (old, new) = (comparison.baseline.0, comparison.candidate.0);
    let Pair { baseline, candidate } = pair;
    let counted = format!(
        "{} of {} requests failed on release {new} against {} of {} on release {old}",
        candidate.hits, candidate.all, baseline.hits, baseline.all
    );
    let tolerated = percent(tolerance);
    Words {
        worse: format!("{counted}: more by chance"),
        better: format!("{counted}: less by chance"),
        same: format!("{counted}: if {tolerated} more did, it would look so"),
        open: format!("{counted}: this does not rule out that {tolerated} more do"),
        counted,
    }
}

/// `begin` and `end` are the latencies, in microseconds, that are looked at for better and worse, and whether they are the
/// baseline's percentile from before the window; `slowest` is the longest that is tolerated.
pub(crate) fn of_latency(
    measure: Measure,
    comparison: &Comparison<'_>,
    ((begin, end), from_before): ((u64, u64), bool),
    (worse, better): (Pair, Pair),
    slowest: u64,
) -> Words {
    let (old, new) = (comparison.baseline.0, comparison.candidate.0);
    let percentile = name(measure);
    let when = if from_before { "was before" } else { "is" };
    let over = |pair: Pair, limit| {
        let Pair { baseline, candidate } = pair;
        format!(
            "{} of {} answers of release {new} took {} or longer against {} of {} of release {old}, whose {percentile} that {when}",
            candidate.hits,
            candidate.all,
            milliseconds(limit),
            baseline.hits,
            baseline.all
        )
    };
    let counted = answers(comparison, (worse.baseline.all, worse.candidate.all));
    let above = format!("over {}", milliseconds(slowest));
    Words {
        worse: format!("{}: slower by chance", over(worse, end)),
        better: format!("{}: faster by chance", over(better, begin)),
        same: format!("{counted}: if its {percentile} were {above}, it would look so"),
        open: format!("{counted}: this does not rule out that its {percentile} is {above}"),
        counted,
    }
}

/// How often something would come about by chance at most, from the logarithm of the evidence against it.
pub(crate) fn once_in(what: String, evidence: f64) -> String {
    format!("{what} less often than once in {}", odds(evidence))
}

pub(crate) fn too_few(counted: String, minimum: u64) -> String {
    format!("{counted}: too few to tell, {minimum} of each are the least")
}

/// How many answers of the release that serves and of the candidate there are.
pub(crate) fn answers(comparison: &Comparison<'_>, (of_old, of_new): (u64, u64)) -> String {
    let (old, new) = (comparison.baseline.0, comparison.candidate.0);
    format!("{of_new} answers of release {new} and {of_old} of release {old}")
}

pub(crate) fn too_soon(counted: String) -> String {
    format!("{counted}: too soon to tell slow ones from a pause")
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Errors => "error rate",
        Measure::MedianLatency => "median",
        Measure::TailLatency => "99th percentile",
    }
}

/// A number with commas for thousands, from its logarithm, of which only two digits are told.
fn odds(logarithm: f64) -> String {
    // Larger numbers mean nothing to anybody.
    let number = logarithm.exp().min(1e9);
    let unit = 10_f64.powf((number.log10().floor() - 1.0).max(0.0));
    let rounded = ((number / unit).floor() * unit) as u64;
    let digits = rounded.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(share: f64) -> String {
    let mut text = format!("{:.2}", share * 100.0);
    while text.ends_with('0') {
        text.pop();
    }
    let text = text.trim_end_matches('.');
    format!("{text} %")
}

fn milliseconds(micros: u64) -> String {
    let mut text = String::new();
    let milliseconds = micros as f64 / 1e3;
    // Writing to a string can't fail.
    let _ = match milliseconds {
        short if short < 10.0 => write!(text, "{short:.2} ms"),
        middle if middle < 1000.0 => write!(text, "{middle:.0} ms"),
        long => write!(text, "{:.1} s", long / 1e3),
    };
    text
}
