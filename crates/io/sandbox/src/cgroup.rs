//! Control groups of version 1, 2 and both at once: limits, usage, out-of-memory counts, killing and removal.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{error::StartError, hierarchies::Hierarchies, spec::CgroupSpec};

/// Processor quotas are counted over this long, as everybody else does; in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// Smallest quota that the kernel takes, in microseconds.
const CPU_QUOTA_MIN_US: u64 = 1_000;

/// A removed group can stay busy while the kernel ends its last processes; this long covers a loaded host.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// One sandbox's control group, in every hierarchy of the host.
#[derive(Debug)]
pub struct Cgroup {
    /// Directories of version 1, each once.
    v1: Vec<(&'static str, PathBuf)>,
    /// The directory of version 2.
    v2: Option<PathBuf>,
}

/// What a group has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory in bytes, page cache included.
    pub memory_bytes: u64,
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Descriptors through which a process enters a group.
pub(crate) struct Entrance {
    /// `tasks` files of version 1; a process enters by writing `0`.
    pub tasks: Vec<OwnedFd>,
    /// The directory of version 2, for clone3.
    pub directory: Option<OwnedFd>,
}

impl Entrance {
    pub fn task_fds(&self) -> impl Iterator<Item = RawFd> {
        self.tasks.iter().map(AsRawFd::as_raw_fd)
    }
}

impl Cgroup {
    /// The group `parent/name`, whether it exists or not.
    pub fn at(parent: &str, name: &str) -> Self {
        let hierarchies = Hierarchies::of_host();
        let below = |root: &Path| root.join(parent).join(name);
        Self {
            v1: hierarchies.v1.iter().map(|(name, root)| (*name, below(root))).collect(),
            v2: hierarchies.v2.as_ref().map(|(root, _)| below(root)),
        }
    }

    /// Makes the group with its limits. A group that is left from before is killed and emptied first.
    pub(crate) fn create(spec: &CgroupSpec) -> Result<Self, StartError> {
        for part in [&spec.parent, &spec.name] {
            let plain = !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !plain {
                return Err(StartError::Invalid(format!("`{part}` is no control group name")));
            }
        }
        let hierarchies = Hierarchies::of_host();
        for controller in ["memory", "cpu", "pids"] {
            if !hierarchies.has(controller) {
                return Err(StartError::Unsupported {
                    feature: format!("the {controller} control group controller"),
                    reason: format!("this host has {}", hierarchies.describe()),
                    remedy: format!(
                        "mount control groups (`mount -t cgroup2 cgroup2 /sys/fs/cgroup`) or boot with \
                         `cgroup_enable={controller}`"
                    ),
                });
            }
        }
        let group = Self::at(&spec.parent, &spec.name);
        let made = group.make(spec, hierarchies);
        if made.is_err() {
            group.discard();
        }
        made.map(|()| group)
    }

    fn make(&self, spec: &CgroupSpec, hierarchies: &Hierarchies) -> Result<(), StartError> {
        if let (Some(directory), Some((root, has))) = (&self.v2, &hierarchies.v2) {
            make_below(Some(root), &root.join(&spec.parent), directory, has)?;
            limit_v2(directory, spec, has)?;
        }
        for (controller, directory) in &self.v1 {
            make_below(None, directory.parent().unwrap_or(directory), directory, &[])?;
            limit_v1(controller, directory, spec)?;
        }
        Ok(())
    }

    pub(crate) fn entrance(&self) -> Result<Entrance, StartError> {
        let open = |path: &Path, write: bool| {
            fs::OpenOptions::new()
                .read(!write)
                .write(write)
                .open(path)
                .map(OwnedFd::from)
                .map_err(|error| StartError::failed("open control group", path.display(), error))
        };
        let mut tasks = Vec::new();
        let mut seen: Vec<&Path> = Vec::new();
        for (_, directory) in &self.v1 {
            if !seen.contains(&directory.as_path()) {
                seen.push(directory);
                tasks.push(open(&directory.join("tasks"), true)?);
            }
        }
        let directory = self.v2.as_deref().map(|directory| open(directory, false)).transpose()?;
        Ok(Entrance { tasks, directory })
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        let v1 = self
            .controller("memory")
            .and_then(|directory| field(&directory.join("memory.oom_control"), "oom_kill"));
        let v2 = || {
            self.v2
                .as_ref()
                .and_then(|directory| field(&directory.join("memory.events"), "oom_kill"))
        };
        v1.or_else(v2).unwrap_or(0)
    }

