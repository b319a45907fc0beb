//! Figures that are kept: over new writers, within limits, and after torn ends.

use hornero_model::{PoolName, ReleaseNumber};
use proptest::prelude::*;

use super::*;
use crate::figures::{FigureRange, read, size_bytes};

const SMALL: FigureLimits = FigureLimits {
    block_ticks: 5,
    block_values: 1_000,
    file_bytes: 600,
    total_bytes: 1 << 20,
    age: Millis(1_000_000),
};

fn instance(number: u32) -> FigureSubject {
    FigureSubject::Instance {
        service: "site".parse().unwrap(),
        release: ReleaseNumber(number),
        instance: format!("site-{number}-ab").parse().unwrap(),
    }
}

fn pool() -> FigureSubject {
    let pool = PoolName { service: "site".parse().unwrap(), port: "http".parse().unwrap() };
    FigureSubject::Pool { pool, release: ReleaseNumber(1) }
}

/// What is told of each moment.
fn seen(tick: u64) -> Vec<(FigureSubject, Figure, u64)> {
    vec![
        (instance(1 + (tick / 7) as u32), Figure::Memory, 1_000_000 + tick),
        (pool(), Figure::Requests, tick * 10),
    ]
}

fn values(directory: &Path, subject: &FigureSubject, figure: Figure) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let of = |one: &FigureSubject| one == subject;
    let range = FigureRange { since: Timestamp(0), until: Timestamp(u64::MAX), of: &of };
    read(directory, range, &mut |series| {
        if series.figure == figure {
            found.extend(series.times.iter().map(|time| time.0).zip(series.values.iter().copied()));
        }
        true
    })
    .unwrap();
    found
}

fn requests(directory: &Path) -> Vec<(u64, u64)> {
    values(directory, &pool(), Figure::Requests)
}

fn expected(ticks: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    ticks.map(|tick| (tick, tick * 10)).collect()
}

#[test]
fn what_was_seen_is_found_also_of_those_long_gone_and_over_new_writers() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("metrics");
    let mut writer = FigureWriter::open(&directory, SMALL).unwrap();
    for tick in 0..33 {
        if tick % 4 == 3 {
            writer = FigureWriter::open(&directory, SMALL).unwrap();
        }
        writer.append(Timestamp(tick), &seen(tick)).unwrap();
        assert_eq!(requests(&directory), expected(0..tick + 1));
    }
    let of_second = values(&directory, &instance(2), Figure::Memory);
    assert_eq!(of_second, (7..14).map(|tick| (tick, 1_000_000 + tick)).collect::<Vec<_>>());
    assert!(values(&directory, &instance(2), Figure::Descriptors).is_empty());
    let (mut count, of) = (0, |_: &FigureSubject| true);
    let range = FigureRange { since: Timestamp(10), until: Timestamp(12), of: &of };
    read(&directory, range, &mut |series| {
        assert!(series.times.iter().all(|time| (10..=12).contains(&time.0)), "{series:?}");
        count += series.values.len();
        true
    })
    .unwrap();
    assert_eq!(count, 6);
    assert!(size_bytes(&directory) > 0);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_the_newest_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("metrics");
    let limits = FigureLimits { total_bytes: 3_000, ..SMALL };
    let mut writer = FigureWriter::open(&directory, limits).unwrap();
    for tick in 0..400 {
        writer.append(Timestamp(tick), &seen(tick)).unwrap();
    }
    // The moments that are not merged come on top.
    assert!(size_bytes(&directory) < 3_000 + 2_000, "{}", size_bytes(&directory));
    let kept = requests(&directory);
    assert_eq!(kept.last(), Some(&(399, 3_990)));
    assert_eq!(kept, expected(kept[0].0..400));
    assert!(kept[0].0 > 100);
    // A month later only what is new is left.
    for tick in 0..20 {
        writer.append(Timestamp(5_000_000 + tick), &seen(tick)).unwrap();
    }
    let kept = requests(&directory);
    assert!(kept.iter().all(|(time, _)| *time >= 390), "{kept:?}");
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A writer that is killed in the middle of a write leaves a torn end: of the merged moments, or of those that are not.
    #[test]
    fn a_torn_end_costs_no_more_than_itself(
        ticks in 1..30_u64, cut in any::<prop::sample::Index>(), of_blocks in any::<bool>(), garbage in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("metrics");
        let mut writer = FigureWriter::open(&directory, SMALL).unwrap();
        for tick in 0..ticks {
            writer.append(Timestamp(tick), &seen(tick)).unwrap();
        }
        let torn = scratch.path().join("torn");
        copied(&directory, &torn);
        let newest = files(&torn).unwrap().pop().map(|(_, path)| path);
        let path = newest.filter(|_| of_blocks).unwrap_or_else(|| torn.join(TICKS));
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend_from_slice(&garbage);
        fs::write(&path, &bytes).unwrap();

        let read = requests(&torn);
        let whole = expected(0..ticks);
        // Moments of before what was torn, and those after it that lie in another file.
        prop_assert!(read.iter().all(|moment| whole.contains(moment)), "{:?}", read);
        let mut writer = FigureWriter::open(&torn, SMALL).unwrap();
        prop_assert_eq!(&requests(&torn), &read);
        for tick in 100..112 {
            writer.append(Timestamp(tick), &seen(tick)).unwrap();
        }
        let after: Vec<_> = read.into_iter().chain(expected(100..112)).collect();
        prop_assert_eq!(requests(&torn), after);
    }

    /// A kill between merging moments and forgetting them tells none of them twice.
    #[test]
    fn moments_that_were_merged_are_told_once(ticks in 5..30_u64) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("metrics");
        let unmerged = FigureLimits { block_ticks: 1_000, ..SMALL };
        let mut writer = FigureWriter::open(&directory, unmerged).unwrap();
        for tick in 0..ticks {
            writer.append(Timestamp(tick), &seen(tick)).unwrap();
        }
        let before = fs::read(directory.join(TICKS)).unwrap();
        writer.seal().unwrap();
        fs::write(directory.join(TICKS), &before).unwrap();
        prop_assert_eq!(requests(&directory), expected(0..ticks));
        let mut writer = FigureWriter::open(&directory, SMALL).unwrap();
        writer.append(Timestamp(ticks), &seen(ticks)).unwrap();
        prop_assert_eq!(requests(&directory), expected(0..ticks + 1));
    }
}
