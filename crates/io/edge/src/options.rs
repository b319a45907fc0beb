//! How an edge runs: where its state lies, its threads and limits.

use std::{net::IpAddr, path::PathBuf};

use hornero_model::BootId;

use crate::{fault::HandoverStep, limits::Limits};

/// How an edge runs.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// Where its state lies: `HOME/edge`. Made with mode 0700 if it is not there.
    pub state_dir: PathBuf,
    /// Threads that serve, each with sockets of its own; 0 for one a core.
    pub threads: usize,
    /// What clients and backends may do.
    pub limits: Limits,
    /// The version that it tells others.
    pub version: String,
    /// This start of the host, where it is known: backends of another one in the table on disk are not used.
    pub boot: Option<BootId>,
    /// First and last address of listeners for the home's own servers: their connections are counted apart.
    pub internal_addresses: Option<(IpAddr, IpAddr)>,
    /// Fault hook: the step of a hand-over, as either side, at which the process kills itself.
    pub die_at: Option<HandoverStep>,
}

impl EdgeOptions {
    /// Defaults for the edge whose state lies in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            threads: 0,
            limits: Limits::default(),
            version: hornero_model::program_version().to_owned(),
            boot: None,
            internal_addresses: None,
            die_at: None,
        }
    }
}
