//! A standard error that can't fail and does not grow for ever: where a log's disk is full, lines are lost, and nothing
//! else is.
//!
//! Rust's `eprintln!` panics where it can't write. A control process or an edge must not end because nobody can be told.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// Room for a burst of lines; a full pipe makes whoever writes wait for the disk.
const BLOCK_BYTES: usize = 64 << 10;

/// How large a log grows; then it becomes the old one, of which one is kept. That is some 80,000 lines.
const LOG_BYTES: u64 = 8 << 20;

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// While it lives, standard error is a pipe whose other end is written to the file that it was before.
pub struct Unfailing {
    file: OwnedFd,
    written: Receiver<()>,
}

impl Unfailing {
    /// Takes over standard error where it is a file, which is then kept within bounds; none where it is anything else.
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
                if block[..length].ends_with(b"\n")
                    && let Some(fresh) = begin_anew(&log)
                {
                    log = fresh;
                }
            }
            let _ = done.send(());
        })?;
        rustix::stdio::dup2_stderr(&write)?;
        Ok(Some(Self { file, written }))
    }
}

/// Puts a log that has grown too large aside and opens a new one in its place; none where it has not, or can't be.
fn begin_anew(log: &File) -> Option<File> {
    let found = log.metadata().ok().filter(|found| found.len() >= LOG_BYTES)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", log.as_raw_fd())).ok()?;
    // One that somebody else has moved away or removed has another name by now, or none.
    let named = fs::symlink_metadata(&path).ok()?;
    if (named.dev(), named.ino()) != (found.dev(), found.ino()) {
        return None;
    }
    let mut old = path.clone().into_os_string();
    old.push(".old");
    fs::rename(&path, old).ok()?;
    hornero_home::open(&path, hornero_home::Opening::Append).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_full_becomes_the_old_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("control.log");
        let log = hornero_home::open(&path, hornero_home::Opening::Append).unwrap();
        (&log).write_all(b"few\n").unwrap();
        assert!(begin_anew(&log).is_none(), "there is room");
        log.set_len(LOG_BYTES).unwrap();
        let fresh = begin_anew(&log).expect("it is full");
        (&fresh).write_all(b"new\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
        let old = home.path().join("control.log.old");
        assert_eq!(fs::metadata(&old).unwrap().len(), LOG_BYTES);
        // One that somebody removed is left alone.
        fs::remove_file(&path).unwrap();
        fresh.set_len(LOG_BYTES).unwrap();
        assert!(begin_anew(&fresh).is_none());
        assert!(!path.exists());
    }
}
