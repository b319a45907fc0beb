//! How far everything was sent, remembered in the home.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use hornero_engine_port::log::LogCursor;
use hornero_home::Opening;
use hornero_model::{InstanceId, ReleaseNumber, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

/// Bytes of the file that are read: a place for each of many thousand instances.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How far everything was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Figures up to this moment.
    pub metrics: Timestamp,
    /// Events up to this one: of no rollout that is sent yet to come there are any before it.
    pub traces: u64,
    /// Rollouts behind it that were sent all the same.
    #[serde(default)]
    pub rollouts: BTreeSet<u64>,
    /// Events that were looked at for instances whose logs are to be sent.
    pub instances: u64,
    /// Instances of which there may be lines that were not sent.
    #[serde(default)]
    pub logs: BTreeMap<InstanceId, SentLog>,
}

/// How far what an instance wrote was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentLog {
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// The place of the next line; none where all of it is to be sent.
    pub next: Option<LogCursor>,
    /// Whether it is archived: a log that is not found then never comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// The file.
#[derive(Debug)]
pub struct SentFile {
    path: PathBuf,
    pub sent: Sent,
    /// What it holds.
    written: Option<Sent>,
}

impl SentFile {
    /// What was sent before, or `begin` where nothing ever was, or what is there can't be read.
    pub fn open(directory: &Path, begin: Sent) -> Self {
        let path = directory.join("otlp.json");
        let written = read(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("`{}` can't be read, and is begun anew: {error}", path.display());
            }
            None
        });
        Self { path, sent: written.clone().unwrap_or(begin), written }
    }

    /// Remembers what was sent.
    ///
    /// # Errors
    /// Where it can't be written: what is sent from then on is sent again after a new start.
    pub fn keep(&mut self) -> io::Result<()> {
        if self.written.as_ref() == Some(&self.sent) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&self.sent)?;
        hornero_home::put(&self.path, &bytes)?;
        self.written = Some(self.sent.clone());
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Sent>> {
    let mut bytes = Vec::new();
    hornero_home::open(path, Opening::Read)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}
