//! The files of an instance: its record, its shim's lock, its start and its exit.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hornero_home::Opening;
use hornero_model::{ExitCause, GroupFigures, InstanceId, Timestamp};
use hornero_sandbox::IdMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::recorded::{RecordedSpec, RunningProcess};

/// The version of these files; a reader refuses any other.
pub(crate) const FORMAT: u32 = 1;

/// A shim writes its process id right after it has taken the lock.
const PID_TIMEOUT: Duration = Duration::from_secs(5);

/// Ours are a few kilobytes; what is larger was not written by us.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// `spec.json`: what an instance was made from. Written before anything of it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub format: u32,
    pub created: Timestamp,
    /// Host ids that its ids become; none without user namespaces.
    pub id_map: Option<IdMap>,
    /// Whether it is on the home's network.
    pub networked: bool,
    pub spec: RecordedSpec,
}

/// `exit.json`: how an instance ended. Written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExitRecord {
    pub format: u32,
    pub cause: ExitCause,
    pub at: Timestamp,
}

impl ExitRecord {
    pub fn now(cause: ExitCause) -> Self {
        Self { format: FORMAT, cause, at: Timestamp::now() }
    }
}

/// The directory of one instance.
#[derive(Debug, Clone)]
pub(crate) struct InstanceFiles {
    directory: PathBuf,
}

/// Holds an instance while it lives: proof for others that its shim is alive.
#[derive(Debug)]
pub(crate) struct ShimLock {
    _file: File,
}

/// The directories of a home's instances.
#[derive(Debug, Clone)]
pub(crate) struct InstanceDirectory {
    root: PathBuf,
}

impl InstanceDirectory {
    /// `HOME/instances`.
    pub fn of(home: &Path) -> Self {
        Self { root: home.join("instances") }
    }

    pub fn create(&self) -> io::Result<()> {
        hornero_home::directory(&self.root)?;
        hornero_home::directory(&self.archive())?;
        Ok(())
    }

    fn archive(&self) -> PathBuf {
        // No instance id begins with a dot.
        self.root.join(".archived")
    }

    /// Where the terms of control are kept.
    pub fn terms(&self) -> PathBuf {
        self.root.join(".terms")
    }

    pub fn live(&self, id: &InstanceId) -> InstanceFiles {
        InstanceFiles { directory: self.root.join(id.as_str()) }
    }

    pub fn archived(&self, id: &InstanceId) -> InstanceFiles {
        InstanceFiles { directory: self.archive().join(id.as_str()) }
    }

