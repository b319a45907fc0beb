//! Commands that enter an instance which runs, beside its own.

use std::time::Duration;

use hornero_model::{ExitCause, Millis};

use crate::EngineError;

/// A command that is to enter: as the instance's own user, with its environment, under its limits, and with no more rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCommand {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// After this it is ended, whether anybody is left to say so or not.
    pub time: Millis,
    /// The terminal that it gets; none for no terminal, and nothing to read.
    pub terminal: Option<GuestTerminal>,
}

/// A terminal as it is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestTerminal {
    /// What programs call it, such as `xterm-256color`.
    pub name: String,
    /// Letters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What a guest has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestWord {
    /// It wrote this, to whichever stream.
    Wrote(Vec<u8>),
    /// It has ended, and nothing is left of it and of what it started; the last word.
    Ended {
        /// How.
        cause: ExitCause,
        /// Whether it was ended because its time is up.
        time_is_up: bool,
    },
    /// Nothing for now.
    Nothing,
}

/// A command that runs in an instance beside its own. Whoever drops it ends it, and so does the end of the instance.
pub trait Guest: Send {
    /// What it says next, waiting at most for `patience`.
    ///
    /// # Errors
    /// Where what keeps it is gone, and it with that.
    fn next(&mut self, patience: Duration) -> Result<GuestWord, EngineError>;

    /// The way to its terminal.
    fn typing(&self) -> Box<dyn GuestTyping>;

    /// Ends it; its last word may not come any more.
    fn end(&mut self);
}

/// The way to the terminal of a guest.
pub trait GuestTyping: Send + Sync {
    /// Types something.
    ///
    /// # Errors
    /// Where the guest is gone.
    fn typed(&self, bytes: &[u8]) -> Result<(), EngineError>;

    /// The terminal has another size now.
    ///
    /// # Errors
    /// As [`GuestTyping::typed`].
    fn resized(&self, columns: u16, rows: u16) -> Result<(), EngineError>;
}
