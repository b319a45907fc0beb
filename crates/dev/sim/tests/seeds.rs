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
