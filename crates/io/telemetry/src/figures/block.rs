//! Blocks of figures: a header with its times, and the columns, as differences and compressed.

use std::io;

use hornero_model::Timestamp;

use super::{
    subject::{Figure, FigureSubject},
    window::{FigureRun, FigureWindow},
};
use crate::{
    frame::checksum,
    number::{put, take, unzigzag, zigzag},
};

/// Bytes of a header.
pub const FIGURE_HEADER_BYTES: usize = 48;
const MAGIC: &[u8; 8] = b"HRNOFIG1";
/// Bytes that the compressed columns of a block may have; a writer stays far below.
const MAX_COMPRESSED_BYTES: u32 = 16 << 20;
/// The same before compression.
const MAX_CONTENT_BYTES: usize = 64 << 20;
/// Level of compression: differences of figures are small numbers, which the first levels do well.
const LEVEL: i32 = 3;

/// What is known of a block without its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureHeader {
    /// Bytes of the compressed columns behind it.
    pub compressed_bytes: u32,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many moments there were before its first one, and how many it has.
    pub first_tick: u64,
    pub ticks: u64,
}

impl FigureHeader {
    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        FIGURE_HEADER_BYTES as u64 + u64::from(self.compressed_bytes)
    }

    /// Reads a header; none where there is none. What follows it is checked by [`open`].
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FIGURE_HEADER_BYTES)?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let compressed_bytes = u32::from_le_bytes(std::array::from_fn(|index| bytes[12 + index]));
        let (first_tick, ticks) = (number(32), number(40));
        let fits = &bytes[..8] == MAGIC
            && compressed_bytes <= MAX_COMPRESSED_BYTES
            && first_tick.checked_add(ticks).is_some();
        let (first, last) = (Timestamp(number(16)), Timestamp(number(24)));
        fits.then_some(Self { compressed_bytes, first, last, first_tick, ticks })
    }
}

