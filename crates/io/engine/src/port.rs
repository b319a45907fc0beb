//! The `Engine` port: what makes, stops, lists and removes instances, and the words it uses.

use std::{collections::BTreeMap, net::IpAddr, sync::mpsc::Receiver, time::Duration};

use hornero_model::{
    Digest, ExitCause, FileIdentity, HostFeature, InstanceId, ReleaseNumber, Resources, Scratch,
    ServiceName, Timestamp,
};
use hornero_sandbox::{Root, User};
use serde::{Deserialize, Serialize};

use crate::log::{LogPage, LogQuery};

/// Makes instances. Every call may be repeated, and blocks until it is done or has failed.
pub trait Engine: Send + Sync {
    /// Starts an instance and returns once its command runs. One that runs already is returned as it is.
    fn start(&self, spec: &InstanceSpec) -> Result<Started, EngineError>;

    /// Ends an instance: its stop signal, then, after `grace`, SIGKILL for everything in it. One that has ended
    /// already just says why.
    fn stop(&self, id: &InstanceId, grace: Duration) -> Result<ExitCause, EngineError>;

    /// Ends an instance at once where it runs, and removes everything but its logs and its record. One that is
    /// removed already, or was never there, is no error.
    fn remove(&self, id: &InstanceId) -> Result<(), EngineError>;

    /// Every instance that was not removed, sorted by id, those started by an earlier control process included.
    fn list(&self) -> Result<Vec<Instance>, EngineError>;

    /// A channel of exits. Over all channels of one engine value every exit is told once, also of instances that
    /// ended while no control process ran. A newer channel replaces the older.
    fn exits(&self) -> Receiver<Exit>;

    /// Lines that an instance wrote, also of one long removed.
    fn logs(&self, id: &InstanceId, query: &LogQuery) -> Result<LogPage, EngineError>;

    /// What an instance uses now.
    fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError>;

    /// What this host can and can't do for instances.
    fn support(&self) -> Vec<HostFeature>;
}

/// Everything an engine needs to make one instance; complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    /// Its id, unique for ever within a home.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Digest,
    /// The files of the image.
    pub root: Root,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The whole environment of the command; `PATH`, `HOME` and `HOSTNAME` are added where they are missing.
    pub env: BTreeMap<String, String>,
    /// Who the command runs as, resolved against the image.
    pub user: User,
    /// Working directory; empty means `/`.
    pub workdir: String,
    /// Writable directories besides `/tmp`.
    pub scratch: Vec<Scratch>,
    /// Limits.
    pub resources: Resources,
    /// Whether it may open connections to outside Hornero's network.
    pub egress: bool,
    /// Its host name.
    pub hostname: String,
    /// Lines added to `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// The signal that asks the command to end.
    pub stop_signal: StopSignal,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its name.
    pub name: String,
}

/// How a command is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT, the graceful end of nginx.
    Quit,
}

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id of the command on the host.
    pub pid: u32,
    /// Its address on Hornero's network; none without one.
    pub address: Option<IpAddr>,
    /// The file that its root's metadata is mounted from; none where that is not known, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<FileIdentity>,
}

/// An instance as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Digest,
    /// When its start was asked for.
    pub created: Timestamp,
    /// Whether it runs.
    pub status: InstanceStatus,
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// Its shim is starting the command.
    Starting,
    /// Its command runs.
    Running(Started),
    /// It has ended.
    Exited {
        /// Why.
        cause: ExitCause,
        /// When it was noticed.
        at: Timestamp,
    },
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The instance.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Why it ended.
    pub cause: ExitCause,
    /// When it was noticed.
    pub at: Timestamp,
}

/// What an instance uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Memory in bytes, page cache included.
    pub memory_bytes: u64,
    /// Processor time so far, in microseconds.
    pub cpu_us: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Why an engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The specification can't be right.
    #[error("bad specification of instance `{id}`: {reason}")]
    Invalid {
        /// The instance.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The command did not start; nothing of it is left but its record and its logs.
    #[error("instance `{id}` did not start: {reason}")]
    NotStarted {
        /// The instance.
        id: InstanceId,
        /// Which step failed, and why.
        reason: String,
    },
    /// An instance with this id has ended already; ids are not used twice.
    #[error("instance `{id}` has ended already: {cause}")]
    Ended {
        /// The instance.
        id: InstanceId,
        /// Why it ended.
        cause: ExitCause,
    },
    /// No such instance.
    #[error("no instance `{id}`")]
    NotFound {
        /// The id asked for.
        id: InstanceId,
    },
    /// This host lacks something.
    #[error("this host can't run instances: {0}")]
    Unsupported(String),
    /// A file or process of the engine itself failed.
    #[error("{what}")]
    Io {
        /// What was done, and to what.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl EngineError {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}
