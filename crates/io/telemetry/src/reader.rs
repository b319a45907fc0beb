//! Reads a page of a log, forwards from a place or backwards from its end, past blocks that can't have what is asked for.

use std::{
    io::{self, Read as _},
    path::Path,
};

use hornero_engine_port::log::{LogFrom, LogPage, LogQuery};

use crate::{
    batch::{Assembler, LineBatch},
    files::{LogFiles, LogPart, open_existing},
    frame::LogFrames,
    matcher::Matcher,
    page::{Gathered, unreadable},
    segment::Segment,
    text,
};

/// Frames that were not sealed; a writer seals long before.
pub(crate) const MAX_FRAMES_FILE_BYTES: u64 = 32 << 20;
/// How often files are listed anew because one was sealed meanwhile.
const LISTINGS: usize = 5;

/// Reads a page of the log in `directory`. `ended` says that nothing will be added.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where no line can be asked for like that, and where the log can't be read.
pub fn read(directory: &Path, query: &LogQuery, ended: bool) -> io::Result<LogPage> {
    let matcher = Matcher::of(&query.filter)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    for _ in 1..LISTINGS {
        let files = LogFiles::list(directory)?;
        if files.is_text() {
            return text::read(&files.text, query, &matcher, ended);
        }
        if let Some(page) = page(&files, query, &matcher, ended)? {
            return Ok(page);
        }
    }
    // Sealed again and again meanwhile: what is sealed is read, the rest with the next page.
    let mut files = LogFiles::list(directory)?;
    files.frames.clear();
    let page = page(&files, query, &matcher, false)?;
    page.ok_or_else(|| io::Error::other("the log is sealed faster than it is read"))
}

/// None where frames were sealed after the files were listed.
fn page(
    files: &LogFiles,
    query: &LogQuery,
    matcher: &Matcher,
    ended: bool,
) -> io::Result<Option<LogPage>> {
    let newest = files.frames.len().checked_sub(1);
    let mut unsealed = Vec::new();
    for (position, part) in files.frames.iter().enumerate() {
        let Some(batch) = frames(part, ended && Some(position) == newest)? else {
            return Ok(None);
        };
        unsealed.push(batch);
    }
    match query.from {
        LogFrom::Start => forwards(files, &unsealed, files.oldest(), query, matcher, ended),
        LogFrom::Cursor(cursor) => {
            let from = cursor.0.max(files.oldest());
            forwards(files, &unsealed, from, query, matcher, ended)
        }
        LogFrom::Tail => backwards(files, &unsealed, query, matcher, ended),
    }
    .map(Some)
}

/// The lines of a file of frames; none where it is gone.
fn frames((start, path): &LogPart, ended: bool) -> io::Result<Option<LineBatch>> {
    let Some(file) = open_existing(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(MAX_FRAMES_FILE_BYTES).read_to_end(&mut bytes)?;
    let mut assembler = Assembler::new(*start);
    LogFrames::of(&bytes, ended).for_each(|frame| assembler.take(&frame));
    Ok(Some(if ended { assembler.finish() } else { assembler.into_parts().0 }))
}

fn forwards(
    files: &LogFiles,
    unsealed: &[LineBatch],
    mut next: u64,
    query: &LogQuery,
    matcher: &Matcher,
    ended: bool,
) -> io::Result<LogPage> {
    let mut gathered = Gathered::new(query.lines);
    for (position, (_, path)) in files.blocks.iter().enumerate() {
        let behind = files.blocks.get(position + 1).map(|(start, _)| *start);
        if behind.is_some_and(|behind| next >= behind) {
            continue;
        }
        // Dropped by its writer or by a keeper since the directory was read.
        let Some(segment) = Segment::open(path)? else { continue };
        for block in segment.blocks() {
            if gathered.is_full() {
                break;
            }
            next = forwards_in(&segment, block, next, &mut gathered, matcher)?;
        }
    }
    for batch in unsealed {
        next = gathered.take(batch, next, matcher);
    }
    let finished = ended && !gathered.is_full();
    Ok(gathered.into_page(files.oldest(), next, finished))
}

/// Takes what is asked for of one block; gives the place to go on at.
fn forwards_in(
    segment: &Segment,
    block: &(u64, crate::block::BlockHeader),
    next: u64,
    gathered: &mut Gathered,
    matcher: &Matcher,
) -> io::Result<u64> {
    let header = &block.1;
    if header.end() <= next {
        return Ok(next);
    }
    if next < header.start {
        gathered.push(unreadable(header.start - next, header.first_ns));
    }
    let next = next.max(header.start);
    if !matcher.may_be_in(header) || !segment.has_words(block, matcher.needed())? {
        return Ok(header.end());
    }
    match segment.batch(block) {
        Ok(batch) => Ok(gathered.take(&batch, next, matcher)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            gathered.push(unreadable(header.end() - next, header.first_ns));
            Ok(header.end())
        }
        Err(error) => Err(error),
    }
}

fn backwards(
    files: &LogFiles,
    unsealed: &[LineBatch],
    query: &LogQuery,
    matcher: &Matcher,
    ended: bool,
) -> io::Result<LogPage> {
    let mut gathered = Gathered::new(query.lines);
    let mut before = u64::MAX;
    let mut next = files.oldest();
    for batch in unsealed.iter().rev() {
        next = next.max(batch.end());
        if batch.end() <= before && !gathered.is_full() {
            gathered.take_last(batch, matcher);
            before = batch.start;
        }
    }
    for (_, path) in files.blocks.iter().rev() {
        let is_needed = next <= files.oldest();
        if gathered.is_full() && !is_needed {
            break;
        }
        let Some(segment) = Segment::open(path)? else { continue };
        for block in segment.blocks().iter().rev() {
            let header = &block.1;
            next = next.max(header.end());
            if gathered.is_full() {
                break;
            }
            // Not told twice where a block was sealed and its frames are still there.
            if header.end() > before {
                continue;
            }
            before = header.start;
            if !matcher.may_be_in(header) || !segment.has_words(block, matcher.needed())? {
                continue;
            }
            match segment.batch(block) {
                Ok(batch) => gathered.take_last(&batch, matcher),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    gathered.push(unreadable(header.text_bytes, header.first_ns));
                }
                Err(error) => return Err(error),
            }
        }
    }
    gathered.lines.reverse();
    Ok(gathered.into_page(files.oldest(), next, ended))
}

#[cfg(test)]
mod tests;
