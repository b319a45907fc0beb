//! What load to make: how many workers of which mode, how fast, for how long.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::Serialize;

/// How a worker makes its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// HTTP/1.1, one connection for as long as the server keeps it.
    KeepAlive,
    /// HTTP/1.1, a new connection for every request.
    NewConnection,
    /// HTTP/2 with prior knowledge, one connection for as long as the server keeps it.
    Http2,
    /// HTTP/1.1, reads the answer slowly and checks that it is whole.
    Slow,
    /// One WebSocket held open; every message must come back. A message counts as a request.
    WebSocket,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeepAlive => "keep-alive",
            Self::NewConnection => "new connection",
            Self::Http2 => "HTTP/2",
            Self::Slow => "slow",
            Self::WebSocket => "WebSocket",
        })
    }
}

/// Some workers that do the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Workers {
    /// How they make requests.
    pub mode: Mode,
    /// How many.
    pub count: u32,
    /// Request target, beginning with `/`.
    pub path: String,
    /// From the start of one request of a worker to the start of its next. A request that is late starts at once,
    /// and its latency counts from when it was due, so a stalled server can't hide. None means back to back.
    pub interval: Option<Duration>,
    /// For [`Mode::Slow`]: bytes read a second.
    pub read_rate: u64,
    /// For [`Mode::WebSocket`]: messages after which the worker closes its socket and opens another; none holds one
    /// for ever.
    pub session_messages: Option<u64>,
}

impl Workers {
    /// `count` workers of `mode` that ask for `path`, 20 requests a second each.
    pub fn new(mode: Mode, count: u32, path: impl Into<String>) -> Self {
        let interval = Some(Duration::from_millis(50));
        let read_rate = 16 << 10;
        Self { mode, count, path: path.into(), interval, read_rate, session_messages: None }
    }

    /// The same workers with another interval between requests.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The same workers, each WebSocket closed and opened anew after `messages`.
    #[must_use]
    pub fn sessions_of(mut self, messages: u64) -> Self {
        self.session_messages = Some(messages);
        self
    }

    /// The same workers, each request right after the one before it.
    #[must_use]
    pub fn back_to_back(mut self) -> Self {
        self.interval = None;
        self
    }
}

/// What tells one release's pages from another's: the text between `before` and `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// What stands before it in the body.
    pub before: String,
    /// What ends it.
    pub after: String,
}

impl Marker {
    /// Markers are names of releases; more than this is a page that has lost its end.
    const MAX_BYTES: usize = 128;

    /// The marker in `body`; none where there is none, or one too long to be one.
    pub fn find<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&body[..error.valid_up_to()]).ok()?,
        };
        let (_, rest) = text.split_once(self.before.as_str())?;
        let (marker, _) = rest.split_once(self.after.as_str())?;
        (marker.len() <= Self::MAX_BYTES).then_some(marker)
    }
}

/// A whole load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    /// Where requests go.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Who makes them.
    pub workers: Vec<Workers>,
    /// No request is started after this long.
    pub duration: Duration,
    /// No request is started after this many, over all workers.
    pub requests: Option<u64>,
    /// How long one request may take from connect to its last byte (for a slow one: between two reads).
    pub timeout: Duration,
    /// What to look for in the first 64 KiB of every body.
    pub marker: Option<Marker>,
}

impl LoadPlan {
    /// Load on `address` by `workers`, for an hour at most, with 10 s a request.
    pub fn new(address: SocketAddr, workers: Vec<Workers>) -> Self {
        Self {
            address,
            host: address.to_string(),
            workers,
            duration: Duration::from_secs(3600),
            requests: None,
            timeout: Duration::from_secs(10),
            marker: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found_or_not() {
        let marker = Marker { before: "<!--".into(), after: "-->".into() };
        assert_eq!(marker.find(b"a<!--v1-->b<!--v2-->"), Some("v1"));
        assert_eq!(marker.find(b"<!--v1\xff-->"), None);
        assert_eq!(marker.find(b"<!--v1-->\xff"), Some("v1"));
        assert_eq!(marker.find(b"<!--v1"), None);
        assert_eq!(marker.find(format!("<!--{}-->", "x".repeat(200)).as_bytes()), None);
    }
}
