//! How often the judge of canaries is wrong, and how soon it finds what is wrong, beside fixed thresholds, on simulated
//! requests. Nothing is started and no time is waited for: seconds are those of the simulation.

mod fixed;
mod traffic;

use anyhow::Result;
use hornero_judge::{Comparison, JudgeSettings, Verdict, judge};
use hornero_model::{LatencyHistogram, ReleaseNumber};

use self::{
    fixed::{ARGO_ROLLOUTS, Analysis, FLAGGER, FixedThresholds},
    traffic::{Behaviour, Bursts, Random, Traffic, USUAL, Window},
};
use crate::table::{Better, HORNERO, Table};

/// How long a canary is watched that is as good as the release that serves, in seconds.
const WATCHED: u32 = 60;
/// After how many seconds nobody waits any more for a bad one to be found.
const GIVEN_UP: u32 = 30 * 60;
/// Canaries of each kind that are bad.
const BAD_RUNS: u32 = 100;
/// Latencies known from before the canary.
const BEFORE: u32 = 12_000;

/// A canary that should pass, or should not, and what it is called.
struct Scenario {
    name: &'static str,
    traffic: Traffic,
    before: u32,
}

/// Where a canary is looked at by the judge every second: the verdict that ended it, and after how many seconds.
fn canary(scenario: &Scenario, seconds: u32, seed: u64) -> (Verdict, u32) {
    let mut random = Random::new(seed);
    let before = scenario.traffic.before(scenario.before, &mut random);
    let mut window = Window::default();
    for second in 1..=seconds {
        scenario.traffic.go_on(second, &mut window, &mut random);
        match verdict(&window, &before) {
            Verdict::Inconclusive => {}
            decided => return (decided, second),
        }
    }
    (Verdict::Inconclusive, seconds)
}

/// Whether an always watched canary is ever called worse; the same and better don't end it.
fn is_ever_worse(scenario: &Scenario, seconds: u32, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let before = scenario.traffic.before(scenario.before, &mut random);
    let mut window = Window::default();
    (1..=seconds).any(|second| {
        scenario.traffic.go_on(second, &mut window, &mut random);
        verdict(&window, &before) == Verdict::Worse
    })
}

fn verdict(window: &Window, before: &LatencyHistogram) -> Verdict {
    let comparison = Comparison {
        baseline: (ReleaseNumber(1), &window.baseline),
        candidate: (ReleaseNumber(2), &window.candidate),
        before,
        readings: &window.readings,
    };
    judge(&comparison, &JudgeSettings::default()).verdict
}

/// After how many seconds fixed thresholds take a canary back.
fn until_taken_back(scenario: &Scenario, rules: &FixedThresholds, seed: u64) -> Option<u32> {
    let mut random = Random::new(seed);
    // The same requests as the judge's.
    scenario.traffic.before(scenario.before, &mut random);
    let (mut window, mut analysis) = (Window::default(), Analysis::new(rules));
    (1..=GIVEN_UP).find(|second| {
        scenario.traffic.go_on(*second, &mut window, &mut random);
        analysis.look(*second, &window.candidate)
    })
}

/// What comes of runs, in their order, as many at a time as there are processors. A run follows from its number.
fn each<T: Send>(runs: u32, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(64) as u64;
    let (run, runs) = (&run, u64::from(runs));
    let of_worker = |worker| (worker..runs).step_by(workers as usize).map(run).collect();
    let mut parts: Vec<std::vec::IntoIter<T>> = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || -> Vec<T> { of_worker(worker) }))
            .collect();
        let joined = spawned.into_iter().map(|part| part.join().expect("a run panicked"));
        joined.map(Vec::into_iter).collect()
    });
    let mut all = Vec::with_capacity(runs as usize);
    for worker in (0..workers as usize).cycle().take(runs as usize) {
        all.extend(parts[worker].next());
    }
    all
}

/// How many of them are so, in percent.
fn percent_of(found: Vec<bool>) -> f64 {
    let hits = found.iter().filter(|is_so| **is_so).count();
    100.0 * hits as f64 / found.len() as f64
}

fn equal(name: &'static str, share: f64, errors: f64) -> Scenario {
    let both = Behaviour { errors, ..USUAL };
    let traffic = Traffic {
        requests_a_second: 200,
        share,
        baseline: both,
        candidate: both,
        bursts: Bursts::None,
    };
    Scenario { name, traffic, before: BEFORE }
}

