//! Starting a sandbox: clones its init, gives it ids, root and network, and waits for the command's exec.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    cgroup::{Cgroup, Entrance},
    check, child,
    ends::{Stdio, ends, pipe, ready, socket_pair, streams},
    error::StartError,
    layers::Layers,
    message::{self, CommandStep, Kind, StepFailure},
    plan::{Descriptors, Plan},
    root::RootWay,
    running::{Process, Running},
    spec::{SandboxSpec, SecretMount},
    stage::{self, Hold},
    support,
    sys::{self, Cloned, Errno},
    volumes::VolumeMount,
};

/// Raised by as much over its caller's, so that the kernel ends instances before Hornero's own processes.
pub(crate) const OUT_OF_MEMORY_SCORE: &str = "300";

/// What the network namespace of a sandbox gets besides its loopback interface.
pub enum Network<'a> {
    /// Nothing: no way in or out.
    Isolated,
    /// Whatever the function does with the descriptor of the network namespace, before the command runs.
    Attach(&'a mut (dyn FnMut(BorrowedFd<'_>) -> Result<(), String> + Send)),
}

/// Removes a control group unless it was handed on.
struct CgroupGuard(Option<Cgroup>);

impl Drop for CgroupGuard {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // Only after a failed start; the error that is on its way matters more.
            let _ = cgroup.remove();
        }
    }
}

/// Starts a sandbox and returns once its command was executed. After an error nothing of it is left.
///
/// The caller must be root in the host's user namespace. It may have threads.
pub fn start(
    spec: &SandboxSpec,
    stdio: Stdio,
    network: Network<'_>,
) -> Result<Running, StartError> {
    start_with(spec, Brought::default(), stdio, network)
}

/// What a caller brings to a start that is no plain data.
#[derive(Default)]
pub struct Brought {
    /// Files whose content stands nowhere else. They are filled first: the sandbox's init, which is cloned from the caller and
    /// lives as long as the command, has no copy of them.
    pub secrets: Vec<SecretMount>,
    /// File systems that the command may write to; none lies in another one, or in scratch.
    pub volumes: Vec<VolumeMount>,
}

/// The same, with secrets laid over the root and volumes attached in it.
pub fn start_with(
    spec: &SandboxSpec,
    brought: Brought,
    stdio: Stdio,
    network: Network<'_>,
) -> Result<Running, StartError> {
    let way = support::require()?.way();
    check::check(spec)?;
    check::secrets(spec, &brought.secrets)?;
    check::volumes(spec, &brought.volumes)?;
    stage::with(!way.attaches_layers(), |hold| start_held(spec, brought, way, stdio, network, hold))
}

fn start_held(
    spec: &SandboxSpec,
    brought: Brought,
    way: &dyn RootWay,
    stdio: Stdio,
    network: Network<'_>,
    hold: Hold<'_>,
) -> Result<Running, StartError> {
    let Brought { secrets, volumes } = brought;
    let paths: Vec<String> = volumes.iter().map(|volume| volume.path.clone()).collect();
    let layers = Layers::prepare(spec, secrets, &paths, way, hold)?;
    let cgroup = spec.cgroup.as_ref().map(Cgroup::create).transpose()?;
    let mut cgroup = CgroupGuard(cgroup);
    let entrance = match &cgroup.0 {
        Some(cgroup) => cgroup.entrance()?,
        None => Entrance { tasks: Vec::new(), directory: None },
    };
    let tasks: Vec<RawFd> = entrance.task_fds().collect();
    let files: Vec<(RawFd, &str)> =
        layers.files.iter().map(|file| (file.mount.as_raw_fd(), file.path.as_str())).collect();
    let views: Vec<(RawFd, &str)> =
        layers.views.iter().map(|view| (view.mount.as_raw_fd(), view.at)).collect();
    let dev = layers.dev.as_raw_fd();
    let descriptors =
        Descriptors { tasks: &tasks, views: &views, dev, files: &files, volumes: &paths };
    let plan = Plan::new(spec, &descriptors)?;

    let streams = streams(Some(file_owner(spec)), stdio)?;
    let (socket, child_socket) = socket_pair()?;
    let (failure, child_failure) = pipe()?;
    let mut keep: Vec<RawFd> = vec![child_socket.as_raw_fd(), child_failure.as_raw_fd()];
    keep.extend(streams.iter().map(AsRawFd::as_raw_fd));
    keep.extend(tasks.iter().copied().chain([dev]));
    keep.extend(files.iter().map(|(mount, _)| mount));
    keep.extend(views.iter().map(|(mount, _)| mount));
    let ends = ends(&plan.command, &child_socket, &child_failure, &streams, keep);

    let cloned = {
        let directory = entrance.directory.as_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: the child only makes system calls until it executes the command or exits.
        unsafe { sys::clone_process(namespaces(spec), directory) }
    };
    let mut init = match cloned {
        Ok(Cloned::Child) => child::run(&plan, &ends),
        Ok(Cloned::Parent { pid, pidfd }) => Process::new(pid, pidfd),
        Err(errno) => return Err(StartError::failed("clone the sandbox's init", "", errno)),
    };
    drop((child_socket, child_failure, streams, entrance));

    let guided = guide(spec, &layers, volumes, &init, &socket, network);
    let pid = match guided {
        Ok(()) => ready(&socket),
        Err(GuideError::ChildGone) => None,
        Err(GuideError::Start(error)) => {
            // A child that failed first is the cause of what the caller then saw.
            return Err(match StepFailure::receive_now(&failure) {
                Some(failed) => describe(&plan, spec, failed),
                None => error,
            });
        }
    };
    if let Some(failed) = StepFailure::receive(&failure) {
        init.reap();
        return Err(describe(&plan, spec, failed));
    }
    let Some(pid) = pid else {
        init.kill();
        init.reap();
        let died = io::Error::other("the sandbox's init was killed");
        return Err(StartError::failed("start", "", died));
    };
    Ok(Running::new(init, socket, pid, cgroup.0.take()))
}

