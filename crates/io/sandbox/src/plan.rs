//! Turns a specification into a list of operations that a cloned child carries out without allocating.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    os::fd::RawFd,
};

use hornero_model::User;

use crate::{
    capability,
    error::{StartError, Step},
    filter::Instruction,
    seccomp,
    spec::{Profile, SandboxSpec},
};

/// One thing that the sandbox's init does before the command is started, in its own namespaces.
pub(crate) enum Operation {
    /// Enters a version 1 control group by its `tasks` file.
    EnterCgroup(RawFd),
    /// Hides where in the host's control groups the sandbox is.
    HideCgroups,
    /// Waits for the assembled root from the caller; the id maps are in place then.
    ReceiveRoot,
    /// Becomes root of the new user namespace.
    BecomeRoot,
    /// Leaves the caller's session and terminal.
    NewSession,
    /// Leaves the caller's keyring.
    NewKeyring,
    /// Sets the host name.
    HostName(CString),
    /// Brings the loopback interface up.
    LoopbackUp,
    /// Attaches the received root, makes it the root and drops the host's mounts.
    EnterRoot,
    /// Makes `/proc` of the own process namespace; only while the host's is in sight does the kernel let it be made.
    MakeProc,
    /// Attaches the `/proc` made before.
    AttachProc,
    /// Attaches a detached mount made by the caller.
    Attach { mount: RawFd, target: CString },
    /// Attaches the next volume that the caller sends.
    AttachVolume { target: CString },
    /// Mounts a file system by the kernel's own means.
    Mount { kind: &'static CStr, target: CString, flags: libc::c_ulong, options: CString },
    /// Mounts a tmpfs with mode and owner of the directory below it.
    Scratch(ScratchMount),
    /// Makes an empty file to mount on, and the directories above it, topmost first, where they are missing.
    Place { ancestors: Vec<CString>, target: CString },
    /// Writes a kernel setting; a kernel without it is fine.
    Set { path: &'static CStr, value: &'static [u8] },
    /// Hides a file behind `/dev/null`; one that is not there is fine.
    HideFile(&'static CStr),
    /// Hides a directory behind an empty one; one that is not there is fine.
    HideDirectory(&'static CStr),
    /// Makes what is below a path read-only; one that is not there is fine.
    ReadOnly(&'static CStr),
    /// Waits for the caller's word that network and limits are in place.
    AwaitRun,
}

/// A scratch directory to mount.
pub(crate) struct ScratchMount {
    pub target: CString,
    /// `target` and the directories above it, topmost first: made where they are missing, which they are only below
    /// another scratch directory.
    pub ancestors: Vec<CString>,
    pub size_bytes: u64,
    /// Who writes there when the image's directory is root's.
    pub uid: u32,
    pub gid: u32,
    pub flags: libc::c_ulong,
}

/// What the command's own process does before exec.
pub(crate) struct Command {
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    pub workdir: CString,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub capabilities: u64,
    pub filter: &'static [Instruction],
}

/// Everything the child does.
pub(crate) struct Plan {
    pub operations: Vec<Operation>,
    pub command: Command,
}

const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Files of `/proc` that tell of, or act on, the whole host.
const HIDDEN_FILES: [&CStr; 18] = [
    c"/proc/bootconfig",
    c"/proc/cmdline",
    c"/proc/diskstats",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/key-users",
    c"/proc/kmsg",
    c"/proc/mdstat",
    c"/proc/partitions",
    c"/proc/swaps",
    c"/proc/kallsyms",
    c"/proc/timer_list",
    c"/proc/sched_debug",
    c"/proc/latency_stats",
    c"/proc/interrupts",
    c"/proc/kpagecount",
    c"/proc/kpageflags",
    c"/proc/sysrq-trigger",
];
const HIDDEN_DIRECTORIES: [&CStr; 3] = [c"/proc/acpi", c"/proc/scsi", c"/proc/asound"];
const READ_ONLY: [&CStr; 4] = [c"/proc/sys", c"/proc/irq", c"/proc/bus", c"/proc/fs"];

/// Where a command without a slash is looked for when `env` has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Descriptors the plan refers to; all stay open in the child.
pub(crate) struct Descriptors<'a> {
    pub tasks: &'a [RawFd],
    pub views: &'a [(RawFd, &'a str)],
    pub dev: RawFd,
    pub files: &'a [(RawFd, &'a str)],
    /// Where the volumes appear that the caller sends once the root is there.
    pub volumes: &'a [String],
}

