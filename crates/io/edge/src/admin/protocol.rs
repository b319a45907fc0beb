//! What is said on the admin socket: one JSON object a line, a question and its answer in turn.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hornero_model::{
    BackendStatus, EdgeCalls, EdgeStatus, ReleaseCounters, ReleaseNumber, RouteTable, ServiceName,
    Term,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::change::TableChange;

/// Longest line in bytes: a table at all its limits written out is well below.
pub const LINE_LIMIT: usize = 32 << 20;
/// Longest time that a `wait` may ask for; a client that wants more asks again.
pub const WAIT_LIMIT_MS: u64 = 600_000;

/// The admin protocol spoken here. Grows when a message changes its meaning; within one number new questions and new
/// optional fields may come, and fields that are not known are ignored.
pub const ADMIN_PROTOCOL: u32 = 1;
/// The take-over protocol spoken here: `hello`, `takeover`, `sockets`, `release`, and what a successor tells its
/// predecessor afterwards. The first edges, which speak 1 as well, refuse fields that they don't know: a field may be
/// added only to what an edge says to one that greeted it.
pub const TAKEOVER_PROTOCOL: u32 = 1;

/// A question to the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum AdminRequest {
    /// Says who asks, and asks who answers. The first edges refuse it as malformed: they speak protocol 1 of both kinds
    /// and don't tell their version.
    Hello(Greeting),
    /// Says that a control of this term has begun: what an older one asks is refused from now on.
    Obey {
        /// Its term.
        term: Term,
    },
    /// Puts a table in force.
    Apply {
        /// The table.
        table: RouteTable,
        /// The term of the control that asks; absent in one from before there were terms.
        #[serde(default, skip_serializing_if = "Term::is_first")]
        term: Term,
    },
    /// Puts a table in force that is told by what it changes of the one in force. That one has to have come from the control
    /// that asks: numbers of tables come again with another one.
    Change {
        /// What it changes.
        change: TableChange,
        /// As for a table that is put in force.
        term: Term,
    },
    /// Checks a table and makes it ready, without putting it in force: several edges put one in force only when each has
    /// prepared it.
    Prepare {
        /// The table.
        table: RouteTable,
        /// As for a table that is put in force.
        #[serde(default, skip_serializing_if = "Term::is_first")]
        term: Term,
    },
    /// Puts the table in force that was prepared last.
    Commit {
        /// Its generation: another one is refused.
        generation: u64,
        /// As for a table.
        #[serde(default, skip_serializing_if = "Term::is_first")]
        term: Term,
    },
    /// Asks for the status.
    Status,
    /// Asks which of the home's own servers called what.
    Calls,
    /// Asks for the status once its version is larger than `after_version`, or when the time is up.
    Wait {
        /// The version already known.
        after_version: u64,
        /// How long to wait at most.
        timeout_ms: u64,
    },
    /// Closes what is in flight on one release of a service.
    Cut {
        /// The service.
        service: ServiceName,
        /// Its release.
        release: ReleaseNumber,
        /// The table by which that release gets no requests: with another one in force nothing is cut off. Absent where
        /// it shall be cut off whatever is in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        /// As for a table.
        #[serde(default, skip_serializing_if = "Term::is_first")]
        term: Term,
    },
    /// Asks for the listening sockets, table and counters; sent by a successor only.
    Takeover,
    /// Asks for the descriptors of the sockets, in the order that the answer to `takeover` named them. A question of
    /// its own, so that no buffered read of that answer swallows them.
    Sockets,
    /// Told by the successor once it accepts connections: the predecessor stops accepting and drains.
    Release,
    /// Drains and exits.
    Stop {
        /// As for a table.
        #[serde(default, skip_serializing_if = "Term::is_first")]
        term: Term,
    },
}

impl AdminRequest {
    /// The term of the control that asks; none where nothing is changed for a control.
    pub(crate) fn term(&self) -> Option<Term> {
        match self {
            Self::Obey { term }
            | Self::Apply { term, .. }
            | Self::Change { term, .. }
            | Self::Prepare { term, .. }
            | Self::Commit { term, .. }
            | Self::Cut { term, .. }
            | Self::Stop { term } => Some(*term),
            Self::Hello(_)
            | Self::Status
            | Self::Calls
            | Self::Wait { .. }
            | Self::Takeover
            | Self::Sockets
            | Self::Release => None,
        }
    }

