//! Writes the log of one instance: what was read at once becomes a frame, and many frames become a block.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::BorrowedFd,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use hornero_engine_port::log::{LogStream, MAX_LINE_BYTES};
use hornero_home::Opening;

use crate::{
    batch::{Assembler, Unended},
    block,
    files::{LogFiles, blocks_path, frames_path},
    frame::{Frame, HEADER_BYTES, LogFrames, MAX_PAYLOAD_BYTES, stream_index},
    reader::MAX_FRAMES_FILE_BYTES,
    segment::Segment,
};

/// How much is kept, and in pieces of which size.
#[derive(Debug, Clone, Copy)]
pub struct LogSizes {
    /// What was read before it is sealed: what a reader without luck decompresses for one line.
    pub block_bytes: usize,
    /// Blocks in one file: what goes at once when there is too much.
    pub segment_bytes: u64,
    /// All files of one log.
    pub log_bytes: u64,
}

impl Default for LogSizes {
    fn default() -> Self {
        Self { block_bytes: 2 << 20, segment_bytes: 8 << 20, log_bytes: 64 << 20 }
    }
}

/// Where blocks can't be written, frames are kept for so many blocks; more is lost.
const UNSEALED_BLOCKS: usize = 4;

/// Writes the log of one instance. There is one at a time.
#[derive(Debug)]
pub struct LogWriter {
    directory: PathBuf,
    sizes: LogSizes,
    /// The frames that are not sealed, and how much of their file is whole.
    file: File,
    length: u64,
    /// Bytes of whole lines before them.
    start: u64,
    payload: usize,
    seal_at: usize,
    within_line: [bool; 3],
    /// Bytes that could not be written, and were not told of so far.
    lost: u64,
}

