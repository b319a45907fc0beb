//! One-off work: asking for it, and following it.

use hornero_model::{
    Actor, Digest, ImageName, InstanceId, JobName, Millis, ReleaseNumber, ReleaseRef, RunEnd,
    ServiceName, ServiceSpec, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// Asks for a command to run once, in a server of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// What its server is made from.
    pub source: RunSource,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// How long it may take, in milliseconds.
    pub timeout: Millis,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What the server of one-off work is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RunSource {
    /// A release of a service: its image, configuration and secrets.
    Release {
        /// The service.
        service: ServiceName,
        /// Its release; the one that serves when absent.
        #[serde(default)]
        number: Option<ReleaseNumber>,
    },
    /// What is described here, as the server of a service is.
    Server(Box<ServiceSpec>),
}

/// One-off work that was begun and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatus {
    /// Its id, which is that of its server too.
    pub id: InstanceId,
    /// The release that it is made from; absent where it is made from an image alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRef>,
    /// The job that it is a run of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// The name of its image.
    pub image_name: ImageName,
    /// Its image.
    pub image: Digest,
    /// Its command.
    pub command: Vec<String>,
    /// Who asked for it, and why.
    pub by: Actor,
    /// When it was begun.
    pub started: Timestamp,
    /// When it is ended if it goes on.
    pub deadline: Timestamp,
}

/// One line of what one-off work writes, or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunLine {
    /// It wrote a line.
    Output {
        /// `stdout` or `stderr`.
        stream: String,
        /// The text, without its line end.
        text: String,
    },
    /// What was told so far; a client that lost its connection goes on from there.
    Told {
        /// What to ask for next, as `from`.
        next: u64,
    },
    /// Lines were gone before they could be told: logs are bounded.
    Lost {
        /// How many bytes of them.
        bytes: u64,
    },
    /// It has ended; the last line.
    Finished {
        /// How.
        end: RunEnd,
    },
}

/// Asks for one-off work to be ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRunRequest {
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}
