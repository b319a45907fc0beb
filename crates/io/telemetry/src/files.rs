//! The files of a log, and what can be told of one without reading it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::Timestamp;

/// A file of a log: how many bytes were written before its first one, and where it is.
pub(crate) type LogPart = (u64, PathBuf);

/// The files of a log, each kind oldest first.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    /// Of before there were blocks.
    pub text: Vec<LogPart>,
    pub blocks: Vec<LogPart>,
    pub frames: Vec<LogPart>,
}

impl LogFiles {
    /// Lists a directory.
    pub fn list(directory: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (digits, kind) = match name.split_once('.') {
                None => (name, &mut files.text),
                Some((digits, "blocks")) => (digits, &mut files.blocks),
                Some((digits, "frames")) => (digits, &mut files.frames),
                Some(_) => continue,
            };
            if let Ok(start) = digits.parse() {
                kind.push((start, entry.path()));
            }
        }
        files.text.sort();
        files.blocks.sort();
        files.frames.sort();
        Ok(files)
    }

    /// Whether it was written before there were blocks.
    pub fn is_text(&self) -> bool {
        !self.text.is_empty() && self.blocks.is_empty() && self.frames.is_empty()
    }

    /// How many bytes of lines were written before the oldest that is there.
    pub fn oldest(&self) -> u64 {
        let first = |parts: &[LogPart]| parts.first().map(|(start, _)| *start);
        let found = [first(&self.text), first(&self.blocks), first(&self.frames)];
        found.into_iter().flatten().min().unwrap_or(0)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &LogPart> {
        self.text.iter().chain(&self.blocks).chain(&self.frames)
    }
}

pub(crate) fn blocks_path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{start:020}.blocks"))
}

pub(crate) fn frames_path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{start:020}.frames"))
}

/// Opens a file to read it; none where it is gone.
pub(crate) fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match hornero_home::open(path, Opening::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bytes that a log takes; 0 where there is none.
///
/// # Errors
/// Where its directory can't be listed.
pub fn size_bytes(directory: &Path) -> io::Result<u64> {
    let files = match LogFiles::list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        files => files?,
    };
    Ok(files
        .all()
        .filter_map(|(_, path)| fs::symlink_metadata(path).ok())
        .map(|it| it.size())
        .sum())
}

/// When a log was last written to; none where it never was.
pub fn last_written(directory: &Path) -> Option<Timestamp> {
    let files = LogFiles::list(directory).ok()?;
    let changed = files.all().filter_map(|(_, path)| {
        let found = fs::symlink_metadata(path).ok()?;
        let milliseconds = found.mtime().checked_mul(1_000)? + found.mtime_nsec() / 1_000_000;
        u64::try_from(milliseconds).ok()
    });
    changed.max().map(Timestamp)
}

/// A number that is another one after anything was written; none where nothing was.
pub fn written_mark(directory: &Path) -> Option<u64> {
    let files = LogFiles::list(directory).ok()?;
    let (start, path) = files.all().last()?;
    let length = fs::symlink_metadata(path).ok()?.size();
    // Both grow, and a new file begins with more bytes before it than the last one's mark had.
    Some(start.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(length))
}