/// Candidates that do as the baseline does.
fn equals() -> [Scenario; 5] {
    let mut bursts = equal("errors and latencies of both come in bursts", 0.1, 0.001);
    bursts.traffic.bursts = Bursts::OfBoth;
    let mut pauses = equal("each stands still now and then, by itself", 0.2, 0.001);
    pauses.traffic.bursts = Bursts::Pauses;
    let mut thin = equal("10 requests a second, nothing known from before", 0.1, 0.02);
    thin.traffic.requests_a_second = 10;
    thin.before = 0;
    [
        equal("0.1 % errors, a tenth of the requests", 0.1, 0.001),
        equal("2 % errors, half of the requests", 0.5, 0.02),
        bursts,
        pauses,
        thin,
    ]
}

/// A candidate that fails as many requests more as are tolerated, no fewer.
fn barely_not_the_same() -> Scenario {
    let mut scenario = equal("0.5 % more errors", 0.1, 0.001);
    scenario.traffic.candidate.errors = 0.001 + JudgeSettings::default().tolerance.errors;
    scenario
}

fn bad(name: &'static str, candidate: Behaviour) -> Scenario {
    let traffic = Traffic {
        requests_a_second: 100,
        share: 0.1,
        baseline: USUAL,
        candidate,
        bursts: Bursts::None,
    };
    Scenario { name, traffic, before: BEFORE }
}

/// Candidates to be taken back.
fn bad_ones() -> [Scenario; 7] {
    let slower = Behaviour { slower: 1.3, ..USUAL };
    let mut in_bursts = bad("all latencies 30 % longer, both in bursts", slower);
    in_bursts.traffic.bursts = Bursts::OfBoth;
    let mut with_pauses = bad("all latencies 30 % longer, each stands still now and then", slower);
    with_pauses.traffic.bursts = Bursts::Pauses;
    [
        bad("1 % errors", Behaviour { errors: 0.01, ..USUAL }),
        bad("5 % errors", Behaviour { errors: 0.05, ..USUAL }),
        bad("20 % errors", Behaviour { errors: 0.2, ..USUAL }),
        bad("all latencies 30 % longer", slower),
        bad("the slowest twentieth 30 % slower", Behaviour { tail_slower: 1.3, ..USUAL }),
        in_bursts,
        with_pauses,
    ]
}

pub fn measure(runs: u32) -> Result<Table> {
    let mut table = Table::new("Judge of canaries: simulated, looked at every second");
    table.remark(format!(
        "False alarms: canaries that do as the release that serves and were called worse at any of {WATCHED} looks, in {runs} \
         runs each; the bound is {} %.",
        JudgeSettings::default().alpha * 100.0
    ));
    for scenario in equals() {
        let alarms = each(runs, |run| is_ever_worse(&scenario, WATCHED, run));
        let percent = percent_of(alarms);
        table.add(&format!("false alarms: {}", scenario.name), "%", Better::Less, HORNERO, percent);
    }
    let scenario = barely_not_the_same();
    let passed = each(runs, |run| {
        matches!(canary(&scenario, WATCHED, run).0, Verdict::Same | Verdict::Better)
    });
    let percent = percent_of(passed);
    table.add(&format!("let pass: {}", scenario.name), "%", Better::Less, HORNERO, percent);
    how_soon_good_ones_pass(&mut table);
    for scenario in bad_ones() {
        how_soon(&scenario, &mut table);
    }
    table.remark(
        "Found: 100 requests a second, of which a tenth go to the canary; 0.1 % errors and a 99th percentile of 255 ms \
         (log-normal) are usual. Flagger and Argo Rollouts: the numbers of their documentation, on the same requests; \
         percentiles are exact to an eighth.",
    );
    Ok(table)
}