    /// The same as those edges understand it that know of no terms; none where they don't know it at all.
    pub(crate) fn without_term(&self) -> Option<Self> {
        let mut request = self.clone();
        match &mut request {
            Self::Apply { term, .. } | Self::Cut { term, .. } | Self::Stop { term } => {
                *term = Term::default();
            }
            // Edges from before terms know of none of these.
            Self::Obey { .. }
            | Self::Change { .. }
            | Self::Prepare { .. }
            | Self::Commit { .. } => return None,
            Self::Hello(_)
            | Self::Status
            | Self::Calls
            | Self::Wait { .. }
            | Self::Takeover
            | Self::Sockets
            | Self::Release => {}
        }
        Some(request)
    }
}

/// What either side says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The version of the program.
    pub version: String,
    /// The admin protocol that it speaks.
    pub admin: u32,
    /// The take-over protocol that it speaks.
    pub takeover: u32,
    /// Of a successor: how long the predecessor may serve what it has open once it was released, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover_timeout_ms: Option<u64>,
}

impl Greeting {
    /// The greeting of this program, whose version is `version`.
    pub(crate) fn of(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            admin: ADMIN_PROTOCOL,
            takeover: TAKEOVER_PROTOCOL,
            handover_timeout_ms: None,
        }
    }
}

/// An edge as it tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeIdentity {
    /// Version and protocols.
    #[serde(flatten)]
    pub greeting: Greeting,
    /// Its process id.
    pub pid: u32,
    /// Client connections that are open at it.
    pub connections: u64,
    /// Whether a successor has its sockets, so that it only serves what is open.
    pub leaving: bool,
    /// How it took over; absent in one that took over from nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succession: Option<TakeoverReport>,
}

/// How an edge took over from its predecessor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TakeoverReport {
    /// The predecessor's process id; 0 where it was too old to tell.
    pub predecessor: u32,
    /// The predecessor's version; absent where it was too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// From the first question to the predecessor's word that it accepts nothing more, in milliseconds.
    pub took_ms: f64,
    /// For how long of these both have accepted connections, in milliseconds.
    pub shared_ms: f64,
    /// Client connections that were open at the predecessor when it was released; absent where it was too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Those of them that are open still; absent once the predecessor has ended, or where it is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
    /// Whether the predecessor has ended.
    pub ended: bool,
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation in force.
    pub generation: u64,
    /// From the first thread's to the last thread's use of the table, in milliseconds; 0 where the same table was
    /// in force already.
    pub switch_ms: f64,
    /// The counters of every release in the table, read just after the last thread had switched; without latencies.
    pub counters: Vec<ReleaseCounters>,
}

/// What a successor gets; it asks for the sockets next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// The table in force.
    pub table: RouteTable,
    /// The version of the status, so that it keeps growing.
    pub version: u64,
    /// Health as the predecessor saw it.
    pub backends: Vec<BackendStatus>,
    /// The address of each listening socket.
    pub sockets: Vec<std::net::SocketAddr>,
}

/// An answer of the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum AdminReply {
    /// Who answers.
    Identity(EdgeIdentity),
    /// The table is ready.
    Prepared {
        /// Its generation.
        generation: u64,
    },
    /// The table is in force and on disk.
    Applied(Applied),
    /// The status.
    Status(EdgeStatus),
    /// Which of the home's own servers called what.
    Calls(EdgeCalls),
    /// How many requests were cut off.
    Cut {
        /// Their number.
        count: u64,
    },
    /// What a successor needs.
    Handover(Handover),
    /// The successor that said hello is alone from now on.
    Released {
        /// Client connections still open here.
        connections: u64,
    },
    /// Done, or under way.
    Done,
    /// Refused; nothing was changed unless the text says so.
    Refused {
        /// Which rule the question broke.
        code: RefusalCode,
        /// Why, for people.
        message: String,
    },
}

/// Why the edge refused a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The question could not be read.
    BadRequest,
    /// The table contradicts itself or a limit.
    InvalidTable,
    /// The table's generation is not larger than that of the table in force.
    StaleGeneration,
    /// Another table than the one to be put in force was prepared, or none since the edge began.
    NotPrepared,
    /// Another table than the one that a change is of is in force, or one that another control gave.
    UnknownTable,
    /// A listening socket could not be opened.
    Listen,
    /// The table is in force but could not be written to disk; asking again tries again.
    NotPersisted,
    /// This edge has handed over to a successor.
    HandedOver,
    /// Another control process has taken over from the one that asks.
    TermOver,
    /// Which control is obeyed can't be told or kept.
    TermUnknown,
}

/// The admin socket of the edge whose state lies in `state_dir`.
pub fn admin_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.sock")
}

/// Makes `path` accessible to its owner alone.
pub(crate) fn restrict(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A line without its end; none at the end of the stream.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin>(
    stream: &mut R,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(LINE_LIMIT as u64).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Ok(None),
    }
}