    /// What the group uses; 0 where the host can't tell.
    pub fn usage(&self) -> Usage {
        let number =
            |path: PathBuf| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
        let v2 = |name: &str| self.v2.as_ref().map(|directory| directory.join(name));
        let v1 = |controller: &str, name: &str| {
            self.controller(controller).and_then(|directory| number(directory.join(name)))
        };
        Usage {
            memory_bytes: v1("memory", "memory.usage_in_bytes")
                .or_else(|| v2("memory.current").and_then(number))
                .unwrap_or(0),
            cpu_us: v1("cpuacct", "cpuacct.usage")
                .map(|nanoseconds| nanoseconds / 1_000)
                .or_else(|| v2("cpu.stat").and_then(|path| field(&path, "usage_usec")))
                .unwrap_or(0),
            pids: v1("pids", "pids.current")
                .or_else(|| v2("pids.current").and_then(number))
                .unwrap_or(0),
        }
    }

    pub(crate) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// Process ids, each as often as hierarchies tell of it.
    pub(crate) fn members(&self) -> Vec<i32> {
        self.directories().flat_map(processes).collect()
    }

    pub(crate) fn controller(&self, name: &str) -> Option<&Path> {
        self.v1.iter().find(|(other, _)| *other == name).map(|(_, path)| path.as_path())
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, path)| path.as_path()).chain(self.v2.as_deref())
    }

    /// Whether any directory of the group is there.
    pub fn exists(&self) -> bool {
        self.directories().any(Path::exists)
    }

    /// Sends SIGKILL to every process in the group, those that are being forked included.
    pub fn kill_all(&self) {
        if let Some(directory) = &self.v2 {
            // Linux 5.14; the loop below does it elsewhere.
            let _ = fs::write(directory.join("cgroup.kill"), "1");
        }
        for directory in self.directories() {
            for pid in processes(directory) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }

    /// Kills what is in the group and removes it, again and again until it is gone or ten seconds have passed.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        let mut pause = Duration::from_micros(200);
        loop {
            let busy = self.discard();
            let Some(error) = busy else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(error);
            }
            self.kill_all();
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes what can be removed at once; returns why the rest can't.
    fn discard(&self) -> Option<io::Error> {
        let mut busy = None;
        for directory in self.directories() {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => busy = Some(error),
            }
        }
        busy
    }
}

