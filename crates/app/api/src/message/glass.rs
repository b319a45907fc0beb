//! Sessions in servers: begun, followed, listed.

use hornero_model::{GlassEnd, GlassId, InstanceId, Millis, ReleaseNumber, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// Has a command run in a server, which is replaced because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassRequest {
    /// The server.
    pub instance: InstanceId,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// For how long, in milliseconds.
    pub time: Millis,
    /// Whether the server is replaced at once, and gets no more requests from then on.
    #[serde(default)]
    pub leaves: bool,
    /// The terminal that it gets; none for no terminal.
    #[serde(default)]
    pub terminal: Option<GlassScreen>,
    /// Who and why; there has to be a reason.
    pub intent: Intent,
}

/// A terminal at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassScreen {
    /// What programs call it, such as `xterm-256color`.
    pub name: String,
    /// Letters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What somebody types in a session, or the size that their terminal has now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassTyped {
    /// What was typed.
    #[serde(default)]
    pub text: String,
    /// Columns and rows, where they changed.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
}

/// A line of a session as it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GlassLine {
    /// It is recorded in the ledger that it begins; the first line.
    Begun {
        /// It.
        session: Box<GlassStatus>,
    },
    /// What the command wrote, as it is in the recording.
    Wrote {
        /// It; bytes that are no UTF-8 are replaced.
        text: String,
    },
    /// It has ended; the last line.
    Finished {
        /// How.
        end: Box<GlassEnd>,
        /// More about it, where there is.
        detail: Option<String>,
    },
}

/// A session in a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlassStatus {
    /// Its id.
    pub session: GlassId,
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it was begun.
    pub since: Timestamp,
    /// When its time is up.
    pub until: Timestamp,
    /// Whether the server gets no requests meanwhile.
    pub leaves: bool,
    /// Whether the server is there still.
    pub server_runs: bool,
    /// How it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<GlassEnd>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}
