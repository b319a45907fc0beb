//! Every planted bug is found by the seed that the table in `docs/reference/simulation.md` names, and none by that seed
//! where nothing is planted.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use hornero_rollout::{Bug, plant};
use hornero_sim::history;

const TABLE: &str = "../../../docs/reference/simulation.md";
/// Seeds in which a bug is looked for where the table is made anew.
const SEEDS: u64 = 250;
/// Where the seeds of other kinds of histories begin, and how many of each are tried after those.
const KINDS: [u64; 7] =
    [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000, 6_000_000, 7_000_000];
const SEEDS_OF_KIND: u64 = 60;

/// What a history breaks with a bug planted, as the last line of its message says it; none where it breaks nothing.
fn broken(seed: u64, bug: Option<Bug>) -> Option<String> {
    plant(bug);
    let ended = catch_unwind(AssertUnwindSafe(|| history(seed, false)));
    plant(None);
    let payload = ended.err()?;
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let last = text.as_deref().and_then(|text| text.lines().last()).unwrap_or("a panic").to_owned();
    Some(last.split_once(" ms: ").map_or(last.clone(), |(_, what)| what.to_owned()))
}

/// The rows of the table: bug, seed.
fn rows(table: &str) -> Vec<(String, u64)> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (bug, _, seed) = (cells.next()?, cells.next()?, cells.next()?);
        Some((bug.trim_matches('`').to_owned(), seed.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn each_is_found_by_the_seed_of_the_table() {
    let table = std::fs::read_to_string(Path::new(TABLE)).unwrap();
    let rows = rows(&table);
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for bug in Bug::ALL {
        let row = rows.iter().find(|(name, _)| name == bug.name());
        let (_, seed) = row.unwrap_or_else(|| panic!("`{}` is not in the table", bug.name()));
        assert_eq!(broken(*seed, None), None, "seed {seed} without a bug");
        assert!(broken(*seed, Some(*bug)).is_some(), "`{}` is not found by {seed}", bug.name());
    }
}

/// Makes the rows anew, looking for another seed where that of the table no longer finds its bug:
/// `HORNERO_PLANTED_TABLE=FILE` names where to.
#[test]
fn the_rows_are_made_on_request() {
    let Some(file) = std::env::var_os("HORNERO_PLANTED_TABLE") else { return };
    let known = rows(&std::fs::read_to_string(Path::new(TABLE)).unwrap());
    let mut table = String::new();
    for bug in Bug::ALL {
        let known = known.iter().find(|(name, _)| name == bug.name()).map(|(_, seed)| *seed);
        let found = known
            .into_iter()
            .chain(0..SEEDS)
            .chain(KINDS.into_iter().flat_map(|first| first..first + SEEDS_OF_KIND))
            .find_map(|seed| Some((seed, broken(seed, Some(*bug))?)));
        let (seed, what) = found
            .map_or(("-".to_owned(), "not found".to_owned()), |(seed, what)| {
                (seed.to_string(), what)
            });
        writeln!(table, "| `{}` | {} | {seed} | {what} |", bug.name(), bug.text()).unwrap();
        std::fs::write(&file, &table).unwrap();
    }
}
