//! Fault hook: a process that kills itself at a step of a hand-over, for tests.

use std::str::FromStr;

/// A step of a hand-over, in the order of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoverStep {
    /// The predecessor was asked for its table.
    Asked,
    /// It has sent its sockets, or the successor has got them.
    Sockets,
    /// The successor accepts connections and nobody knows yet.
    Accepting,
    /// The admin socket's name is the successor's.
    Published,
    /// The predecessor was told to let go and has not.
    Releasing,
    /// It has let go.
    Released,
}

impl HandoverStep {
    /// Every step.
    pub const ALL: [Self; 6] = [
        Self::Asked,
        Self::Sockets,
        Self::Accepting,
        Self::Published,
        Self::Releasing,
        Self::Released,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Sockets => "sockets",
            Self::Accepting => "accepting",
            Self::Published => "published",
            Self::Releasing => "releasing",
            Self::Released => "released",
        }
    }
}

impl FromStr for HandoverStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|step| step.as_str() == text);
        found.ok_or_else(|| format!("no step of a hand-over is called `{text}`"))
    }
}

/// Kills this process if `step` is the one asked for. Nothing runs after it: no destructor, no flush.
pub(crate) fn pass(at: Option<HandoverStep>, step: HandoverStep) {
    if at == Some(step) {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::process::abort();
    }
}
