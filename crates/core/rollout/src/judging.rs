//! What is held against each other of a canary and the release that serves: what came to both from outside, and what the edge
//! asked both by itself, each by itself.

use hornero_judge::{
    Comparison, JudgeSettings, Judgement, Readings, Tally, Tolerance, Verdict, judge,
};
use hornero_model::{CanaryPolicy, EdgeStatus, ReleaseCounters, ReleaseNumber, Share};

use crate::planted::{Bug, planted};
use crate::{CanaryReadings, Facts, Rollout, Window, World};

/// Takes in what the edges counted of canaries.
pub fn saw_canaries(world: &World, facts: &mut Facts) {
    let Some(edge) = facts.edge.clone() else { return };
    let mut before = std::mem::take(&mut facts.canaries);
    let now = facts.now;
    for rollout in world.rollouts.values() {
        let Some(window) = rollout.canary.as_ref().and_then(|canary| canary.window.as_ref()) else {
            continue;
        };
        let seen = before.remove(&rollout.service).filter(|seen| seen.is_of(window));
        let mut seen = seen.unwrap_or_else(|| CanaryReadings::of(window));
        let take = |readings: &mut Readings, counted: Counted, start: (&Tally, &Tally)| {
            let (baseline, candidate) = tallies(&edge, rollout, counted);
            if is_late(&edge, window, (&baseline, &candidate), start) {
                return;
            }
            let (baseline, candidate) = (baseline.since(start.0), candidate.since(start.1));
            readings.take(now, (&baseline.latency, &candidate.latency));
        };
        take(&mut seen.from_outside, from_outside, (&window.baseline, &window.candidate));
        if let Some((baseline, candidate)) = &window.probes {
            take(&mut seen.own, of_its_own, (baseline, candidate));
        }
        facts.canaries.insert(rollout.service.clone(), seen);
    }
}

/// What an edge counted, of requests of one kind.
type Counted = fn(&[&ReleaseCounters]) -> Tally;
/// What was read of such requests.
type Read = fn(&CanaryReadings) -> &Readings;

/// How the releases of a canary do since its window began; none while nothing can be said.
///
/// Requests of the edge's own are no sample of those from outside, so they are never counted together: worse is what does worse
/// by either. Same or better is said by those from outside, and where they are too few by the edge's own. Both questions
/// share the bound on errors.
pub(crate) fn judged(facts: &Facts, rollout: &Rollout, policy: &CanaryPolicy) -> Option<Judgement> {
    let window = rollout.canary.as_ref()?.window.as_ref()?;
    let edge = facts.edge.as_ref()?;
    let releases = (rollout.from?, rollout.to);
    let (baseline, candidate) = tallies(edge, rollout, from_outside);
    let steps = u32::try_from(policy.steps.len()).unwrap_or(u32::MAX);
    let none = Readings::default();
    let seen = facts.canaries.get(&rollout.service).filter(|seen| seen.is_of(window));
    let compare = |now: (&Tally, &Tally), before: (&Tally, &Tally), read: Read, windows: u32| {
        if is_late(edge, window, now, before) {
            return None;
        }
        let (baseline, candidate) = (now.0.since(before.0), now.1.since(before.1));
        let comparison = Comparison {
            baseline: (releases.0, &baseline),
            candidate: (releases.1, &candidate),
            before: &before.0.latency,
            readings: seen.map_or(&none, read),
        };
        Some(judge(&comparison, &settings(policy).for_each_of(windows)))
    };
    let start = (&window.baseline, &window.candidate);
    let Some(probes) = window.probes.as_ref().filter(|_| !planted(Bug::IgnoresProbes)) else {
        return compare((&baseline, &candidate), start, |seen| &seen.from_outside, steps);
    };
    let both = steps.saturating_mul(2);
    let outside = compare((&baseline, &candidate), start, |seen| &seen.from_outside, both)?;
    let (baseline, candidate) = tallies(edge, rollout, of_its_own);
    let start = (&probes.0, &probes.1);
    let own = compare((&baseline, &candidate), start, |seen| &seen.own, both)?;
    Some(together(outside, own))
}

/// What follows from requests from outside and from the edge's own.
fn together(outside: Judgement, own: Judgement) -> Judgement {
    let by_own = match (outside.verdict, own.verdict) {
        (Verdict::Worse, _) => false,
        (_, Verdict::Worse) => true,
        (Verdict::Better | Verdict::Same, _) => false,
        (Verdict::Inconclusive, verdict) => verdict != Verdict::Inconclusive,
    };
    match by_own {
        true => Judgement {
            findings: own
                .findings
                .into_iter()
                .map(|mut finding| {
                    finding.reason = format!("asked by the edge, {}", finding.reason);
                    finding
                })
                .collect(),
            ..own
        },
        false => outside,
    }
}