/// A whole block; none of a window without a moment.
///
/// # Errors
/// Where there is no memory for it, or it is beyond what a block may be.
pub fn seal(window: &FigureWindow) -> io::Result<Vec<u8>> {
    let content = content(window);
    let compressed = zstd::bulk::compress(&content, LEVEL)?;
    let length = u32::try_from(compressed.len())
        .ok()
        .filter(|length| *length <= MAX_COMPRESSED_BYTES && content.len() <= MAX_CONTENT_BYTES);
    let length = length.ok_or_else(|| io::Error::other("too many figures for one block"))?;
    let times = || window.times.iter().map(|time| time.0);
    let mut out = vec![0; FIGURE_HEADER_BYTES];
    out[..8].copy_from_slice(MAGIC);
    out[12..16].copy_from_slice(&length.to_le_bytes());
    out[16..24].copy_from_slice(&times().min().unwrap_or(0).to_le_bytes());
    out[24..32].copy_from_slice(&times().max().unwrap_or(0).to_le_bytes());
    out[32..40].copy_from_slice(&window.first_tick.to_le_bytes());
    out[40..48].copy_from_slice(&(window.times.len() as u64).to_le_bytes());
    out.extend_from_slice(&compressed);
    let sum = checksum(&[&out[12..]]);
    out[8..12].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

fn content(window: &FigureWindow) -> Vec<u8> {
    let mut out = Vec::new();
    put_differences(&mut out, window.times.iter().map(|time| time.0));
    put(&mut out, window.columns.len() as u64);
    for (subject, columns) in &window.columns {
        let text = subject.to_text();
        put(&mut out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
        put(&mut out, columns.len() as u64);
        for (figure, runs) in columns {
            put(&mut out, figure.number());
            put(&mut out, runs.len() as u64);
            for run in runs {
                put(&mut out, run.first as u64);
                put(&mut out, run.values.len() as u64);
                put_differences(&mut out, run.values.iter().copied());
            }
        }
    }
    out
}

fn put_differences(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut before = 0_u64;
    for value in values {
        put(out, zigzag(value.wrapping_sub(before) as i64));
        before = value;
    }
}

/// The window of a whole block, with those subjects that are `wanted`; none where it is torn or damaged.
pub fn open(bytes: &[u8], wanted: &dyn Fn(&FigureSubject) -> bool) -> Option<FigureWindow> {
    let header = FigureHeader::read(bytes)?;
    let bytes = bytes.get(..usize::try_from(header.size()).ok()?)?;
    let sum = u32::from_le_bytes(std::array::from_fn(|index| bytes[8 + index]));
    if checksum(&[&bytes[12..]]) != sum {
        return None;
    }
    let compressed = &bytes[FIGURE_HEADER_BYTES..];
    let most = zstd::bulk::Decompressor::upper_bound(compressed);
    let most = most.unwrap_or(MAX_CONTENT_BYTES).min(MAX_CONTENT_BYTES);
    let content = zstd::bulk::decompress(compressed, most).ok()?;
    window(&content, &header, wanted)
}

fn window(
    content: &[u8],
    header: &FigureHeader,
    wanted: &dyn Fn(&FigureSubject) -> bool,
) -> Option<FigureWindow> {
    let mut rest = content;
    let ticks = usize::try_from(header.ticks).ok()?;
    let times = differences(&mut rest, ticks)?.into_iter().map(Timestamp).collect();
    let mut window = FigureWindow { times, ..FigureWindow::new(header.first_tick) };
    for _ in 0..take(&mut rest)? {
        let length = usize::try_from(take(&mut rest)?).ok()?;
        let text = std::str::from_utf8(rest.get(..length)?).ok()?;
        rest = &rest[length..];
        let subject = FigureSubject::of_text(text).filter(|subject| wanted(subject));
        let mut columns = std::collections::BTreeMap::new();
        for _ in 0..take(&mut rest)? {
            let figure = Figure::of_number(take(&mut rest)?);
            let runs = runs(&mut rest, ticks)?;
            // Of a later version, or of what nobody asked for.
            if let (Some(figure), Some(_)) = (figure, &subject) {
                window.values += runs.iter().map(|run| run.values.len()).sum::<usize>();
                columns.insert(figure, runs);
            }
        }
        if let Some(subject) = subject {
            window.columns.insert(subject, columns);
        }
    }
    Some(window)
}

fn runs(rest: &mut &[u8], ticks: usize) -> Option<Vec<FigureRun>> {
    let mut runs = Vec::new();
    for _ in 0..take(rest)? {
        let first = usize::try_from(take(rest)?).ok()?;
        let count = usize::try_from(take(rest)?).ok()?;
        first.checked_add(count).filter(|end| *end <= ticks)?;
        runs.push(FigureRun { first, values: differences(rest, count)? });
    }
    Some(runs)
}

/// As many values as there are; each takes a byte at least, so that no length grows without bytes behind it.
fn differences(rest: &mut &[u8], count: usize) -> Option<Vec<u64>> {
    let mut values = Vec::with_capacity(count.min(rest.len()));
    let mut before = 0_u64;
    for _ in 0..count {
        before = before.wrapping_add(unzigzag(take(rest)?) as u64);
        values.push(before);
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use hornero_model::{LatencyBucket, ReleaseNumber};
    use proptest::prelude::*;

    use super::*;

    fn subject(number: u8) -> FigureSubject {
        let (service, release) = ("site".parse().unwrap(), ReleaseNumber(u32::from(number)));
        match number % 2 {
            0 => {
                let instance = format!("site-{number}-ab").parse().unwrap();
                FigureSubject::Instance { service, release, instance }
            }
            _ => {
                let pool = hornero_model::PoolName { service, port: "http".parse().unwrap() };
                FigureSubject::Pool { pool, release }
            }
        }
    }

    fn figure(number: u8) -> Figure {
        Figure::of_number(u64::from(number % 23) + 1)
            .filter(|_| number < 200)
            .unwrap_or(Figure::Latency(LatencyBucket::of_micros(u64::from(number) * 1_000)))
    }

    type Moment = (u64, Vec<(u8, u8, u64)>);

    fn filled(moments: &[Moment]) -> FigureWindow {
        let mut window = FigureWindow::new(17);
        for (at, figures) in moments {
            let figures: Vec<_> = figures
                .iter()
                .map(|(of, which, value)| (subject(*of), figure(*which), *value))
                .collect();
            window.add(Timestamp(*at), &figures);
        }
        window
    }

    fn moments() -> impl Strategy<Value = Vec<Moment>> {
        let figures = prop::collection::vec((0..6_u8, any::<u8>(), any::<u64>()), 0..20);
        prop::collection::vec((any::<u64>(), figures), 1..12)
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back(moments in moments()) {
            let window = filled(&moments);
            prop_assert_eq!(open(&seal(&window).unwrap(), &|_| true), Some(window));
        }

        #[test]
        fn moments_one_by_one_make_the_same_block(moments in moments()) {
            let whole = filled(&moments);
            let mut merged = FigureWindow::new(17);
            for moment in &moments {
                let one = seal(&filled(std::slice::from_ref(moment))).unwrap();
                merged.append(&open(&one, &|_| true).unwrap());
            }
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn damage_is_refused(
            moments in moments(), at in any::<prop::sample::Index>(), with in 1..=u8::MAX, cut in any::<prop::sample::Index>(),
        ) {
            let good = seal(&filled(&moments)).unwrap();
            let mut bad = good.clone();
            let at = at.index(bad.len());
            bad[at] ^= with;
            prop_assert_eq!(open(&bad, &|_| true), None);
            prop_assert_eq!(open(&good[..cut.index(good.len())], &|_| true), None);
        }

        /// Hostile bytes behind a good checksum are refused or read; nothing panics and nothing grows without bound.
        #[test]
        fn any_bytes_may_stand_in_a_file(content in prop::collection::vec(any::<u8>(), 0..300), ticks in 0..u64::MAX / 2) {
            let header = FigureHeader { compressed_bytes: 0, first: Timestamp(0), last: Timestamp(0), first_tick: 0, ticks };
            let _ = window(&content, &header, &|_| true);
            let _ = FigureHeader::read(&content);
            let _ = open(&content, &|_| true);
        }
    }

    #[test]
    fn only_what_is_asked_for_is_held() {
        let window = filled(&[(1, vec![(0, 0, 5), (1, 0, 6)]), (2, vec![(0, 0, 7)])]);
        let read = open(&seal(&window).unwrap(), &|of| *of == subject(1)).unwrap();
        assert_eq!(read.columns.keys().collect::<Vec<_>>(), [&subject(1)]);
        assert_eq!((read.values, read.times.len()), (1, 2));
    }
}
