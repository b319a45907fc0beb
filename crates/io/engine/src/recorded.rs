//! What the files of an instance say of its specification and its process. They stay as they are while the port's words
//! change: instances outlive the program that started them.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_engine_port::{FileContent, HostEntry, InstanceFile, InstanceSpec, Started};
use hornero_model::{
    Digest, FileIdentity, InstanceHandle, InstanceId, LeaseToken, LeasedMount, Place,
    ReleaseNumber, Resources, Scratch, SecretLabel, SecretVersion, ServiceName, StopSignal, User,
    VolumeName,
};
use hornero_sandbox::Root;
use serde::{Deserialize, Serialize};

/// `spec` in `spec.json`: what an engine was asked for, with the files it found for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedSpec {
    pub id: InstanceId,
    pub service: ServiceName,
    pub release: ReleaseNumber,
    pub image: Digest,
    /// The files of the image.
    pub root: Root,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: User,
    pub workdir: String,
    pub scratch: Vec<Scratch>,
    pub resources: Resources,
    pub egress: bool,
    pub hostname: String,
    pub hosts: Vec<HostEntry>,
    pub stop_signal: RecordedSignal,
    /// Files laid over the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RecordedFile>,
    /// Volumes, and the leases under which it has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<RecordedMount>,
}

/// A volume of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedMount {
    pub path: String,
    pub volume: VolumeName,
    pub lease: LeaseToken,
}

impl From<LeasedMount> for RecordedMount {
    fn from(LeasedMount { path, volume, lease }: LeasedMount) -> Self {
        Self { path, volume, lease }
    }
}

/// A file laid over the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedFile {
    pub path: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub content: RecordedContent,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordedContent {
    /// An object of the store that the root's objects are of.
    Stored(Digest),
    /// A value of a secret of the home.
    Secret { name: SecretLabel, version: SecretVersion },
}

impl From<InstanceFile> for RecordedFile {
    fn from(file: InstanceFile) -> Self {
        let InstanceFile { path, mode, uid, gid, content } = file;
        let content = match content {
            FileContent::Stored(digest) => RecordedContent::Stored(digest),
            FileContent::Secret { name, version } => RecordedContent::Secret { name, version },
        };
        Self { path, mode, uid, gid, content }
    }
}

impl RecordedSpec {
    /// A specification whose image has its files at `root`.
    pub fn new(spec: &InstanceSpec, root: Root) -> Self {
        let spec = spec.clone();
        Self {
            id: spec.id,
            service: spec.service,
            release: spec.release,
            image: spec.image,
            root,
            command: spec.command,
            env: spec.env,
            user: spec.user,
            workdir: spec.workdir,
            scratch: spec.scratch,
            resources: spec.resources,
            egress: spec.egress,
            hostname: spec.hostname,
            hosts: spec.hosts,
            stop_signal: spec.stop_signal.map_or_else(RecordedSignal::default, Into::into),
            files: spec.files.into_iter().map(Into::into).collect(),
            mounts: spec.mounts.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether it was made from this one.
    pub fn is_of(&self, spec: &InstanceSpec) -> bool {
        *self == Self::new(spec, self.root.clone())
    }
}

/// The signal that asks a command to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordedSignal {
    #[default]
    Terminate,
    Interrupt,
    Quit,
    Hangup,
    User1,
    User2,
    WindowChange,
}

impl From<StopSignal> for RecordedSignal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Terminate => Self::Terminate,
            StopSignal::Interrupt => Self::Interrupt,
            StopSignal::Quit => Self::Quit,
            StopSignal::Hangup => Self::Hangup,
            StopSignal::User1 => Self::User1,
            StopSignal::User2 => Self::User2,
            StopSignal::WindowChange => Self::WindowChange,
        }
    }
}

/// `running.json`: the process of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningProcess {
    /// Process id of the command on the host.
    pub pid: u32,
    /// Its address on Hornero's network; none without one.
    pub address: Option<IpAddr>,
    /// The file that its root's metadata is mounted from; none where that is not known, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<FileIdentity>,
    /// The descriptors that the shim reads its standard output and error from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<[i32; 2]>,
}

impl RunningProcess {
    /// The same in the port's words.
    pub fn started(&self) -> Started {
        Started { handle: handle_of(self.pid), place: Place::local(), address: self.address }
    }
}

/// The local engine calls what runs by its process id.
fn handle_of(pid: u32) -> InstanceHandle {
    InstanceHandle::new(pid.to_string())
}

/// The process id that a handle of this engine stands for.
pub(crate) fn pid_of(handle: &InstanceHandle) -> Option<u32> {
    handle.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_recorded_is_read_and_written_alike() {
        let spec = concat!(
            r#"{"id":"site-3-abc","service":"site","release":3,"#,
            r#""image":"sha256:0000000000000000000000000000000000000000000000000000000000000000","#,
            r#""root":{"composed":{"metadata":"/h/store/metadata/a","objects":"/h/store/objects"}},"#,
            r#""command":["/usr/sbin/nginx"],"env":{"A":"b"},"user":{"uid":33,"gid":33,"groups":[4]},"#,
            r#""workdir":"/srv","scratch":[{"path":"/run","size_bytes":1048576}],"#,
            r#""resources":{"memory_bytes":268435456,"cpu_millis":1000,"pids":512},"egress":false,"#,
            r#""hostname":"site-3-abc","hosts":[{"address":"192.0.2.7","name":"peer"}],"#,
            r#""stop_signal":"window_change"}"#,
        );
        let read: RecordedSpec = serde_json::from_str(spec).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), spec);
        // What came later is behind what was there.
        let digest = format!("sha256:{}", "0".repeat(64));
        let secret = concat!(
            r#"{"path":"/run/secrets/db","mode":256,"uid":33,"gid":33,"#,
            r#""content":{"secret":{"name":"db","version":"2-00000000000000ab"}}}"#,
        );
        let files = format!(
            r#","files":[{{"path":"/etc/a","mode":420,"uid":0,"gid":33,"content":{{"stored":"{digest}"}}}},{secret}]}}"#
        );
        let spec = format!("{}{files}", &spec[..spec.len() - 1]);
        let read: RecordedSpec = serde_json::from_str(&spec).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), spec);
        let process = r#"{"pid":42,"address":"10.70.0.9","metadata":{"device":1,"inode":2}}"#;
        let read: RunningProcess = serde_json::from_str(process).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), process);
        assert_eq!(pid_of(&read.started().handle), Some(42));
    }
}
