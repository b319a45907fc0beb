//! What writes need of a server with data, whichever it is.

use std::{net::SocketAddr, time::Duration};

/// How long an answer may take: longer than any replacement holds connections back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
/// Accounts that give to each other; together they have nothing.
pub(super) const ACCOUNTS: u64 = 8;

/// A server that takes writes.
pub trait WriteStore: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`WriteFault::Refused`] where nobody listens, and [`WriteFault::Broken`] for everything else.
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault>;

    /// Which writes it takes, and what it promises of them.
    fn rule(&self) -> WriteRule {
        WriteRule::Mixed
    }
}

/// Which writes a server takes, and what it promises of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRule {
    /// Numbers, counters and transfers. What broke off is not asked for again.
    Mixed,
    /// Numbers alone. One that broke off is sent again until it is acknowledged, and is there once.
    Once,
    /// The same, and a number that was sent again may be there again: its readers know it by itself.
    AtLeastOnce,
}

/// An open connection to a server that takes writes. After a fault it is of no more use.
pub trait WriteSession {
    /// Makes everything ready for the first write.
    ///
    /// # Errors
    /// See [`WriteFault`], as for all of them.
    fn prepare(&mut self) -> Result<(), WriteFault>;
    /// Appends a number; it is acknowledged when this returns.
    fn append(&mut self, number: u64) -> Result<(), WriteFault>;
    /// Every number that was appended, as often as it is there.
    fn appended(&mut self) -> Result<Vec<u64>, WriteFault>;

    /// Adds one to a counter.
    fn count(&mut self, _counter: u64) -> Result<(), WriteFault> {
        Err(numbers_alone())
    }
    /// One account gives one to another, both or neither.
    fn transfer(&mut self, _from: u64, _to: u64) -> Result<(), WriteFault> {
        Err(numbers_alone())
    }
    /// What a counter is at.
    fn counted(&mut self, _counter: u64) -> Result<u64, WriteFault> {
        Err(numbers_alone())
    }
    /// What all accounts have together.
    fn balance(&mut self) -> Result<i64, WriteFault> {
        Err(numbers_alone())
    }
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// Nobody listens: the connection was refused.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection ended before its first answer, or the server said that it is not ready.
    #[error("not served: {0}")]
    Unserved(String),
    /// An open connection ended: whether the write is there nobody knows.
    #[error("broken: {0}")]
    Broken(String),
}

/// A connection without a byte on it.
pub(super) fn open(address: SocketAddr) -> Result<std::net::TcpStream, WriteFault> {
    let refused = |error: std::io::Error| WriteFault::Refused(error.to_string());
    let stream = std::net::TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).map_err(refused)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}

pub(super) fn broken(error: impl ToString) -> WriteFault {
    WriteFault::Broken(error.to_string())
}

fn numbers_alone() -> WriteFault {
    broken("it takes numbers alone")
}
