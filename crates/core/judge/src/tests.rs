//! Verdicts and their reasons; what holds for all counts.

use expect_test::{Expect, expect};
use hornero_model::{
    LatencyHistogram, PoolName, PortName, ReleaseCounters, ReleaseNumber, ServiceName, Timestamp,
};
use proptest::prelude::*;

use super::*;

fn tally(requests: u64, errors: u64, latencies_ms: &[(u64, u64)]) -> Tally {
    let mut latency = LatencyHistogram::default();
    for (milliseconds, count) in latencies_ms {
        latency.add(hornero_model::LatencyBucket::of_micros(milliseconds * 1000), *count);
    }
    Tally { requests, failed: errors / 2, server_errors: errors - errors / 2, latency }
}

/// Readings of a window in which everything came evenly, an eighth of it at a time.
fn evenly(baseline: &Tally, candidate: &Tally) -> Readings {
    let part = |tally: &Tally, eighths: u64| {
        let mut latency = LatencyHistogram::default();
        for (bucket, count) in tally.latency.counts() {
            latency.add(bucket, (u128::from(count) * u128::from(eighths) / 8) as u64);
        }
        latency
    };
    let mut readings = Readings::default();
    for eighths in 0..=8 {
        let counted = (&part(baseline, eighths), &part(candidate, eighths));
        readings.take(Timestamp(1_000 * eighths), counted);
    }
    readings
}

fn judged(baseline: &Tally, candidate: &Tally) -> Judgement {
    let comparison = Comparison {
        baseline: (ReleaseNumber(4), baseline),
        candidate: (ReleaseNumber(5), candidate),
        before: &LatencyHistogram::default(),
        readings: &evenly(baseline, candidate),
    };
    judge(&comparison, &JudgeSettings::default())
}

/// The verdict, and below it its reasons.
#[track_caller]
fn check(baseline: &Tally, candidate: &Tally, expected: &Expect) {
    let judgement = judged(baseline, candidate);
    let reasons: Vec<&str> = judgement.reasons().collect();
    expected.assert_eq(&format!("{:?}\n{}\n", judgement.verdict, reasons.join("\n")));
}

