//! What a collection of garbage may never take.

use hornero_model::{Digest, Keep, Millis, ReleaseNumber};

use super::{Bench, site, spec};
use crate::{Hold, Phase, retained};

/// Releases held as needed, and those held by a rule.
fn held(bench: &Bench, rules: Keep) -> (Vec<u32>, Vec<u32>) {
    let all = retained(&bench.world, bench.facts.now, Some(rules));
    let numbers = |needed: bool| {
        let mut numbers: Vec<u32> = all
            .iter()
            .filter(|one| (one.hold == Hold::Needed) == needed)
            .map(|one| one.release.number.0)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    (numbers(true), numbers(false))
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
    let nothing = Keep { releases: 0, days: 0 };
    assert_eq!(held(&bench, nothing), (vec![4, 5], vec![]));
    assert_eq!(held(&bench, Keep { releases: 3, days: 0 }), (vec![4, 5], vec![3, 4, 5]));
    assert_eq!(held(&bench, Keep { releases: 0, days: 1 }), (vec![4, 5], vec![1, 2, 3, 4, 5]));
}

#[test]
fn gc_safe_both_ends_of_a_rollout_are_held_in_every_phase() {
    let nothing = Keep { releases: 0, days: 0 };
    for phase in [Phase::Preparing, Phase::Switching, Phase::Watching, Phase::Draining] {
        let bench = match phase {
            Phase::Preparing => Bench::preparing(),
            _ => Bench::at(phase, 1),
        };
        assert_eq!(held(&bench, nothing).0, vec![1, 2], "in {phase:?}");
    }
}

#[test]
fn the_images_named_are_those_of_the_releases() {
    let bench = fifth();
    let all = retained(&bench.world, bench.facts.now, None);
    let of = |number: u32, word: &str| {
        let mut found = all.iter().filter(|one| one.release.number == ReleaseNumber(number));
        found.find(|one| one.reason.contains(word)).map(|one| one.image)
    };
    assert_eq!(of(5, "serves"), Some(Digest::of(b"five")));
    assert_eq!(of(4, "rollback"), Some(Digest::of(b"four")));
    assert_eq!(of(1, "keep_releases"), Some(Digest::of(b"one")), "five are kept by default");
}
