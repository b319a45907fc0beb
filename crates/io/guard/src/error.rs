//! Why a server could not be asked; none of it is a pass.

use std::{io, net::SocketAddr};

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody takes connections there.
    #[error("no connection to {address}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection ended, or no answer came in time.
    #[error("it did not answer: {}", ended(.0))]
    Unanswered(io::Error),
    /// It said no.
    #[error("it answers: {0}")]
    Refused(String),
    /// It wants something that can't be given.
    #[error("{0}")]
    Login(String),
    /// Its answer is none of its protocol, or more than a guard reads.
    #[error("its answer is not understood: {0}")]
    Foreign(String),
    /// Nothing of the network asks this.
    #[error("a command is run, not asked")]
    Command,
}

impl ProbeError {
    pub(crate) fn foreign(what: impl Into<String>) -> Self {
        Self::Foreign(what.into())
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::Unanswered(error)
    }
}

/// What an end of a connection means, in words that say it.
fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "its time is up".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}