enum GuideError {
    /// The child has ended: what it says itself counts.
    ChildGone,
    Start(StartError),
}

impl From<StartError> for GuideError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Gives the child its ids, its root with volumes, and its network, then lets it run.
fn guide(
    spec: &SandboxSpec,
    layers: &Layers<'_>,
    volumes: Vec<VolumeMount>,
    init: &Process,
    socket: &OwnedFd,
    network: Network<'_>,
) -> Result<(), GuideError> {
    let proc = |name: &str| format!("/proc/{}/{name}", init.pid);
    let put = |name: &str, text: &str| {
        fs::write(proc(name), text).map_err(|error| StartError::failed("write", proc(name), error))
    };
    let open = |name: &str| {
        rustix::fs::open(proc(name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| StartError::failed("open", proc(name), error))
    };
    let mut user_namespace = None;
    if let Some(map) = spec.id_map {
        let line = format!("0 {} {}", map.first, map.count);
        put("uid_map", &line)?;
        put("gid_map", &line)?;
        user_namespace = Some(open("ns/user")?);
    }
    let user_namespace = user_namespace.as_ref().map(AsFd::as_fd);
    let root = layers.root(user_namespace)?;
    // Before the root is handed on: it is read from here.
    let volumes = layers.volumes(volumes, &root, user_namespace)?;
    say(socket, Kind::Root, Some(&root))?;
    for volume in &volumes {
        say(socket, Kind::Volume, Some(volume))?;
    }
    // Best effort: the host may forbid it in its own container.
    let _ = fs::write(proc("oom_score_adj"), OUT_OF_MEMORY_SCORE);
    if let Network::Attach(attach) = network {
        let namespace = open("ns/net")?;
        attach(namespace.as_fd()).map_err(StartError::Network)?;
    }
    say(socket, Kind::Run, None)
}

fn say(socket: &OwnedFd, kind: Kind, fd: Option<&OwnedFd>) -> Result<(), GuideError> {
    match message::send(socket.as_raw_fd(), kind, 0, fd.map(AsRawFd::as_raw_fd)) {
        Ok(()) => Ok(()),
        Err(Errno(libc::EPIPE | libc::ECONNRESET)) => Err(GuideError::ChildGone),
        Err(errno) => Err(StartError::failed("talk to the sandbox's init", "", errno).into()),
    }
}

fn describe(plan: &Plan, spec: &SandboxSpec, failure: StepFailure) -> StartError {
    let source = io::Error::from_raw_os_error(failure.errno);
    let Some((step, name)) = CommandStep::name(failure.step) else {
        let step = plan.describe(failure.step as usize);
        return StartError::Failed { step, source };
    };
    let object = step.object(&spec.command, &spec.workdir, spec.user.uid);
    StartError::failed(name, object, source)
}

/// Who the command is outside of its user namespace.
fn file_owner(spec: &SandboxSpec) -> (u32, u32) {
    let first = spec.id_map.map_or(0, |map| map.first);
    (first + spec.user.uid, first + spec.user.gid)
}

fn namespaces(spec: &SandboxSpec) -> u64 {
    let mut flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    if spec.id_map.is_some() {
        flags |= libc::CLONE_NEWUSER;
    }
    flags as u64
}

#[cfg(test)]
mod tests {
    use hornero_model::ExitCause;

    use super::*;
    use crate::{IdMap, Profile, Root, Rung, User};

    /// The way of kernels before 6.15, which this one takes too when told to.
    #[test]
    fn a_root_can_be_assembled_on_a_stage() {
        let root = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.path(), mode).unwrap();
        fs::copy("/bin/busybox", root.path().join("busybox")).unwrap();
        let spec = SandboxSpec {
            root: Root::Directory { path: root.path().to_owned(), writable: false },
            command: ["/busybox", "cat", "/etc/hosts"].map(str::to_owned).to_vec(),
            env: Default::default(),
            workdir: String::new(),
            user: User::default(),
            id_map: Some(IdMap { first: 310_000_000, count: 65_536 }),
            scratch: vec![],
            tmp_bytes: 1 << 20,
            files: vec![crate::ProvidedFile::new("/etc/hosts", "staged")],
            hostname: "stage".to_owned(),
            cgroup: None,
            profile: Profile::Service,
        };
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let (read, write) = io::pipe().unwrap();
        let stdio =
            Stdio { stdin: None, stdout: write.try_clone().unwrap().into(), stderr: write.into() };
        let mut running = stage::with(false, |hold| {
            start_held(&spec, Brought::default(), Rung::File.way(), stdio, Network::Isolated, hold)
        })
        .unwrap();
        assert_eq!(running.wait(None).unwrap(), Some(ExitCause::Code(0)));
        assert_eq!(io::read_to_string(read).unwrap(), "staged");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    }
}
