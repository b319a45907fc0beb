//! What writes need of a server with data, whichever it is.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

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
    /// Adds one to a counter.
    fn count(&mut self, counter: u64) -> Result<(), WriteFault>;
    /// One account gives one to another, both or neither.
    fn transfer(&mut self, from: u64, to: u64) -> Result<(), WriteFault>;
    /// Every number that was appended.
    fn appended(&mut self) -> Result<BTreeSet<u64>, WriteFault>;
    /// What a counter is at.
    fn counted(&mut self, counter: u64) -> Result<u64, WriteFault>;
    /// What all accounts have together.
    fn balance(&mut self) -> Result<i64, WriteFault>;
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