/// Names of the groups below `parent`, in any hierarchy, sorted.
pub fn groups_below(parent: &str) -> Vec<String> {
    let hierarchies = Hierarchies::of_host();
    let roots = hierarchies.v1.iter().map(|(_, root)| root);
    let roots = roots.chain(hierarchies.v2.as_ref().map(|(root, _)| root));
    let mut names: Vec<String> = roots
        .filter_map(|root| fs::read_dir(root.join(parent)).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Removes the group `parent` itself, from every hierarchy, where it is empty. Returns whether it is gone.
pub fn remove_parent(parent: &str) -> bool {
    let hierarchies = Hierarchies::of_host();
    let roots = hierarchies.v1.iter().map(|(_, root)| root);
    let roots = roots.chain(hierarchies.v2.as_ref().map(|(root, _)| root));
    roots.map(|root| root.join(parent)).fold(true, |gone, path| {
        let removed = match fs::remove_dir(&path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        gone && removed
    })
}

fn limit_v1(controller: &str, directory: &Path, spec: &CgroupSpec) -> Result<(), StartError> {
    let limits = &spec.resources;
    match controller {
        "memory" => {
            let bytes = limits.memory_bytes.to_string();
            write(directory, "memory.limit_in_bytes", &bytes)?;
            // Only with swap accounting; memory and swap together, so no swap.
            if directory.join("memory.memsw.limit_in_bytes").exists() {
                write(directory, "memory.memsw.limit_in_bytes", &bytes)?;
            }
        }
        "cpu" => {
            write(directory, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
            write(directory, "cpu.cfs_quota_us", &cpu_quota_us(limits.cpu_millis).to_string())?;
        }
        "pids" => write(directory, "pids.max", &pids_max(limits.pids).to_string())?,
        _ => {}
    }
    Ok(())
}

fn limit_v2(directory: &Path, spec: &CgroupSpec, has: &[&str]) -> Result<(), StartError> {
    let limits = &spec.resources;
    if has.contains(&"memory") {
        write(directory, "memory.max", &limits.memory_bytes.to_string())?;
        if directory.join("memory.swap.max").exists() {
            write(directory, "memory.swap.max", "0")?;
        }
    }
    if has.contains(&"cpu") {
        let quota = cpu_quota_us(limits.cpu_millis);
        write(directory, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
    }
    if has.contains(&"pids") {
        write(directory, "pids.max", &pids_max(limits.pids).to_string())?;
    }
    Ok(())
}

fn cpu_quota_us(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * CPU_PERIOD_US / 1_000).max(CPU_QUOTA_MIN_US)
}

/// One more than asked for: the sandbox's own init.
fn pids_max(pids: u32) -> u64 {
    u64::from(pids) + 1
}

/// Makes `directory` in `parent`, which another thread or process may be removing as empty at that very moment, with
/// `controllers` for what is below `parent`. Only hierarchies of version 2 have a `root` where they are enabled first.
fn make_below(
    root: Option<&Path>,
    parent: &Path,
    directory: &Path,
    controllers: &[&str],
) -> Result<(), StartError> {
    /// Losing that race again and again is no race.
    const TRIES: usize = 10;
    let failed =
        |path: &Path, error| StartError::failed("make control group", path.display(), error);
    let mut tries = 0;
    loop {
        tries += 1;
        // Every time: an init that finds no user of a controller may disable it again until `parent` has enabled it.
        if let Some(root) = root {
            enable(root, controllers)?;
        }
        make_directory(parent).map_err(|error| failed(parent, error))?;
        match enable(parent, controllers) {
            Err(StartError::Failed { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tries < TRIES =>
            {
                continue;
            }
            other => other?,
        }
        match make_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            other => return other.map_err(|error| failed(directory, error)),
        }
    }
}

/// Gives the groups below `group` what controls them, unless they have it already.
///
/// A group that may not be written, such as a container's, can have been given them by who made it.
fn enable(group: &Path, controllers: &[&str]) -> Result<(), StartError> {
    if controllers.is_empty() {
        return Ok(());
    }
    let file = group.join("cgroup.subtree_control");
    let has = |text: &str| {
        controllers.iter().all(|name| text.split_whitespace().any(|enabled| enabled == *name))
    };
    if fs::read_to_string(&file).is_ok_and(|text| has(&text)) {
        return Ok(());
    }
    let wanted: String = controllers.iter().map(|name| format!("+{name} ")).collect();
    fs::write(&file, wanted).map_err(|error| {
        StartError::failed("enable control group controllers", file.display(), error)
    })
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn write(directory: &Path, name: &str, value: &str) -> Result<(), StartError> {
    let path = directory.join(name);
    fs::write(&path, value)
        .map_err(|error| StartError::failed("limit control group", path.display(), error))
}

pub(crate) fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

pub(crate) fn processes(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_stay_within_what_the_kernel_takes() {
        assert_eq!(cpu_quota_us(1_000), 100_000);
        assert_eq!(cpu_quota_us(250), 25_000);
        assert_eq!(cpu_quota_us(0), CPU_QUOTA_MIN_US);
        assert_eq!(pids_max(u32::MAX), 1 << 32);
    }

    #[test]
    fn controllers_that_cannot_be_enabled_are_said_and_those_that_are_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("cgroup.subtree_control");
        fs::write(&file, "cpuset cpu memory pids\n").unwrap();
        enable(scratch.path(), &["memory", "pids"]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "cpuset cpu memory pids\n", "not written");
        enable(scratch.path(), &["memory", "io"]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "+memory +io ");
        let nowhere = scratch.path().join("none");
        let error = enable(&nowhere, &["memory"]).unwrap_err().one_line();
        assert!(error.starts_with("enable control group controllers `"), "{error}");
        assert!(error.contains("none/cgroup.subtree_control"), "{error}");
        enable(&nowhere, &[]).unwrap();
    }
}