fn how_soon_good_ones_pass(table: &mut Table) {
    for (requests_a_second, bursts, when) in [
        (100, Bursts::None, ""),
        (1000, Bursts::None, ""),
        (1000, Bursts::OfBoth, ", both in bursts"),
        (1000, Bursts::Pauses, ", each stands still now and then"),
    ] {
        let mut scenario = equal("", 0.1, 0.001);
        scenario.traffic = Traffic { requests_a_second, bursts, ..scenario.traffic };
        let name = format!(
            "as good as before{when}, {requests_a_second} requests a second: until the same"
        );
        let ended = each(BAD_RUNS, |run| canary(&scenario, GIVEN_UP, run));
        let passed =
            ended.iter().filter(|(verdict, _)| matches!(verdict, Verdict::Same | Verdict::Better));
        for (_, second) in passed.clone() {
            table.add(&name, "s", Better::Less, HORNERO, (*second).into());
        }
        let missed = ended.len() - passed.count();
        if missed > 0 {
            table.remark(format!("{name}: of {BAD_RUNS}, {missed} were not found to be the same."));
        }
    }
}

fn how_soon(scenario: &Scenario, table: &mut Table) {
    let name = format!("{}: until found", scenario.name);
    let mut missed = Vec::new();
    for (who, rules) in
        [(HORNERO, None), (FLAGGER.who, Some(&FLAGGER)), (ARGO_ROLLOUTS.who, Some(&ARGO_ROLLOUTS))]
    {
        let found = each(BAD_RUNS, |run| match rules {
            Some(rules) => until_taken_back(scenario, rules, run),
            None => match canary(scenario, GIVEN_UP, run) {
                (Verdict::Worse, second) => Some(second),
                _ => None,
            },
        });
        let found: Vec<u32> = found.into_iter().flatten().collect();
        for second in &found {
            table.add(&name, "s", Better::Less, who, (*second).into());
        }
        if found.len() < BAD_RUNS as usize {
            missed.push(format!("{} by {who}", BAD_RUNS as usize - found.len()));
        }
    }
    if !missed.is_empty() {
        let missed = missed.join(", ");
        table.remark(format!("{}: of {BAD_RUNS}, not found or let pass: {missed}.", scenario.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: u64 = 200;
    /// Hardly ever: the bound is 2 of these.
    const FEW: usize = 2;

    #[test]
    fn equal_releases_are_hardly_ever_called_worse() {
        for mut scenario in equals() {
            scenario.before = scenario.before.min(2_000);
            let worse = |run: &u64| is_ever_worse(&scenario, 40, 1_000_000 + run);
            let alarms = (0..RUNS).filter(worse).count();
            assert!(alarms <= FEW, "{}: {alarms} of {RUNS}", scenario.name);
        }
    }

    #[test]
    fn what_is_beyond_the_tolerance_hardly_ever_passes() {
        let mut scenario = barely_not_the_same();
        scenario.before = 2_000;
        let passes = |run: &u64| {
            let (verdict, _) = canary(&scenario, 60, 1_000_000 + run);
            matches!(verdict, Verdict::Same | Verdict::Better)
        };
        let passed = (0..RUNS).filter(passes).count();
        assert!(passed <= FEW, "{passed} of {RUNS}");
    }

    #[test]
    fn bad_canaries_are_found_sooner_than_by_fixed_thresholds() {
        // That of which only the slowest answers are slower is within the tolerance now and then.
        for (scenario, seconds) in bad_ones().iter().zip([310, 25, 6, 65]) {
            for run in 0..5 {
                let (verdict, second) = canary(scenario, GIVEN_UP, run);
                assert_eq!(verdict, Verdict::Worse, "{}", scenario.name);
                assert!(second <= seconds, "{}: after {second} s", scenario.name);
            }
        }
        let fifth = &bad_ones()[2];
        assert_eq!(until_taken_back(fifth, &FLAGGER, 0), Some(300));
        assert_eq!(until_taken_back(fifth, &ARGO_ROLLOUTS, 0), Some(900));
    }

    #[test]
    fn good_canaries_pass_within_half_a_minute_of_enough_requests() {
        let mut scenario = equal("", 0.1, 0.001);
        scenario.traffic.requests_a_second = 1000;
        let mut seconds: Vec<u32> = (0..5)
            .map(|run| {
                let (verdict, second) = canary(&scenario, 60, run);
                assert!(matches!(verdict, Verdict::Same | Verdict::Better), "{verdict:?}");
                second
            })
            .collect();
        seconds.sort_unstable();
        assert!(seconds[2] < 30, "{seconds:?}");
    }
}