/// The beginning of the time over which both are compared.
pub(crate) fn begin_window(
    rollout: &Rollout,
    policy: Option<&CanaryPolicy>,
    edge: &EdgeStatus,
) -> Window {
    let (baseline, candidate) = tallies(edge, rollout, from_outside);
    let probed = policy.is_some_and(|policy| policy.probe.is_some());
    let probes = probed.then(|| tallies(edge, rollout, of_its_own));
    Window { edge: edge.pid, baseline, candidate, probes }
}

/// What came from outside.
fn from_outside(counters: &[&ReleaseCounters]) -> Tally {
    Tally::of(counters.iter().copied())
}

/// What the edge asked by itself.
fn of_its_own(counters: &[&ReleaseCounters]) -> Tally {
    Tally::of_probes(counters.iter().copied())
}

/// What an edge counted of the release that serves and of the one on its way.
fn tallies(edge: &EdgeStatus, rollout: &Rollout, counted: Counted) -> (Tally, Tally) {
    let seen = |release: ReleaseNumber| {
        let is_of =
            |of: &&ReleaseCounters| of.pool.service == rollout.service && of.release == release;
        counted(&edge.counters.iter().filter(is_of).collect::<Vec<_>>())
    };
    (rollout.from.map(seen).unwrap_or_default(), seen(rollout.to))
}

/// How sure the judge has to be, and what it lets pass.
fn settings(policy: &CanaryPolicy) -> JudgeSettings {
    let Some(declared) = policy.judge else { return JudgeSettings::default() };
    let part = |weight: u32| f64::from(weight) / f64::from(Share::WHOLE);
    JudgeSettings {
        alpha: part(declared.false_alarms),
        minimum_requests: declared.minimum_requests.into(),
        tolerance: Tolerance {
            errors: part(declared.errors),
            slowdown: f64::from(declared.slowdown) / 100.0,
            pause_micros: declared.pause.0.saturating_mul(1_000),
        },
    }
}

/// Whether a status comes late and is of before the window; what counts less of another edge was counted anew.
fn is_late(
    edge: &EdgeStatus,
    window: &Window,
    now: (&Tally, &Tally),
    start: (&Tally, &Tally),
) -> bool {
    edge.pid == window.edge && (has_less(now.0, start.0) || has_less(now.1, start.1))
}

fn has_less(one: &Tally, other: &Tally) -> bool {
    one.requests < other.requests
        || one.failed < other.failed
        || one.server_errors < other.server_errors
}

#[cfg(test)]
mod tests {
    use hornero_model::JudgePolicy;

    use super::*;

    fn said(verdict: Verdict, reason: &str) -> Judgement {
        let measure = hornero_judge::Measure::Errors;
        let finding = hornero_judge::Finding { measure, verdict, reason: reason.to_owned() };
        Judgement { verdict, findings: vec![finding] }
    }

    #[test]
    fn what_is_asked_decides_where_little_comes_and_where_it_does_worse() {
        use Verdict::{Better, Inconclusive, Same, Worse};
        for (outside, own, expected, by_own) in [
            (Worse, Same, Worse, false),
            (Worse, Worse, Worse, false),
            (Same, Worse, Worse, true),
            (Better, Inconclusive, Better, false),
            (Same, Better, Same, false),
            (Inconclusive, Same, Same, true),
            (Inconclusive, Worse, Worse, true),
            (Inconclusive, Inconclusive, Inconclusive, false),
        ] {
            let judged = together(said(outside, "a"), said(own, "b"));
            let reason = if by_own { "asked by the edge, b" } else { "a" };
            assert_eq!(judged, said(expected, reason), "{outside:?} {own:?}");
        }
    }

    #[test]
    fn what_is_declared_as_usual_is_what_is_usual() {
        let policy = CanaryPolicy {
            steps: vec![1_000],
            step_timeout: hornero_model::Millis(1),
            on_inconclusive: hornero_model::OnInconclusive::Wait,
            sticky: None,
            judge: Some(JudgePolicy::default()),
            probe: None,
        };
        assert_eq!(settings(&policy), JudgeSettings::default());
    }
}