impl Plan {
    pub fn new(spec: &SandboxSpec, descriptors: &Descriptors<'_>) -> Result<Self, StartError> {
        let command = Command::new(spec)?;
        let mut operations: Vec<Operation> =
            descriptors.tasks.iter().map(|fd| Operation::EnterCgroup(*fd)).collect();
        if spec.cgroup.is_some() {
            operations.push(Operation::HideCgroups);
        }
        // These need no root: they run while the caller assembles it.
        operations.extend([
            Operation::NewSession,
            Operation::HostName(string(&spec.hostname)?),
            Operation::LoopbackUp,
            Operation::ReceiveRoot,
        ]);
        if spec.id_map.is_some() {
            operations.push(Operation::BecomeRoot);
        }
        operations.extend([Operation::NewKeyring, Operation::MakeProc, Operation::EnterRoot]);
        for (mount, at) in descriptors.views {
            operations.push(Operation::Attach { mount: *mount, target: string(at)? });
        }
        operations.extend([
            Operation::Attach { mount: descriptors.dev, target: c"/dev".to_owned() },
            Operation::AttachProc,
        ]);
        operations.extend(spec.profile.has_terminals().then(terminals));
        operations.extend(proc_operations());
        for path in descriptors.volumes {
            operations.push(Operation::AttachVolume { target: string(path)? });
        }
        operations.extend(scratch_operations(spec)?);
        for (fd, path) in descriptors.files {
            operations.extend(place_in_scratch(spec, path)?);
            operations.push(Operation::Attach { mount: *fd, target: string(path)? });
        }
        operations.push(Operation::AwaitRun);
        Ok(Self { operations, command })
    }

    /// What the operation `index` does, for people.
    pub fn describe(&self, index: usize) -> Step {
        let text = |text: &CStr| text.to_string_lossy().into_owned();
        let (name, object) = match self.operations.get(index) {
            Some(Operation::EnterCgroup(_)) => ("enter the control group", String::new()),
            Some(Operation::HideCgroups) => ("make a control group namespace", String::new()),
            Some(Operation::ReceiveRoot) => ("receive the root", String::new()),
            Some(Operation::BecomeRoot) => ("become root of the user namespace", String::new()),
            Some(Operation::NewSession) => ("make a session", String::new()),
            Some(Operation::NewKeyring) => ("make a keyring", String::new()),
            Some(Operation::HostName(name)) => ("set the host name", text(name)),
            Some(Operation::LoopbackUp) => ("bring the loopback interface up", String::new()),
            Some(Operation::EnterRoot) => ("enter the root", String::new()),
            Some(Operation::MakeProc) => ("make", "/proc".to_owned()),
            Some(Operation::AttachProc) => ("attach", "/proc".to_owned()),
            Some(Operation::Attach { target, .. } | Operation::AttachVolume { target }) => {
                ("attach", text(target))
            }
            Some(Operation::Mount { target, .. }) => ("mount", text(target)),
            Some(Operation::Scratch(scratch)) => ("mount scratch", text(&scratch.target)),
            Some(Operation::Place { target, .. }) => ("make a place for", text(target)),
            Some(Operation::Set { path, .. }) => ("set", text(path)),
            Some(Operation::HideFile(path) | Operation::HideDirectory(path)) => {
                ("hide", text(path))
            }
            Some(Operation::ReadOnly(path)) => ("make read-only", text(path)),
            Some(Operation::AwaitRun) => ("wait for the caller", String::new()),
            None => ("start", String::new()),
        };
        Step { name, object }
    }
}

/// Terminals of the sandbox's own; group 5 is `tty` in Debian, as it is to glibc.
fn terminals() -> Operation {
    Operation::Mount {
        kind: c"devpts",
        target: c"/dev/pts".to_owned(),
        flags: libc::MS_NOSUID | libc::MS_NOEXEC,
        options: c"newinstance,ptmxmode=0666,mode=0620,gid=5".to_owned(),
    }
}

fn proc_operations() -> impl Iterator<Item = Operation> {
    // A server may listen on port 80 without being root: the ports are its own network namespace's.
    let set =
        Operation::Set { path: c"/proc/sys/net/ipv4/ip_unprivileged_port_start", value: b"0" };
    std::iter::once(set)
        .chain(HIDDEN_FILES.into_iter().map(Operation::HideFile))
        .chain(HIDDEN_DIRECTORIES.into_iter().map(Operation::HideDirectory))
        .chain(READ_ONLY.into_iter().map(Operation::ReadOnly))
}

