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
/// Nanoseconds between two attempts to write a block while output is lost for want of it.
const RETRY_NS: u64 = 1_000_000_000;

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
    /// Where the lines in blocks end: behind `start` where frames could not be replaced after their block was written.
    sealed: u64,
    /// How long the file is when it is sealed, headers included.
    seal_at: u64,
    /// When a block was last tried for want of room.
    tried_ns: u64,
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
            frames = unsealed_frames(*from, path, sealed)?;
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
            sealed: start,
            seal_at: sizes.block_bytes as u64,
            tried_ns: 0,
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
        self.seal_when_full();
        Ok(())
    }

    /// Moves what is in a pipe into the log, at most 64 KiB; gives how much it was. Whenever this process is killed, a
    /// byte is in the pipe or in the log: the kernel moves it from the one to the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there; as [`LogWriter::take`] where it can't be written, and then it
    /// is still in the pipe. What has left the pipe is never an error: it is in the log, or counts as lost.
    pub fn take_from(
        &mut self,
        stream: LogStream,
        pipe: BorrowedFd<'_>,
        time_ns: u64,
    ) -> io::Result<usize> {
        self.tell_lost(time_ns)?;
        self.make_room(time_ns)?;
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
        let read = self.file.read_exact_at(&mut bytes, self.length + HEADER_BYTES as u64);
        let closed = read.and_then(|()| {
            let frame = Frame { bytes: &bytes, ..empty };
            self.file.write_all_at(&frame.header(), self.length)
        });
        if closed.is_err() {
            self.lose(moved as u64);
            let _ = self.file.set_len(self.length);
            return Ok(moved);
        }
        self.length += (HEADER_BYTES + moved) as u64;
        self.passed(stream, &bytes);
        self.seal_when_full();
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
            self.lose(bytes.len() as u64);
        }
        written
    }

    fn write(&mut self, stream: LogStream, bytes: &[u8], time_ns: u64) -> io::Result<()> {
        self.make_room(time_ns)?;
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

    /// Fails while too much is not sealed; seals it once that is possible again.
    fn make_room(&mut self, time_ns: u64) -> io::Result<()> {
        let most = (UNSEALED_BLOCKS * self.sizes.block_bytes + MAX_LINE_BYTES) as u64;
        if self.length > most && time_ns.abs_diff(self.tried_ns) >= RETRY_NS {
            self.tried_ns = time_ns;
            self.seal(false)?;
        }
        match self.length > most {
            true => Err(io::Error::other("blocks of the log can't be written")),
            false => Ok(()),
        }
    }

    fn passed(&mut self, stream: LogStream, bytes: &[u8]) {
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

    fn seal_when_full(&mut self) {
        if self.length < self.seal_at {
            return;
        }
        // Where it fails, all of it is there as frames.
        let _ = self.seal(false);
        // One line that is longer than a block, or no room for one: tried again with the next.
        self.seal_at = self.length + self.sizes.block_bytes as u64;
    }

    fn seal(&mut self, ended: bool) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        if self.sealed > self.start {
            bytes = frames_behind(self.start, &bytes, self.sealed);
        }
        let mut assembler = Assembler::new(self.sealed);
        LogFrames::of(&bytes, true).for_each(|frame| assembler.take(&frame));
        drop(bytes);
        let (batch, unended) = match ended {
            true => (assembler.finish(), Default::default()),
            false => assembler.into_parts(),
        };
        let mut dropped = Ok(());
        if !batch.text.is_empty() {
            self.append_block(batch.start, &block::seal(&batch)?)?;
            // Whatever fails from here on: these lines are in a block, and are in no other.
            self.sealed = batch.end();
            dropped = self.drop_oldest();
        } else if self.sealed == self.start {
            return Ok(());
        }
        let carried = frames_of(&unended);
        let before = frames_path(&self.directory, self.start);
        self.file = put_frames(&self.directory, self.sealed, &carried)?;
        (self.start, self.length) = (self.sealed, carried.len() as u64);
        // Found and removed by the next writer where it fails.
        let _ = fs::remove_file(before);
        dropped
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
        Ok(())
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

/// The frames of a file whose lines are in no block: blocks end at `sealed`.
fn unsealed_frames(from: u64, path: &Path, sealed: u64) -> io::Result<Vec<u8>> {
    let file = hornero_home::open(path, Opening::Read)?;
    let length = file.metadata()?.size().min(MAX_FRAMES_FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    if sealed > from {
        // Killed between a block and the new file, or that could not be written.
        return Ok(frames_behind(from, &bytes, sealed));
    }
    let mut frames = Vec::new();
    LogFrames::of(&bytes, true).for_each(|frame| frame.append_to(&mut frames));
    Ok(frames)
}

/// What is left of frames, which begin at `from` among whole lines, once those before `sealed` are in a block.
fn frames_behind(from: u64, bytes: &[u8], sealed: u64) -> Vec<u8> {
    // A block was made of all whole lines up to some frame: of that and those before only lines without an end are left.
    let mut frames = LogFrames::of(bytes, true);
    let mut assembler = Assembler::new(from);
    while assembler.end() < sealed
        && let Some(frame) = frames.next()
    {
        assembler.take(&frame);
    }
    let mut left = Vec::new();
    if assembler.end() == sealed {
        left = frames_of(&assembler.into_parts().1);
    } else {
        // Or of everything, where the log was to end there.
        frames = LogFrames::of(bytes, true);
        let mut end = from;
        while end < sealed
            && let Some(frame) = frames.next()
        {
            end += frame.bytes.len() as u64;
        }
    }
    frames.for_each(|frame| frame.append_to(&mut left));
    left
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
    if let Err(error) = file.write_all_at(frames, 0).and_then(|()| fs::rename(&fresh, &path)) {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
