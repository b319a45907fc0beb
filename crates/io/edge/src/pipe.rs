//! Pipes through which the kernel moves bytes from one socket to another, so that none of them is copied here (splice(2)).

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Pipes of the whole process, kept ones included: their files come out of those that are spare anyway.
const MOST: usize = 128;
/// Empty pipes that a thread keeps for the next stream, while half of all are free for the streams of other threads.
const KEPT: usize = 32;
/// What a pipe is asked to hold; where the host gives no more than its default, that does.
const SIZE_BYTES: usize = 512 << 10;

static PIPES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Both ends; counted for as long as they are open.
#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    fn open() -> Option<Self> {
        let taken = |pipes| (pipes < MOST).then_some(pipes + 1);
        PIPES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        // Where there are no files left, bytes go the other way.
        let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            PIPES.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let _ = fcntl_setpipe_size(&write, SIZE_BYTES);
        Some(Self { read, write })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pipe of one stream, and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// None only while it is dropped.
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// A pipe with nothing in it; none where all are in use.
    pub(crate) fn take() -> Option<Self> {
        let kept = FREE.with(|free| free.borrow_mut().pop());
        let ends = kept.or_else(Ends::open)?;
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Bytes in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Has `fill` put bytes into it, at most so many as it is told.
    pub(crate) fn fill(
        &mut self,
        fill: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let count = fill(ends.write.as_fd(), SIZE_BYTES)?;
        self.held += count;
        Ok(count)
    }

    /// Has `drain` take bytes out of it, at most so many as it is told.
    pub(crate) fn drain(
        &mut self,
        drain: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let count = drain(ends.read.as_fd(), self.held)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        // What one stream has left in it must never come out of another.
        if self.held > 0 {
            return;
        }
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT && PIPES.load(Ordering::Relaxed) <= MOST / 2 {
                free.push(ends);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_in_a_pipe_never_comes_out_of_another() {
        let mut pipe = Pipe::take().unwrap();
        let put = |to: BorrowedFd<'_>, _: usize| Ok(rustix::io::write(to, b"secret")?);
        assert_eq!(pipe.fill(put).unwrap(), 6);
        drop(pipe);
        let mut others: Vec<Pipe> = (0..KEPT + 1).filter_map(|_| Pipe::take()).collect();
        for other in &mut others {
            let mut bytes = [0; 16];
            let get = |from: BorrowedFd<'_>, _: usize| Ok(rustix::io::read(from, &mut bytes[..])?);
            assert_eq!(other.drain(get).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
