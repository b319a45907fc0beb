//! Writes figures: a moment as it is seen, many of them merged, and what is too old or too much removed.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{Millis, Timestamp};

use super::{
    block,
    read::{TICKS, files, headers, ticks, without_torn},
    subject::{Figure, FigureSubject},
    window::FigureWindow,
};

/// How much is kept, and in pieces of which size.
#[derive(Debug, Clone, Copy)]
pub struct FigureLimits {
    /// Moments that are merged into one block.
    pub block_ticks: usize,
    /// Values that are, where that is fewer moments.
    pub block_values: usize,
    /// Blocks in one file: what goes at once when there is too much.
    pub file_bytes: u64,
    /// All files.
    pub total_bytes: u64,
    /// What is older goes.
    pub age: Millis,
}

impl Default for FigureLimits {
    fn default() -> Self {
        Self {
            block_ticks: 360,
            block_values: 200_000,
            file_bytes: 1 << 20,
            total_bytes: 128 << 20,
            age: Millis(35 * 86_400_000),
        }
    }
}

/// Where blocks can't be written, moments of so many are held; then they are lost.
const UNSEALED: usize = 4;

/// Writes the figures of a directory. There is one at a time.
#[derive(Debug)]
pub struct FigureWriter {
    directory: PathBuf,
    limits: FigureLimits,
    /// The moments that are not merged yet, and how much of it is whole.
    file: File,
    length: u64,
    window: FigureWindow,
}

impl FigureWriter {
    /// Opens the figures in `directory`, which is made or goes on; what a writer before this one was killed at is cut off.
    ///
    /// # Errors
    /// Where the files can't be read and written.
    pub fn open(directory: &Path, limits: FigureLimits) -> io::Result<Self> {
        hornero_home::directory(directory).map_err(io::Error::from)?;
        let sealed = mended_end(directory)?;
        let (before, length) = ticks(directory, &|_| true)?;
        let unsealed = || before.iter().filter(|one| one.first_tick >= sealed);
        let first = unsealed().next().map_or(sealed, |one| one.first_tick);
        let file = hornero_home::open(&directory.join(TICKS), Opening::Create)?;
        file.set_len(length)?;
        let mut window = FigureWindow::new(first);
        for one in unsealed() {
            if one.first_tick == window.end_tick() {
                window.append(one);
            }
        }
        Ok(Self { directory: directory.to_owned(), limits, file, length, window })
    }

    /// Keeps what was seen at a moment.
    ///
    /// # Errors
    /// Where it can't be written; the moment is lost, and the next one is tried anew.
    pub fn append(
        &mut self,
        at: Timestamp,
        figures: &[(FigureSubject, Figure, u64)],
    ) -> io::Result<()> {
        let mut moment = FigureWindow::new(self.window.end_tick());
        moment.add(at, figures);
        let bytes = block::seal(&moment)?;
        // What was torn by an attempt before is written over.
        self.file.write_all_at(&bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.window.append(&moment);
        if self.window.times.len() >= self.limits.block_ticks
            || self.window.values >= self.limits.block_values
        {
            let sealed = self.seal();
            if sealed.is_err() && self.window.times.len() >= UNSEALED * self.limits.block_ticks {
                self.begin_anew()?;
            }
            sealed?;
            self.trim(at)?;
        }
        Ok(())
    }

    /// Merges what is not merged yet.
    fn seal(&mut self) -> io::Result<()> {
        let bytes = block::seal(&self.window)?;
        let newest = files(&self.directory)?.pop();
        let path = match newest {
            Some((_, path)) if fs::metadata(&path)?.size() < self.limits.file_bytes => path,
            Some(_) | None => {
                self.directory.join(format!("{:020}.figures", self.window.first_tick))
            }
        };
        let file = hornero_home::open(&path, Opening::Create)?;
        let (_, end) = headers(&file)?;
        file.set_len(end)?;
        file.write_all_at(&bytes, end)?;
        self.begin_anew()
    }

    /// Forgets the moments that are not merged, because they are by now or can't be.
    fn begin_anew(&mut self) -> io::Result<()> {
        self.window = FigureWindow::new(self.window.end_tick());
        self.file.set_len(0)?;
        self.length = 0;
        Ok(())
    }

    /// Removes whole files that are too old, and the oldest while there is too much. The newest stays.
    fn trim(&self, now: Timestamp) -> io::Result<()> {
        let mut files = files(&self.directory)?;
        files.pop();
        let mut left = self.limits.total_bytes.saturating_sub(self.limits.file_bytes);
        let mut full = false;
        for (_, path) in files.iter().rev() {
            let size = fs::metadata(path)?.size();
            full |= size > left;
            left = left.saturating_sub(size);
            let last = || -> io::Result<Timestamp> {
                let (headers, _) = headers(&hornero_home::open(path, Opening::Read)?)?;
                Ok(headers.iter().map(|(_, header)| header.last).max().unwrap_or(Timestamp(0)))
            };
            if full || now.since(last()?) > self.limits.age {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Cuts off what is torn at the end of the newest file of blocks; how many moments all blocks have.
fn mended_end(directory: &Path) -> io::Result<u64> {
    let mut sealed = 0;
    for (first, path) in files(directory)?.into_iter().rev() {
        let file = hornero_home::open(&path, Opening::Change)?;
        let headers = without_torn(&file, headers(&file)?.0)?;
        let end = headers.last().map_or(0, |(at, header)| at + header.size());
        file.set_len(end)?;
        sealed = sealed.max(first);
        if let Some((_, header)) = headers.last() {
            return Ok(sealed.max(header.first_tick + header.ticks));
        }
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests;
