//! The edge's limits and time-outs, each with the reason for its default.

use std::time::Duration;

/// Most header fields in one head: a fixed array on the stack; browsers send about 20, nginx and Apache stop near 100.
pub(crate) const HEADER_COUNT: usize = 128;
/// Longest request target in bytes; beyond it the answer is 414. Twice what common servers take.
pub(crate) const TARGET_BYTES: usize = 16 << 10;
/// Longest chunk-size line in bytes, extensions included: a size is at most 16 digits, extensions are hardly used.
pub(crate) const CHUNK_LINE_BYTES: usize = 256;
/// Request heads beyond the usual buffer that a thread reads at the same time: a flood of them takes 16 MiB, not a GiB.
pub(crate) const LARGE_HEADS: usize = 256;
/// Longest trailer section in bytes.
pub(crate) const TRAILER_BYTES: usize = 16 << 10;
/// Interim (1xx) answers that one request may get, so that a broken backend can't keep it busy for ever.
pub(crate) const INTERIM_ANSWERS: usize = 32;
/// Backends tried for one request before it counts as failed: a set with more refusing backends is down anyway.
pub(crate) const ATTEMPTS: usize = 4;
/// How long a client may be silent after the last answer, and how long it may go on sending in all, while what it sends
/// is thrown away, so that the answer reaches it before the reset that unread bytes would cause.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
pub(crate) const LINGER_IN_ALL: Duration = Duration::from_secs(30);
/// Reads of such bytes before others have their turn.
pub(crate) const LINGER_READS: usize = 16;
/// Bytes thrown away after a connection was refused for there being too many.
pub(crate) const LINGER_BYTES: usize = 1 << 20;
/// Connections beyond the limits that a thread lingers with at the same time.
pub(crate) const LINGERING: usize = 64;
/// Buffer for one direction of one connection: a head and a small body in one read, cheap enough for 10,000 of them.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;
/// Bytes kept for a slow peer, per stream of HTTP/2: bounds memory, and is the back-pressure on the other side.
pub(crate) const HTTP2_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes that a peer may send ahead of the other side, for a stream of HTTP/2 and for all: enough for a long way at full
/// speed.
pub(crate) const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

/// The share of a room that one source may hold, as a divisor: whoever takes all that it can leaves half to others.
pub(crate) const SOURCE_SHARE: usize = 2;
/// The share of a room that each listener can always have, as a divisor: 64 listeners have half together.
pub(crate) const LISTENER_RESERVE: usize = 128;
/// By how much a limit may be passed, for each thread, while what was given up closes: four times what a thread accepts
/// before it does anything else.
pub(crate) const SLACK: usize = 4 * ACCEPTED_AT_ONCE;
/// Connections that a thread accepts before others get their turn, those that are given up for them among these.
pub(crate) const ACCEPTED_AT_ONCE: usize = 16;
/// Files the edge needs beside two for each client connection: listeners, health checks, idle backend connections.
const SPARE_FILES: usize = 1024;

/// What the edge allows a client or a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections over all listeners for the outside. One beyond takes the place of the oldest on which no
    /// request is under way; where there is none, it gets 503 (HTTP) or is closed. Lowered to what the limit of open
    /// files allows.
    pub max_connections: usize,
    /// The same of the listeners for the home's own servers, which are counted apart.
    pub max_internal_connections: usize,
    /// Bytes of a request or answer head; beyond it 431 or 502.
    pub head_bytes: usize,
    /// From the first byte of a head to its last, and from connecting to the end of the first head: stops clients that
    /// send a byte at a time.
    pub head_timeout: Duration,
    /// How long a kept-alive client connection may be silent between requests.
    pub idle_timeout: Duration,
    /// How long connecting to a backend may take: they are on this host's own network.
    pub connect_timeout: Duration,
    /// How long a backend may take from a complete request to the head of its answer.
    pub answer_timeout: Duration,
    /// How long a body may make no progress in either direction.
    pub stream_timeout: Duration,
    /// How long a tunnel (TCP or upgraded) may be silent in both directions.
    pub tunnel_timeout: Duration,
    /// How long a kept-alive backend connection may lie idle and still be used: below the 5 s after which common
    /// servers close theirs.
    pub backend_idle: Duration,
    /// How long a request waits for a backend to become healthy before it gets 503.
    pub hold: Duration,
    /// Requests that wait so at the same time, per thread: each holds a connection and a head.
    pub hold_queue: usize,
    /// How long draining may take before what is left is cut off, when the edge stops.
    pub drain_timeout: Duration,
    /// The same when a successor has taken over: nothing waits for the end, so long downloads, WebSockets and other
    /// tunnels may go on. The successor's limit counts.
    pub handover_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_internal_connections: 8_192,
            head_bytes: 64 << 10,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(300),
            tunnel_timeout: Duration::from_secs(3600),
            backend_idle: Duration::from_secs(4),
            hold: Duration::from_secs(1),
            hold_queue: 1024,
            drain_timeout: Duration::from_secs(30),
            handover_timeout: Duration::from_secs(3600),
        }
    }
}

impl Limits {
    /// The open files that all connections need, each with one to a backend.
    pub(crate) fn files(&self) -> usize {
        2 * (self.max_connections + self.max_internal_connections) + SPARE_FILES
    }

    /// Lowers both numbers of connections, in proportion, to what `files` open files are enough for.
    pub(crate) fn fit(&mut self, files: usize) {
        let connections = files.saturating_sub(SPARE_FILES.min(files / 2)) / 2;
        let wanted = self.max_connections.saturating_add(self.max_internal_connections);
        if wanted > connections {
            let part = |of: usize| (of as u128 * connections as u128 / wanted as u128) as usize;
            self.max_connections = part(self.max_connections);
            self.max_internal_connections = part(self.max_internal_connections);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_open_files() {
        let fitted = |files| {
            let mut limits = Limits::default();
            limits.fit(files);
            (limits.max_connections, limits.max_internal_connections)
        };
        assert_eq!(fitted(Limits::default().files()), (16_384, 8_192));
        assert_eq!(fitted(20_000), (6_325, 3_162));
        assert_eq!(fitted(1_024), (170, 85));
    }
}