/// The present by the host's clock, in nanoseconds since 1970.
pub fn nanoseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl LogWriter {
    /// Opens the log in `directory`, which is made or goes on; what a writer before this one was killed at is mended.
    ///
    /// # Errors
    /// Where the files can't be read and written.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::with_sizes(directory, LogSizes::default())
    }

    /// The same with other sizes.
    ///
    /// # Errors
    /// As [`LogWriter::open`].
    pub fn with_sizes(directory: &Path, sizes: LogSizes) -> io::Result<Self> {
        let files = LogFiles::list(directory)?;
        let sealed = mended_end(&files)?;
        let newest = files.frames.last();
        let start = newest.map_or(0, |(start, _)| *start).max(sealed);
        let mut frames = Vec::new();
        if let Some((from, path)) = newest {
            frames = unsealed_frames(*from, path, start)?;
        }
        let file = put_frames(directory, start, &frames)?;
        for (_, path) in files.frames.iter().filter(|(from, _)| *from != start) {
            fs::remove_file(path)?;
        }
        let mut writer = Self {
            directory: directory.to_owned(),
            sizes,
            file,
            length: frames.len() as u64,
            start,
            payload: 0,
            seal_at: sizes.block_bytes,
            within_line: [false; 3],
            lost: 0,
        };
        for frame in LogFrames::of(&frames, true) {
            writer.passed(frame.stream, frame.bytes);
        }
        Ok(writer)
    }

    /// Takes what was read from a stream, whether its line has ended or not.
    ///
    /// # Errors
    /// Where it could not be written: it counts as lost, and the log says so once it can be written again.
    pub fn take(&mut self, stream: LogStream, bytes: &[u8], time_ns: u64) -> io::Result<()> {
        for part in bytes.chunks(MAX_PAYLOAD_BYTES) {
            self.append(stream, part, time_ns)?;
        }
        self.seal_when_full()
    }

    /// Moves what is in a pipe into the log, at most 64 KiB; gives how much it was. Whenever this process is killed, a
    /// byte is in the pipe or in the log: the kernel moves it from the one to the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there; as [`LogWriter::take`] where it can't be written, and then it
    /// is still in the pipe.
    pub fn take_from(
        &mut self,
        stream: LogStream,
        pipe: BorrowedFd<'_>,
        time_ns: u64,
    ) -> io::Result<usize> {
        self.tell_lost(time_ns)?;
        self.check_room()?;
        let continues = self.within_line[stream_index(stream)];
        let empty = Frame { time_ns, stream, continues, bytes: &[] };
        let moved = self
            .file
            .write_all_at(&empty.open_header(), self.length)
            .and_then(|()| self.move_from(pipe));
        let moved = match moved {
            Ok(moved) if moved > 0 => moved,
            other => {
                // The header of nothing: the next one takes its place, and no reader minds it.
                let _ = self.file.set_len(self.length);
                return other;
            }
        };
        let mut bytes = vec![0; moved];
        self.file.read_exact_at(&mut bytes, self.length + HEADER_BYTES as u64)?;
        let frame = Frame { bytes: &bytes, ..empty };
        self.file.write_all_at(&frame.header(), self.length)?;
        self.length += (HEADER_BYTES + moved) as u64;
        self.passed(stream, &bytes);
        self.seal_when_full()?;
        Ok(moved)
    }

    /// Moves bytes from a pipe to behind an open header.
    fn move_from(&self, pipe: BorrowedFd<'_>) -> io::Result<usize> {
        let mut place = self.length + HEADER_BYTES as u64;
        let flags = rustix::pipe::SpliceFlags::NONBLOCK;
        loop {
            let moved = rustix::pipe::splice(
                pipe,
                None,
                &self.file,
                Some(&mut place),
                MAX_PAYLOAD_BYTES,
                flags,
            );
            match moved {
                Err(rustix::io::Errno::INTR) => {}
                moved => return Ok(moved?),
            }
        }
    }

    /// Counts bytes that were read and are not in the log: the log will say so.
    pub fn lose(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Seals everything, lines without an end included: nothing will come any more.
    ///
    /// # Errors
    /// Where it can't be written; then it stays as it is, and is read all the same.
    pub fn finish(&mut self, time_ns: u64) -> io::Result<()> {
        self.tell_lost(time_ns)?;
        self.seal(true)
    }

    fn append(&mut self, stream: LogStream, bytes: &[u8], time_ns: u64) -> io::Result<()> {
        let written = self.tell_lost(time_ns).and_then(|()| self.write(stream, bytes, time_ns));
        if written.is_err() {
            self.lost += bytes.len() as u64;
        }
        written
    }

    fn write(&mut self, stream: LogStream, bytes: &[u8], time_ns: u64) -> io::Result<()> {
        self.check_room()?;
        let continues = self.within_line[stream_index(stream)];
        let mut frame = Vec::with_capacity(HEADER_BYTES + bytes.len());
        Frame { time_ns, stream, continues, bytes }.append_to(&mut frame);
        if let Err(error) = self.file.write_all_at(&frame, self.length) {
            // A torn frame would hide those behind it.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += frame.len() as u64;
        self.passed(stream, bytes);
        Ok(())
    }

    fn check_room(&self) -> io::Result<()> {
        match self.payload > UNSEALED_BLOCKS * self.sizes.block_bytes + MAX_LINE_BYTES {
            true => Err(io::Error::other("blocks of the log can't be written")),
            false => Ok(()),
        }
    }

    fn passed(&mut self, stream: LogStream, bytes: &[u8]) {
        self.payload += bytes.len();
        if let Some(last) = bytes.last() {
            self.within_line[stream_index(stream)] = *last != b'\n';
        }
    }

    /// Says what was lost, once there is room again.
    fn tell_lost(&mut self, time_ns: u64) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let text =
            format!("output was lost, since it could not be written: lost_bytes={}\n", self.lost);
        self.write(LogStream::Hornero, text.as_bytes(), time_ns)?;
        self.lost = 0;
        Ok(())
    }

    fn seal_when_full(&mut self) -> io::Result<()> {
        if self.payload < self.seal_at {
            return Ok(());
        }
        let sealed = self.seal(false);
        // One line that is longer than a block, or no room for one: tried again with the next.
        self.seal_at = self.payload + self.sizes.block_bytes;
        sealed
    }

    fn seal(&mut self, ended: bool) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        let mut assembler = Assembler::new(self.start);
        LogFrames::of(&bytes, true).for_each(|frame| assembler.take(&frame));
        drop(bytes);
        let (batch, unended) = match ended {
            true => (assembler.finish(), Default::default()),
            false => assembler.into_parts(),
        };
        if batch.text.is_empty() {
            return Ok(());
        }
        let block = block::seal(&batch)?;
        self.append_block(batch.start, &block)?;
        let carried = frames_of(&unended);
        let before = frames_path(&self.directory, self.start);
        self.file = put_frames(&self.directory, batch.end(), &carried)?;
        (self.start, self.length) = (batch.end(), carried.len() as u64);
        self.payload = unended.iter().map(|line| line.bytes.len()).sum();
        // Found and removed by the next writer where it fails.
        let _ = fs::remove_file(before);
        Ok(())
    }

    fn append_block(&self, start: u64, block: &[u8]) -> io::Result<()> {
        let mut files = LogFiles::list(&self.directory)?;
        let size = block.len() as u64;
        let newest = files.blocks.pop();
        let length = |path: &Path| fs::symlink_metadata(path).map_or(u64::MAX, |it| it.size());
        let going_on = newest
            .as_ref()
            .map(|(_, path)| (path.clone(), length(path)))
            .filter(|(_, length)| length.saturating_add(size) <= self.sizes.segment_bytes);
        let (path, length) = going_on.unwrap_or((blocks_path(&self.directory, start), 0));
        let file = hornero_home::open(&path, Opening::Create)?;
        if let Err(error) = file.write_all_at(block, length) {
            let _ = file.set_len(length);
            return Err(error);
        }
        self.drop_oldest()
    }

    /// Drops the oldest files of blocks while all of them are too large.
    fn drop_oldest(&self) -> io::Result<()> {
        let blocks = LogFiles::list(&self.directory)?.blocks;
        let mut all = 0;
        for (position, (_, path)) in blocks.iter().rev().enumerate() {
            all += fs::symlink_metadata(path)?.size();
            if position > 0 && all > self.sizes.log_bytes {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Where the sealed lines end; a block that is torn is cut off.
fn mended_end(files: &LogFiles) -> io::Result<u64> {
    let Some((start, path)) = files.blocks.last() else { return Ok(0) };
    let Some(segment) = Segment::open(path)? else { return Ok(*start) };
    let (whole, size) = segment.extent();
    if whole < size {
        hornero_home::open(path, Opening::Change)?.set_len(whole)?;
    }
    Ok(segment.blocks().last().map_or(*start, |(_, header)| header.end()))
}

/// The frames of a file that lie behind a place among whole lines.
fn unsealed_frames(from: u64, path: &Path, start: u64) -> io::Result<Vec<u8>> {
    let file = hornero_home::open(path, Opening::Read)?;
    let length = file.metadata()?.size().min(MAX_FRAMES_FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let (mut assembler, mut frames) = (Assembler::new(from), Vec::new());
    for frame in LogFrames::of(&bytes, true) {
        assembler.take(&frame);
        frame.append_to(&mut frames);
    }
    if from == start {
        return Ok(frames);
    }
    // Killed between a block and the new file: whole lines are in the block.
    Ok(frames_of(&assembler.into_parts().1))
}

/// Lines without an end, as frames again.
fn frames_of(unended: &[Unended; 3]) -> Vec<u8> {
    let mut frames = Vec::new();
    let streams = [LogStream::Stdout, LogStream::Stderr, LogStream::Hornero];
    for (stream, line) in streams.into_iter().zip(unended) {
        for (position, bytes) in line.bytes.chunks(MAX_PAYLOAD_BYTES).enumerate() {
            let continues = line.continues || position > 0;
            Frame { time_ns: line.time_ns, stream, continues, bytes }.append_to(&mut frames);
        }
    }
    frames
}

/// Puts a file of frames in its place, whole.
fn put_frames(directory: &Path, start: u64, frames: &[u8]) -> io::Result<File> {
    let path = frames_path(directory, start);
    let fresh = directory.join(format!(".{start:020}.new"));
    let file = hornero_home::open(&fresh, Opening::Replace)?;
    file.write_all_at(frames, 0)?;
    fs::rename(&fresh, &path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
