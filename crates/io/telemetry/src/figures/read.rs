//! Reads figures: those of a time, of what somebody asks for.

use std::{
    fs, io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::Timestamp;

use super::{
    block::{self, FIGURE_HEADER_BYTES, FigureHeader},
    subject::{Figure, FigureSubject},
    window::FigureWindow,
};

/// The file of moments that are not merged yet.
pub(super) const TICKS: &str = "ticks";
/// Bytes of that file that are read: a writer merges them long before.
pub(super) const MAX_TICKS_BYTES: u64 = 64 << 20;

/// Which figures are asked for.
#[derive(Clone, Copy)]
pub struct FigureRange<'q> {
    /// From this time on.
    pub since: Timestamp,
    /// Up to this one.
    pub until: Timestamp,
    /// Of what.
    pub of: &'q dyn Fn(&FigureSubject) -> bool,
}

/// Values of one figure, as they were seen one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureSeries<'w> {
    /// Of what.
    pub subject: &'w FigureSubject,
    /// Which.
    pub figure: Figure,
    /// When each was seen.
    pub times: &'w [Timestamp],
    /// As many as there are times.
    pub values: &'w [u64],
}

/// The files of blocks in a directory with the number of moments before each, oldest first.
pub(super) fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        listed => listed?,
    };
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".figures"));
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            files.push((first, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// The headers of a file's whole blocks with their places, and where the last of them ends. What a header names is there;
/// whether it is whole is seen when it is opened.
pub(super) fn headers(file: &fs::File) -> io::Result<(Vec<(u64, FigureHeader)>, u64)> {
    let size = file.metadata()?.size();
    let (mut headers, mut at) = (Vec::new(), 0);
    let mut bytes = [0; FIGURE_HEADER_BYTES];
    while at + FIGURE_HEADER_BYTES as u64 <= size {
        file.read_exact_at(&mut bytes, at)?;
        let Some(header) = FigureHeader::read(&bytes) else { break };
        if at + header.size() > size {
            break;
        }
        headers.push((at, header));
        at += header.size();
    }
    Ok((headers, at))
}

/// Without what is torn at the end: a writer that was killed, or is just writing, leaves a header without its block, or bytes that
/// pass for a header.
pub(super) fn without_torn(
    file: &fs::File,
    mut headers: Vec<(u64, FigureHeader)>,
) -> io::Result<Vec<(u64, FigureHeader)>> {
    while let Some(place) = headers.last() {
        if opened(file, place, &|_| false)?.is_some() {
            break;
        }
        headers.pop();
    }
    Ok(headers)
}

pub(super) fn opened(
    file: &fs::File,
    (at, header): &(u64, FigureHeader),
    of: &dyn Fn(&FigureSubject) -> bool,
) -> io::Result<Option<FigureWindow>> {
    let mut bytes = vec![0; usize::try_from(header.size()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, *at)?;
    Ok(block::open(&bytes, of))
}

/// The moments that are not merged yet, as windows of one, up to the first that is torn; and where that is.
pub(super) fn ticks(
    directory: &Path,
    of: &dyn Fn(&FigureSubject) -> bool,
) -> io::Result<(Vec<FigureWindow>, u64)> {
    let file = match hornero_home::open(&directory.join(TICKS), Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        opened => opened?,
    };
    let length = file.metadata()?.size().min(MAX_TICKS_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = read_up_to(&file, &mut bytes)?;
    bytes.truncate(read);
    let (mut windows, mut at) = (Vec::new(), 0);
    while let Some(window) = bytes.get(at..).and_then(|rest| block::open(rest, of)) {
        let header = FigureHeader::read(&bytes[at..]);
        at += header.map_or(0, |header| usize::try_from(header.size()).unwrap_or(0));
        windows.push(window);
    }
    Ok((windows, at as u64))
}

/// Reads what is there: a writer may make the file shorter meanwhile.
fn read_up_to(file: &fs::File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

/// Shows the figures of a time, oldest first; false ends it. A file or block that is damaged is passed over. Gives the first
/// moment of that time at which anything was looked at: what is seen only later was not there then.
///
/// # Errors
/// Where the directory can't be listed, or a file of it can't be read.
pub fn read(
    directory: &Path,
    range: FigureRange<'_>,
    see: &mut dyn FnMut(FigureSeries<'_>) -> bool,
) -> io::Result<Option<Timestamp>> {
    let mut first = None;
    // Before the blocks: what is merged meanwhile is told by those, and is left out here by its number.
    let (ticks, _) = ticks(directory, range.of)?;
    let mut sealed = 0;
    let files = files(directory)?;
    for (number, (_, path)) in files.iter().enumerate() {
        let file = match hornero_home::open(path, Opening::Read) {
            // Its time was over.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut places = headers(&file)?.0;
        if number + 1 == files.len() {
            // What it would have merged is told as it was seen.
            places = without_torn(&file, places)?;
        }
        for place in places {
            let header = place.1;
            sealed = sealed.max(header.first_tick + header.ticks);
            if header.last < range.since || header.first > range.until {
                continue;
            }
            let Some(window) = opened(&file, &place, range.of)? else { continue };
            first = earlier(first, &window, range);
            if !show(&window, range, see) {
                return Ok(first);
            }
        }
    }
    for window in ticks.iter().filter(|window| window.first_tick >= sealed) {
        first = earlier(first, window, range);
        if !show(window, range, see) {
            return Ok(first);
        }
    }
    Ok(first)
}

/// The first moment of a range, in a window or before.
fn earlier(
    first: Option<Timestamp>,
    window: &FigureWindow,
    range: FigureRange<'_>,
) -> Option<Timestamp> {
    let inside = window.times.iter().copied();
    let inside = inside.filter(|time| (range.since..=range.until).contains(time));
    first.into_iter().chain(inside).min()
}

fn show(
    window: &FigureWindow,
    range: FigureRange<'_>,
    see: &mut dyn FnMut(FigureSeries<'_>) -> bool,
) -> bool {
    let inside = |time: &Timestamp| (range.since..=range.until).contains(time);
    for (subject, columns) in &window.columns {
        for (figure, runs) in columns {
            for run in runs {
                let Some(times) = window.times.get(run.first..run.first + run.values.len()) else {
                    continue;
                };
                let from = times.iter().position(inside).unwrap_or(times.len());
                let to = times.iter().rposition(inside).map_or(from, |last| last + 1);
                let (times, values) = (&times[from..to], &run.values[from..to]);
                if !times.is_empty()
                    && !see(FigureSeries { subject, figure: *figure, times, values })
                {
                    return false;
                }
            }
        }
    }
    true
}

/// Bytes of all figures of a directory.
pub fn size_bytes(directory: &Path) -> u64 {
    let Ok(listed) = fs::read_dir(directory) else { return 0 };
    let sizes = listed.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.size());
    sizes.sum()
}