    /// Whether there is, or was, an instance with this id.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.live(id).exists() || self.archived(id).exists()
    }

    /// Every instance that was removed and whose record and logs are there.
    pub fn archived_ids(&self) -> io::Result<Vec<InstanceId>> {
        let entries = match fs::read_dir(self.archive()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            ids.extend(InstanceId::new(entry?.file_name().to_string_lossy()).ok());
        }
        Ok(ids)
    }

    /// Every instance that was not removed.
    pub fn ids(&self) -> io::Result<Vec<InstanceId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            if let Ok(id) = InstanceId::new(entry?.file_name().to_string_lossy()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes the directory of an instance that was never recorded.
    pub fn discard(&self, id: &InstanceId) -> io::Result<()> {
        fs::remove_dir_all(self.live(id).directory)
    }

    /// Keeps only record and logs. Harmless to repeat.
    pub fn archive_instance(&self, id: &InstanceId) -> io::Result<()> {
        match fs::rename(self.live(id).directory, self.archived(id).directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl InstanceFiles {
    pub fn create(&self) -> io::Result<()> {
        hornero_home::directory(&self.directory)?;
        hornero_home::directory(&self.logs())?;
        Ok(())
    }

    /// Removes record and logs.
    pub fn discard(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    pub fn exists(&self) -> bool {
        self.directory.exists()
    }

    /// The directory of log segments.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn record(&self) -> io::Result<Option<Record>> {
        let record: Option<Record> = read(&self.directory.join("spec.json"))?;
        match record {
            Some(record) if record.format != FORMAT => Err(io::Error::other(format!(
                "its format is {}, this version of Hornero reads {FORMAT}",
                record.format
            ))),
            record => Ok(record),
        }
    }

    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        write(&self.directory, "spec.json", record, false)
    }

    pub fn started(&self) -> io::Result<Option<RunningProcess>> {
        read(&self.directory.join("running.json"))
    }

    pub fn write_started(&self, started: &RunningProcess) -> io::Result<()> {
        // Not synced: after a power cut nothing runs.
        write(&self.directory, "running.json", started, false)
    }

    pub fn exit(&self) -> io::Result<Option<ExitRecord>> {
        read(&self.directory.join("exit.json"))
    }

    pub fn write_exit(&self, exit: &ExitRecord) -> io::Result<()> {
        write(&self.directory, "exit.json", exit, true)
    }

    /// What its control group had counted at its end; none where that was not written, or can't be read.
    pub fn figures(&self) -> Option<GroupFigures> {
        read(&self.directory.join("figures.json")).ok().flatten()
    }

    pub fn write_figures(&self, figures: &GroupFigures) -> io::Result<()> {
        write(&self.directory, "figures.json", figures, false)
    }

    /// Takes the lock for the calling process, and leaves its process id for others; none when another has it.
    pub fn lock(&self) -> io::Result<Option<ShimLock>> {
        let file = hornero_home::open(&self.directory.join("shim.pid"), Opening::Create)?;
        let mut lock = whole_file();
        // SAFETY: the structure lives across the call.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
        if taken != 0 {
            let error = io::Error::last_os_error();
            let held = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES));
            return if held { Ok(None) } else { Err(error) };
        }
        file.set_len(0)?;
        (&file).write_all(std::process::id().to_string().as_bytes())?;
        Ok(Some(ShimLock { _file: file }))
    }

    /// Whether a shim lives.
    pub fn is_locked(&self) -> io::Result<bool> {
        let file = match hornero_home::open(&self.directory.join("shim.pid"), Opening::Change) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let mut lock = whole_file();
        // SAFETY: the structure lives across the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }

    /// The shim's process; none when it is dead. The lock, still held after the process was opened, proves that the
    /// id had not been given to another process.
    pub fn shim(&self) -> io::Result<Option<OwnedFd>> {
        let deadline = Instant::now() + PID_TIMEOUT;
        while self.is_locked()? {
            let text = fs::read_to_string(self.directory.join("shim.pid"))?;
            // No id, or that of a shim before this one: the lock was taken a moment ago.
            let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
            let opened = pid
                .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()));
            match opened {
                Some(Ok(pidfd)) => return Ok(self.is_locked()?.then_some(pidfd)),
                None | Some(Err(rustix::io::Errno::SRCH)) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_micros(200));
                }
                None => return Err(io::Error::other("its shim has left no process id")),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

fn whole_file() -> libc::flock {
    // SAFETY: all fields of flock may be zero: from the beginning, to the end, no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match hornero_home::open(path, Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let text = io::read_to_string(io::Read::take(file, MAX_RECORD_BYTES))?;
    Ok(Some(serde_json::from_str(&text)?))
}

/// Writes a file whole or not at all; with `durable` it is there after a power cut.
fn write(directory: &Path, name: &str, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = hornero_home::open(&temporary, Opening::Replace)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, directory.join(name))?;
        if durable {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        // Best effort: the first error counts.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of an instance that never ran.
    pub(crate) fn record(id: &InstanceId, service: &str) -> Record {
        let spec = RecordedSpec {
            id: id.clone(),
            service: hornero_model::ServiceName::new(service).unwrap(),
            release: hornero_model::ReleaseNumber(1),
            image: hornero_model::Digest::of(b"image"),
            root: hornero_sandbox::Root::Directory { path: "/".into(), writable: false },
            command: vec!["/bin/true".to_owned()],
            env: Default::default(),
            user: hornero_model::User { uid: 1, gid: 1, groups: Vec::new() },
            workdir: String::new(),
            scratch: Vec::new(),
            resources: hornero_model::Resources { memory_bytes: 1, cpu_millis: 1, pids: 1 },
            egress: false,
            hostname: "a".to_owned(),
            hosts: Vec::new(),
            stop_signal: Default::default(),
            files: Vec::new(),
            mounts: Vec::new(),
        };
        Record { format: FORMAT, created: Timestamp(0), id_map: None, networked: false, spec }
    }

    #[test]
    fn a_lock_lives_as_long_as_its_holder() {
        let home = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::of(home.path());
        directory.create().unwrap();
        let files = directory.live(&InstanceId::new("a-1-x").unwrap());
        files.create().unwrap();
        assert!(!files.is_locked().unwrap());
        let lock = files.lock().unwrap().expect("nobody has it");
        assert!(files.is_locked().unwrap());
        assert!(files.lock().unwrap().is_none(), "only one holder");
        assert!(files.shim().unwrap().is_some());
        drop(lock);
        assert!(!files.is_locked().unwrap());
        assert!(files.shim().unwrap().is_none());
    }

    #[test]
    fn archived_instances_are_not_listed() {
        let home = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::of(home.path());
        directory.create().unwrap();
        let id = InstanceId::new("a-1-x").unwrap();
        directory.live(&id).create().unwrap();
        assert_eq!(directory.ids().unwrap(), std::slice::from_ref(&id));
        directory.archive_instance(&id).unwrap();
        directory.archive_instance(&id).unwrap();
        assert_eq!(directory.ids().unwrap(), []);
        assert!(directory.archived(&id).exists());
    }

    #[test]
    fn damaged_files_are_errors_not_panics() {
        let home = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::of(home.path());
        directory.create().unwrap();
        let files = directory.live(&InstanceId::new("a-1-x").unwrap());
        files.create().unwrap();
        assert!(files.exit().unwrap().is_none());
        fs::write(files.directory.join("exit.json"), b"{\"format\":1,").unwrap();
        assert!(files.exit().is_err());
        fs::write(files.directory.join("exit.json"), [0xff; 100]).unwrap();
        assert!(files.exit().is_err());
    }
}