#[test]
fn a_fifth_of_failed_requests_is_worse_within_a_few_dozen() {
    check(
        &tally(360, 0, &[]),
        &tally(40, 8, &[]),
        &expect![[r#"
        Worse
        8 of 40 requests failed on release 5 against 0 of 360 on release 4: more by chance less often than once in 8,200,000
    "#]],
    );
}

#[test]
fn errors_that_both_have_alike_are_the_same() {
    check(
        &tally(200_000, 1_000, &[]),
        &tally(20_000, 100, &[]),
        &expect![[r#"
            Same
            100 of 20000 requests failed on release 5 against 1000 of 200000 on release 4: if 0.5 % more did, it would look so less often than once in 1,000,000,000
        "#]],
    );
    check(
        &tally(18_000, 0, &[]),
        &tally(2_000, 0, &[]),
        &expect![[r#"
            Same
            0 of 2000 requests failed on release 5 against 0 of 18000 on release 4: if 0.5 % more did, it would look so less often than once in 2,700
        "#]],
    );
}

#[test]
fn few_requests_are_inconclusive_and_so_are_none() {
    check(
        &tally(900, 0, &[]),
        &tally(90, 0, &[]),
        &expect![[r#"
        Inconclusive
        0 of 90 requests failed on release 5 against 0 of 900 on release 4: too few to tell, 100 of each are the least
    "#]],
    );
    check(
        &tally(9_000, 10, &[]),
        &tally(500, 1, &[]),
        &expect![[r#"
            Inconclusive
            1 of 500 requests failed on release 5 against 10 of 9000 on release 4: this does not rule out that 0.5 % more do
        "#]],
    );
    check(
        &Tally::default(),
        &Tally::default(),
        &expect![[r#"
        Inconclusive
        0 of 0 requests failed on release 5 against 0 of 0 on release 4: too few to tell, 100 of each are the least
    "#]],
    );
    check(
        &Tally::default(),
        &tally(50, 50, &[]),
        &expect![[r#"
        Inconclusive
        50 of 50 requests failed on release 5 against 0 of 0 on release 4: too few to tell, 100 of each are the least
    "#]],
    );
}

#[test]
fn fewer_errors_are_better() {
    check(
        &tally(9_000, 450, &[]),
        &tally(3_000, 3, &[]),
        &expect![[r#"
        Better
        3 of 3000 requests failed on release 5 against 450 of 9000 on release 4: less by chance less often than once in 1,000,000,000
    "#]],
    );
}

#[test]
fn more_errors_than_before_but_less_than_a_quarter_of_the_tolerated_are_the_same() {
    check(
        &tally(9_000_000, 0, &[]),
        &tally(1_000_000, 1_000, &[]),
        &expect![[r#"
            Same
            1000 of 1000000 requests failed on release 5 against 0 of 9000000 on release 4: if 0.5 % more did, it would look so less often than once in 1,000,000,000
        "#]],
    );
}

const USUAL: &[(u64, u64)] = &[(10, 9_000), (100, 850), (400, 150)];

#[test]
fn a_slower_tail_is_worse_though_nothing_fails() {
    let slower = tally(2_000, 0, &[(10, 1_800), (100, 150), (600, 50)]);
    check(
        &tally(10_000, 0, USUAL),
        &slower,
        &expect![[r#"
            Worse
            50 of 2000 answers of release 5 took 426 ms or longer against 0 of 10000 of release 4, whose 99th percentile that is: slower by chance less often than once in 1,000,000,000
        "#]],
    );
    let slower = tally(2_000, 0, &[(18, 1_800), (100, 170), (400, 30)]);
    check(
        &tally(10_000, 0, USUAL),
        &slower,
        &expect![[r#"
            Worse
            2000 of 2000 answers of release 5 took 10 ms or longer against 1000 of 10000 of release 4, whose median that is: slower by chance less often than once in 1,000,000,000
        "#]],
    );
}

#[test]
fn a_faster_tail_is_better() {
    let faster = tally(10_000, 0, &[(10, 9_000), (100, 1_000)]);
    check(
        &tally(10_000, 0, USUAL),
        &faster,
        &expect![[r#"
            Better
            0 of 10000 answers of release 5 took 393 ms or longer against 150 of 10000 of release 4, whose 99th percentile that is: faster by chance less often than once in 1,000,000,000
        "#]],
    );
}

#[test]
fn a_difference_within_a_bucket_or_the_tolerance_is_the_same() {
    let like = tally(10_000, 0, &[(10, 9_000), (104, 850), (401, 150)]);
    check(
        &tally(10_000, 0, USUAL),
        &like,
        &expect![[r#"
            Same
            0 of 10000 requests failed on release 5 against 0 of 10000 on release 4: if 0.5 % more did, it would look so less often than once in 1,000,000,000
            10000 answers of release 5 and 10000 of release 4: if its 99th percentile were over 590 ms, it would look so less often than once in 1,000,000,000
            10000 answers of release 5 and 10000 of release 4: if its median were over 13 ms, it would look so less often than once in 1,000,000,000
        "#]],
    );
}

#[test]
fn what_nobody_would_notice_is_no_slowdown() {
    let young = tally(2_000, 0, &[(3, 1_970), (7, 30)]);
    let baseline = tally(10_000, 0, &[(1, 9_850), (4, 150)]);
    let judgement = judged(&baseline, &young);
    assert_eq!(judgement.verdict, Verdict::Same, "{judgement:?}");
    let noticed = tally(2_000, 0, &[(3, 1_900), (40, 100)]);
    assert_eq!(judged(&baseline, &noticed).verdict, Verdict::Worse);
}

#[test]
fn a_burst_of_pauses_that_leaves_the_percentile_is_no_slowdown() {
    // Before the window the baseline's 99th percentile was at 10 ms; in it both are faster, and pauses hit the candidate.
    let mut before = LatencyHistogram::default();
    for (micros, count) in [(400, 9_710), (10_000, 200), (20_000, 90)] {
        before.add(hornero_model::LatencyBucket::of_micros(micros), count);
    }
    let baseline = tally(69_283, 0, &[(1, 69_155), (20, 128)]);
    let judged = |paused: u64| {
        let candidate = tally(17_320, 0, &[(1, 17_320 - paused), (20, paused)]);
        let comparison = Comparison {
            baseline: (ReleaseNumber(1), &baseline),
            candidate: (ReleaseNumber(2), &candidate),
            before: &before,
            readings: &evenly(&baseline, &candidate),
        };
        judge(&comparison, &JudgeSettings::default()).verdict
    };
    assert_eq!(judged(64), Verdict::Same);
    assert_eq!(judged(400), Verdict::Worse, "its percentile is beyond it");
}

#[test]
fn pauses_of_a_busy_host_are_no_slowdown_though_they_hit_one_release_more() {
    // As it was seen of the same program twice beside other work: two pauses of the candidate, five of the other.
    let (baseline, candidate) =
        (tally(10_572, 0, &[(1, 10_467), (15, 105)]), tally(2_643, 0, &[(1, 2_585), (15, 58)]));
    assert_eq!(judged(&baseline, &candidate).verdict, Verdict::Worse, "each a draw of its own");
    let mut readings = Readings::default();
    let mut sums = [LatencyHistogram::default(), LatencyHistogram::default()];
    for reading in 0..40 {
        let pauses =
            [if reading % 8 == 3 { 21 } else { 0 }, if reading % 20 == 9 { 29 } else { 0 }];
        for ((sum, all), paused) in sums.iter_mut().zip([264, 66]).zip(pauses) {
            sum.add(hornero_model::LatencyBucket::of_micros(1_000), all - paused);
            sum.add(hornero_model::LatencyBucket::of_micros(15_000), paused);
        }
        readings.take(Timestamp(500 * reading), (&sums[0], &sums[1]));
    }
    let comparison = Comparison {
        baseline: (ReleaseNumber(1), &baseline),
        candidate: (ReleaseNumber(2), &candidate),
        before: &LatencyHistogram::default(),
        readings: &readings,
    };
    let judgement = judge(&comparison, &JudgeSettings::default());
    assert_ne!(judgement.verdict, Verdict::Worse, "{judgement:?}");
}

#[test]
fn latencies_say_nothing_before_they_were_read_several_times() {
    let (baseline, candidate) = (tally(10_000, 0, USUAL), tally(2_000, 0, &[(600, 2_000)]));
    let comparison = Comparison {
        baseline: (ReleaseNumber(4), &baseline),
        candidate: (ReleaseNumber(5), &candidate),
        before: &LatencyHistogram::default(),
        readings: &Readings::default(),
    };
    let judgement = judge(&comparison, &JudgeSettings::default());
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    let reasons: Vec<&str> = judgement.reasons().collect();
    assert!(reasons[0].ends_with("too soon to tell slow ones from a pause"), "{reasons:?}");
}

#[test]
fn the_first_slow_answers_of_young_processes_are_too_few_to_tell() {
    let young = tally(60, 0, &[(1, 40), (80, 20)]);
    let baseline = tally(10_000, 0, &[(1, 9_850), (4, 150)]);
    assert_eq!(judged(&baseline, &young).verdict, Verdict::Inconclusive);
    let later = tally(120, 0, &[(1, 80), (80, 40)]);
    assert_eq!(judged(&baseline, &later).verdict, Verdict::Worse);
}

#[test]
fn latencies_of_the_candidate_that_are_missing_keep_it_from_being_the_same() {
    let judgement = judged(&tally(10_000, 0, USUAL), &tally(10_000, 0, &[]));
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
}

#[test]
fn steps_share_the_bound() {
    assert_eq!(JudgeSettings::default().for_each_of(4).alpha, 0.0025);
    assert_eq!(JudgeSettings::default().for_each_of(0).alpha, 0.01);
}

#[test]
fn pools_add_up_and_what_is_in_flight_has_not_ended() {
    let pool = |port| PoolName {
        service: ServiceName::new("site").unwrap(),
        port: PortName::new(port).unwrap(),
    };
    let mut of_pool = ReleaseCounters {
        requests: 10,
        in_flight: 3,
        failed: 1,
        server_errors: 2,
        ..ReleaseCounters::new(pool("http"), ReleaseNumber(4))
    };
    of_pool.latency.record(1_000);
    let other = ReleaseCounters { pool: pool("admin"), ..of_pool.clone() };
    let sum = Tally::of([&of_pool, &other]);
    assert_eq!((sum.requests, sum.errors(), sum.latency.count()), (14, 6, 2));
    let first = Tally::of([&of_pool]);
    assert_eq!(sum.since(&first), first);
    assert_eq!(first.since(&sum), first, "an edge that began anew");
}

fn tallies() -> impl Strategy<Value = Tally> {
    let size = prop_oneof![0u64..50, 0u64..100_000, Just(u64::MAX), Just(u64::MAX / 2)];
    let counts = prop::collection::vec((0u64..100_000_000, size.clone()), 0..20);
    (size.clone(), size.clone(), size, counts).prop_map(
        |(requests, failed, server_errors, counts)| {
            let mut latency = LatencyHistogram::default();
            for (micros, count) in counts {
                latency.add(hornero_model::LatencyBucket::of_micros(micros), count);
            }
            Tally { requests, failed, server_errors, latency }
        },
    )
}

fn odd_floats() -> impl Strategy<Value = f64> {
    prop_oneof![0.0f64..1.0, prop::num::f64::ANY]
}

proptest! {
    #[test]
    fn any_counts_and_settings_give_a_verdict_and_the_same_one_again(
        baseline in tallies(),
        candidate in tallies(),
        before in tallies(),
        alpha in odd_floats(),
        errors in odd_floats(),
        slowdown in odd_floats(),
        pause_micros in prop_oneof![0..10_000_u64, proptest::num::u64::ANY],
    ) {
        let tolerance = Tolerance { errors, slowdown, pause_micros };
        let settings = JudgeSettings { alpha, minimum_requests: 100, tolerance };
        let comparison = Comparison {
            baseline: (ReleaseNumber(4), &baseline),
            candidate: (ReleaseNumber(5), &candidate),
            before: &before.latency,
            readings: &evenly(&baseline, &candidate),
        };
        let judgement = judge(&comparison, &settings);
        prop_assert_eq!(&judgement, &judge(&comparison, &settings));
        prop_assert!(judgement.reasons().next().is_some());
        for reason in judgement.reasons() {
            prop_assert!(!reason.contains("NaN") && !reason.contains("inf"), "{reason}");
        }
    }

    #[test]
    fn a_candidate_that_does_exactly_as_the_baseline_is_never_worse_or_better(
        baseline in tallies(),
    ) {
        let verdict = judged(&baseline, &baseline).verdict;
        prop_assert!(matches!(verdict, Verdict::Same | Verdict::Inconclusive), "{verdict:?}");
    }

    #[test]
    fn one_more_error_never_makes_a_candidate_look_better(
        requests in 1u64..5_000,
        errors in 0u64..5_000,
        base in 0u64..5_000,
    ) {
        let baseline = tally(10_000, base, &[]);
        let order = |errors: u64| {
            match judged(&baseline, &tally(requests, errors.min(requests), &[])).verdict {
                Verdict::Better => 0,
                Verdict::Same | Verdict::Inconclusive => 1,
                Verdict::Worse => 2,
            }
        };
        prop_assert!(order(errors) <= order(errors + 1));
    }
}
