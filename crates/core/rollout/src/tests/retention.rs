//! What a collection of garbage may never take.

use hornero_model::{Digest, Keep, Millis, ReleaseNumber};

use super::{Bench, site, spec};
use crate::{Hold, KeepOverride, Phase, retained};

const NOTHING: KeepOverride = KeepOverride { releases: Some(0), days: Some(0) };

/// Releases held in this way.
fn held(bench: &Bench, rules: KeepOverride, how: impl Fn(Hold) -> bool) -> Vec<u32> {
    let all = retained(&bench.world, bench.facts.now, rules);
    let mut numbers: Vec<u32> =
        all.iter().filter(|one| how(one.hold)).map(|one| one.release.number.0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn needed(hold: Hold) -> bool {
    hold == Hold::Needed
}

fn wanted(hold: Hold) -> bool {
    hold == Hold::Wanted
}

fn by_rule(hold: Hold) -> bool {
    matches!(hold, Hold::Rule { .. })
}

/// A service on its fifth proven release, with nothing left of those before but the warm set.
fn fifth() -> Bench {
    let mut bench = Bench::serving(1);
    for image in ["two", "three", "four", "five"] {
        bench.forward(&spec(image, 1));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.pass(Millis(120_000));
        bench.comply();
    }
    assert_eq!(bench.world.services[&site()].proven.len(), 5);
    bench
}

#[test]
fn gc_safe_what_serves_and_what_a_rollback_needs_are_held_whatever_the_rules() {
    let bench = fifth();
    let ruled = |bench: &Bench, releases, days| {
        held(bench, KeepOverride { releases: Some(releases), days: Some(days) }, by_rule)
    };
    for (releases, days, expected) in
        [(0, 0, vec![]), (3, 0, vec![3, 4, 5]), (0, 1, vec![1, 2, 3, 4, 5])]
    {
        assert_eq!(ruled(&bench, releases, days), expected);
        assert_eq!(held(&bench, NOTHING, wanted), [4]);
    }
    assert_eq!(held(&bench, NOTHING, needed), [5], "nothing runs of the fourth any more");
}

#[test]
fn gc_safe_a_rule_that_is_not_overridden_is_the_services_own() {
    let mut bench = fifth();
    let mut last = spec("six", 1);
    last.keep = Keep { releases: 2, days: 30 };
    bench.forward(&last);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    bench.pass(Millis(120_000));
    bench.comply();
    let check = |releases, days, expected: &[u32]| {
        assert_eq!(held(&bench, KeepOverride { releases, days }, by_rule), expected);
    };
    check(None, None, &[1, 2, 3, 4, 5, 6]);
    check(Some(0), None, &[1, 2, 3, 4, 5, 6]);
    check(None, Some(0), &[5, 6]);
    check(Some(3), Some(0), &[4, 5, 6]);
}

#[test]
fn gc_safe_both_ends_of_a_rollout_are_held_in_every_phase() {
    for phase in [Phase::Preparing, Phase::Switching, Phase::Watching, Phase::Draining] {
        let bench = match phase {
            Phase::Preparing => Bench::preparing(),
            _ => Bench::at(phase, 1),
        };
        assert_eq!(held(&bench, NOTHING, needed), [1, 2], "in {phase:?}");
    }
}

#[test]
fn the_images_named_are_those_of_the_releases() {
    let bench = fifth();
    let all = retained(&bench.world, bench.facts.now, KeepOverride::default());
    let of = |number: u32, word: &str| {
        let mut found = all.iter().filter(|one| one.release.number == ReleaseNumber(number));
        found.find(|one| one.reason.contains(word)).map(|one| one.image)
    };
    assert_eq!(of(5, "serves"), Some(Digest::of(b"five")));
    assert_eq!(of(4, "rollback"), Some(Digest::of(b"four")));
    assert_eq!(of(1, "keep_releases"), Some(Digest::of(b"one")), "five are kept by default");
}