fn scratch_operations(spec: &SandboxSpec) -> Result<Vec<Operation>, StartError> {
    // A server runs programs of its image only; maintainer scripts write programs to `/tmp` and run them.
    let flags = match spec.profile {
        Profile::Service => QUIET,
        Profile::Build => libc::MS_NOSUID | libc::MS_NODEV,
    };
    let size = spec.tmp_bytes;
    // An inode costs about a kilobyte of the kernel's memory; one for each 4 KiB page is what a tmpfs can fill.
    let options = string(&format!("size={size},mode=1777,nr_inodes={}", inodes(size)))?;
    let mut operations: Vec<Operation> = ["/tmp", "/dev/shm"]
        .into_iter()
        .filter(|path| {
            spec.scratch.iter().all(|scratch| scratch.path.trim_end_matches('/') != *path)
        })
        .map(|path| {
            let target = string(path)?;
            Ok(Operation::Mount { kind: c"tmpfs", target, flags, options: options.clone() })
        })
        .collect::<Result<_, StartError>>()?;
    let mut scratch: Vec<_> = spec.scratch.iter().collect();
    // A directory comes before what is below it.
    scratch.sort_by(|left, right| left.path.cmp(&right.path));
    for scratch in scratch {
        let ancestors = way_to(&scratch.path)?;
        operations.push(Operation::Scratch(ScratchMount {
            target: ancestors.last().cloned().unwrap_or_default(),
            ancestors,
            size_bytes: scratch.size_bytes,
            uid: spec.user.uid,
            gid: spec.user.gid,
            flags,
        }));
    }
    Ok(operations)
}

/// What is mounted in a scratch directory needs a place there: it hides that of the lowest layer.
fn place_in_scratch(spec: &SandboxSpec, path: &str) -> Result<Option<Operation>, StartError> {
    let scratch = spec.scratch.iter().map(|scratch| scratch.path.trim_end_matches('/'));
    let is_inside =
        |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    if !scratch.chain(["/tmp", "/dev/shm"]).any(is_inside) {
        return Ok(None);
    }
    let mut ancestors = way_to(path)?;
    Ok(ancestors.pop().map(|target| Operation::Place { ancestors, target }))
}

/// A path and the directories above it, topmost first.
fn way_to(path: &str) -> Result<Vec<CString>, StartError> {
    let mut at = String::new();
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            at = format!("{at}/{part}");
            string(&at)
        })
        .collect()
}

/// How many inodes a tmpfs of `size_bytes` may have.
pub(crate) fn inodes(size_bytes: u64) -> u64 {
    (size_bytes / 4_096).max(64)
}

/// What a command is, besides the root that it finds.
pub(crate) struct CommandWords<'a> {
    pub command: &'a [String],
    pub env: &'a BTreeMap<String, String>,
    pub workdir: &'a str,
    pub user: &'a User,
    pub profile: Profile,
}

impl Command {
    fn new(spec: &SandboxSpec) -> Result<Self, StartError> {
        Self::of(&CommandWords {
            command: &spec.command,
            env: &spec.env,
            workdir: &spec.workdir,
            user: &spec.user,
            profile: spec.profile,
        })
    }

    /// A command with the rights of its profile.
    pub fn of(spec: &CommandWords<'_>) -> Result<Self, StartError> {
        let strings = |words: &mut dyn Iterator<Item = String>| {
            words.map(|word| string(&word)).collect::<Result<Vec<_>, _>>()
        };
        let name = spec.command.first().map_or("", String::as_str);
        let path = spec.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let candidates = if name.contains('/') {
            vec![string(name)?]
        } else {
            let directories = path.split(':').filter(|directory| directory.starts_with('/'));
            strings(&mut directories.map(|directory| format!("{directory}/{name}")))?
        };
        let workdir = if spec.workdir.is_empty() { "/" } else { spec.workdir };
        Ok(Self {
            candidates,
            arguments: strings(&mut spec.command.iter().cloned())?,
            environment: strings(
                &mut spec.env.iter().map(|(key, value)| format!("{key}={value}")),
            )?,
            workdir: string(workdir)?,
            uid: spec.user.uid,
            gid: spec.user.gid,
            groups: spec.user.groups.clone(),
            capabilities: capability::allowed(spec.profile, spec.user.uid),
            filter: seccomp::program(),
        })
    }
}

fn string(text: &str) -> Result<CString, StartError> {
    CString::new(text).map_err(|_| StartError::Invalid("a text contains a null byte".to_owned()))
}
