//! Histories by chance. A long run of other seeds: `cargo xtask sim`.

use hornero_sim::history;

/// Seeds of one run of this test; more in a long run by `HORNERO_SIM_SEEDS`.
const SEEDS: u64 = 120;

#[test]
fn every_history_ends_whole() {
    let seeds = std::env::var("HORNERO_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("HORNERO_SIM_FIRST").ok().and_then(|text| text.parse().ok());
    let first = first.unwrap_or(0);
    for seed in first..first + seeds.unwrap_or(SEEDS) {
        history(seed, false);
    }
}

#[test]
fn a_table_overtakes_no_cut_whose_predecessor_was_confirmed_twice() {
    history(1974, false);
}

/// Several edges, of which each comes and goes. A long run of other seeds from 5000000 on: `HORNERO_SIM_FIRST`.
#[test]
fn no_edge_serves_what_another_one_has_not_prepared() {
    for seed in 5_000_000..5_000_000 + SEEDS / 2 {
        history(seed, false);
    }
}

/// What control does beside its driver, an edge that is away for long, and starts of which nothing is told. A long run of other
/// seeds from 7000000 on: `HORNERO_SIM_FIRST`.
#[test]
fn schedules_rehearsals_and_probed_canaries_end_whole() {
    for seed in 7_000_000..7_000_000 + SEEDS / 2 {
        history(seed, false);
    }
}

/// Services with volumes, of which each has one server that is replaced in its place. A long run of other seeds from
/// 3000000 on: `HORNERO_SIM_FIRST`.
#[test]
fn no_volume_ever_has_two_writers() {
    for seed in 3_000_000..3_000_000 + SEEDS / 2 {
        history(seed, false);
    }
}
