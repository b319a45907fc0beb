//! Read buffers: taken from a store of the thread's own when bytes arrive, given back when they are used up.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll, ready},
};

use crate::{limits::BUFFER_BYTES, stream::Stream};

/// Buffers a thread keeps for reuse: 4 MiB at most.
const KEPT: usize = 256;
/// Bytes that are kept apart while more are awaited, so that a client that stops in the middle of a head holds hardly
/// more than it sent.
const PARKED_BYTES: usize = 1 << 10;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes received and not yet used; holds no memory while empty and released.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Its whole length is usable; `start..end` is filled. Below the usual size only while parked.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether nothing more fits without growing.
    pub(crate) fn is_full(&self) -> bool {
        self.data.len() >= BUFFER_BYTES && self.end - self.start == self.data.len()
    }

    /// Makes room beyond the usual size, up to `limit` bytes; false when that is reached.
    pub(crate) fn grow(&mut self, limit: usize) -> bool {
        if self.data.len() >= limit {
            return false;
        }
        let size = (self.data.len() * 2).clamp(BUFFER_BYTES, limit.max(BUFFER_BYTES));
        self.data.resize(size, 0);
        true
    }

    /// Receives what fits; must not be full. 0 is the end of the stream.
    pub(crate) fn poll_fill<S: Stream + ?Sized>(
        &mut self,
        context: &mut Context<'_>,
        stream: &S,
    ) -> Poll<io::Result<usize>> {
        if self.data.len() < BUFFER_BYTES {
            self.unpark();
        }
        if self.end == self.data.len() {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        debug_assert!(self.end < self.data.len());
        let received = stream.poll_recv(context, &mut self.data[self.end..]);
        if received.is_pending() {
            // Whoever waits for a first byte holds no memory.
            self.release();
        }
        let count = ready!(received)?;
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Gives back what a few bytes don't need; the next receive takes it again.
    pub(crate) fn park(&mut self) {
        let filled = self.start..self.end;
        if self.data.len() == BUFFER_BYTES && filled.len() <= PARKED_BYTES {
            let parked = self.data[filled.clone()].to_vec();
            give_back(std::mem::replace(&mut self.data, parked));
            (self.start, self.end) = (0, filled.len());
        }
    }

    fn unpark(&mut self) {
        let mut data =
            FREE.with(|free| free.borrow_mut().pop()).unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        let parked = &self.data[self.start..self.end];
        data[..parked.len()].copy_from_slice(parked);
        (self.start, self.end) = (0, parked.len());
        self.data = data;
    }

    /// Gives the memory back while there is nothing in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.start = 0;
            self.end = 0;
            give_back(data);
        }
    }
}

fn give_back(data: Vec<u8>) {
    if data.len() == BUFFER_BYTES {
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(data);
            }
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.consume(self.end - self.start);
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_buffer_keeps_its_bytes_and_little_else() {
        let mut buffer = Buffer { data: vec![7; BUFFER_BYTES], start: 10, end: 13 };
        buffer.data[10..13].copy_from_slice(b"GET");
        buffer.park();
        assert_eq!((buffer.filled(), buffer.data.len()), (&b"GET"[..], 3));
        assert!(!buffer.is_full());
        buffer.unpark();
        assert_eq!((buffer.filled(), buffer.data.len()), (&b"GET"[..], BUFFER_BYTES));
    }
}
