//! A standard error that can't fail: where a log's disk is full, lines are lost, and nothing else is.
//!
//! Rust's `eprintln!` panics where it can't write. A control process or an edge must not end because nobody can be told.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// Room for a burst of lines; a full pipe makes whoever writes wait for the disk.
const BLOCK_BYTES: usize = 64 << 10;

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// While it lives, standard error is a pipe whose other end is written to the file that it was before.
pub struct Unfailing {
    file: OwnedFd,
    written: Receiver<()>,
}

impl Unfailing {
    /// Takes over standard error where it is a file; none where it is anything else.
    pub fn take_over() -> io::Result<Option<Self>> {
        let file = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let mut log = File::from(file.try_clone()?);
        if !log.metadata()?.is_file() {
            return Ok(None);
        }
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut read = File::from(read);
        let (done, written) = channel();
        std::thread::Builder::new().name("stderr".to_owned()).spawn(move || {
            let mut block = vec![0; BLOCK_BYTES];
            while let Ok(length @ 1..) = read.read(&mut block) {
                // What a full disk does not take is lost.
                let _ = log.write_all(&block[..length]);
            }
            let _ = done.send(());
        })?;
        rustix::stdio::dup2_stderr(&write)?;
        Ok(Some(Self { file, written }))
    }
}

impl Drop for Unfailing {
    fn drop(&mut self) {
        // This closes the end of the pipe that writes, so the thread reads to its end; a child that still has it may
        // hold it open for longer, and has nothing to say.
        if rustix::stdio::dup2_stderr(&self.file).is_ok() {
            let _ = self.written.recv_timeout(LAST_LINES);
        }
    }
}
