//! Makes a log smaller: its newest blocks stay, and a name that says how much was there.

use std::{
    fs, io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use hornero_home::Opening;

use crate::{
    batch::Assembler,
    files::{LogFiles, LogPart, blocks_path},
    frame::LogFrames,
    reader::MAX_FRAMES_FILE_BYTES,
    segment::Segment,
};

/// Leaves at most `allowed` bytes of a log that nobody writes any more: whole blocks, the newest. Safe beside itself.
///
/// # Errors
/// Where the files can't be listed, read or changed.
pub fn trim(directory: &Path, allowed: u64) -> io::Result<()> {
    let files = LogFiles::list(directory)?;
    let newest = files.all().last().map(|(_, path)| path.clone());
    let mut left = allowed;
    for part in files.all().rev() {
        let size = match fs::symlink_metadata(&part.1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?.size(),
        };
        if size <= left {
            left -= size;
            continue;
        }
        let is_newest = newest.as_ref() == Some(&part.1);
        let kept = match part.1.extension().and_then(|it| it.to_str()) {
            Some("blocks") => cut_blocks(directory, part, left, is_newest),
            None if is_newest => cut_text(directory, part, size, left),
            Some(_) if is_newest => empty_frames(directory, part),
            _ => fs::remove_file(&part.1),
        };
        kept?;
        // A log has no holes: all that is older goes as well.
        left = 0;
    }
    Ok(())
}

/// Leaves the newest blocks of a file. The newest file stays at least empty: its name says where the log ended.
fn cut_blocks(directory: &Path, part: &LogPart, left: u64, is_newest: bool) -> io::Result<()> {
    let Some(segment) = Segment::open(&part.1)? else { return Ok(()) };
    let (whole, _) = segment.extent();
    let kept = segment.blocks().iter().find(|(at, _)| whole - at <= left);
    let end = segment.blocks().last().map_or(part.0, |(_, header)| header.end());
    let (at, start) = kept.map_or((whole, end), |(at, header)| (*at, header.start));
    if kept.is_none() && !is_newest {
        return fs::remove_file(&part.1);
    }
    if start == part.0 {
        return Ok(());
    }
    let file = hornero_home::open(&part.1, Opening::Read)?;
    let mut bytes = vec![0; usize::try_from(whole - at).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    replace(directory, &blocks_path(directory, start), &part.1, &bytes)
}

/// Frames that were never sealed go whole; what is left is the name.
fn empty_frames(directory: &Path, part: &LogPart) -> io::Result<()> {
    let file = hornero_home::open(&part.1, Opening::Read)?;
    let length = file.metadata()?.size().min(MAX_FRAMES_FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let mut assembler = Assembler::new(part.0);
    LogFrames::of(&bytes, true).for_each(|frame| assembler.take(&frame));
    let end = assembler.finish().end();
    if end == part.0 {
        return hornero_home::open(&part.1, Opening::Replace).map(drop);
    }
    replace(directory, &blocks_path(directory, end), &part.1, &[])
}

/// Leaves the last lines of text.
fn cut_text(directory: &Path, part: &LogPart, size: u64, left: u64) -> io::Result<()> {
    let mut tail = vec![0; usize::try_from(left).map_err(io::Error::other)?];
    let file = hornero_home::open(&part.1, Opening::Read)?;
    file.read_exact_at(&mut tail, size - left)?;
    // The line that was cut through goes as well.
    let line = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |end| end + 1);
    tail.drain(..line);
    let name = format!("{:020}", part.0 + size - tail.len() as u64);
    replace(directory, &directory.join(name), &part.1, &tail)
}

/// Puts a file in the place of another one of an earlier name.
fn replace(directory: &Path, path: &Path, before: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".cut.{}", std::process::id()));
    hornero_home::open(&temporary, Opening::Replace)?.write_all_at(bytes, 0)?;
    fs::rename(&temporary, path)?;
    fs::remove_file(before)
}
