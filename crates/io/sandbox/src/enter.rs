//! Entering a sandbox that runs: a command beside its own, under the same limits and with no more rights.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, User};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    cgroup::Cgroup,
    ends::{Stdio, ends, pipe, ready, socket_pair, streams},
    error::StartError,
    guest::{self, GuestEntry},
    message::{self, CommandStep, Kind, StepFailure},
    plan::{Command, CommandWords},
    running::Process,
    spec::Profile,
    start::OUT_OF_MEMORY_SCORE,
    sys::{self, Cloned},
};

/// How long everything of a session has to end once it is to; the kernel needs milliseconds, a loaded host more.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A command that is to enter a sandbox; it must have a user namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySpec {
    /// A process of the sandbox, by its number on the host.
    pub process: u32,
    /// The group shared by the sandboxes of its home.
    pub cgroup_parent: String,
    /// The sandbox's own group.
    pub cgroup: String,
    /// The command and its arguments, looked up as those of a sandbox are.
    pub command: Vec<String>,
    /// The whole environment of the command.
    pub env: BTreeMap<String, String>,
    /// Working directory inside; empty means `/`.
    pub workdir: String,
    /// Who the command runs as, in ids of the image.
    pub user: User,
    /// Whether its streams are a terminal, which it gets for its own.
    pub is_terminal: bool,
}

/// A command that runs in a sandbox beside its own. Dropping it ends it, and whatever it started.
#[derive(Debug)]
pub struct EnteredCommand {
    outside: Process,
    socket: Option<OwnedFd>,
    pid: u32,
}

/// Has a command enter, and returns once it was executed. After an error nothing of it is left. It is given up at `deadline`: who
/// runs as the same user inside can have it stand still before it is executed.
///
/// The caller must be root in the host's user namespace. It may have threads; what it has in its memory is copied into the
/// sandbox, where nobody gets at it.
pub fn enter(
    spec: &EntrySpec,
    stdio: Stdio,
    deadline: Instant,
) -> Result<EnteredCommand, StartError> {
    let gone = || StartError::Invalid(format!("nothing of `{}` runs any more", spec.cgroup));
    let process = i32::try_from(spec.process).map_err(|_| gone())?;
    let pid = rustix::process::Pid::from_raw(process).ok_or_else(gone)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|_| gone())?;
    // Looked at afterwards: what has this number now is what was opened, or has ended.
    let group = Cgroup::at(&spec.cgroup_parent, &spec.cgroup);
    if !group.members().contains(&process) {
        return Err(gone());
    }
    let entrance = group.entrance()?;
    let command = Command::of(&CommandWords {
        command: &spec.command,
        env: &spec.env,
        workdir: &spec.workdir,
        user: &spec.user,
        profile: Profile::Service,
    })?;
    let entry =
        GuestEntry { process: pidfd.as_raw_fd(), tasks: entrance.task_fds().collect(), command };
    // Pipes stay root's: whoever runs as the same user inside can't open them again.
    let streams = streams(None, stdio)?;
    let (socket, child_socket) = socket_pair()?;
    let (failure, child_failure) = pipe()?;
    let mut keep: Vec<RawFd> =
        vec![child_socket.as_raw_fd(), child_failure.as_raw_fd(), pidfd.as_raw_fd()];
    keep.extend(streams.iter().map(AsRawFd::as_raw_fd));
    keep.extend(&entry.tasks);
    let mut ends = ends(&entry.command, &child_socket, &child_failure, &streams, keep);
    ends.is_terminal = spec.is_terminal;
    let cloned = {
        let directory = entrance.directory.as_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: the child only makes system calls until it executes the command or exits.
        unsafe { sys::clone_process(0, directory) }
    };
    let outside = match cloned {
        Ok(Cloned::Child) => guest::run(&entry, &ends),
        Ok(Cloned::Parent { pid, pidfd }) => Process::new(pid, pidfd),
        Err(errno) => return Err(StartError::failed("clone the guest", "", errno)),
    };
    drop((child_socket, child_failure, streams, entrance, pidfd));
    begun(spec, outside, socket, &failure, deadline)
}

/// Waits until the command was executed.
fn begun(
    spec: &EntrySpec,
    mut outside: Process,
    socket: OwnedFd,
    failure: &OwnedFd,
    deadline: Instant,
) -> Result<EnteredCommand, StartError> {
    let is_ready = is_told(&socket, deadline);
    let pid = if is_ready { ready(&socket) } else { None };
    // The end of the pipe tells that it was executed.
    if !is_ready || !is_told(failure, deadline) {
        // Dropping it ends all of it.
        drop(EnteredCommand { outside, socket: Some(socket), pid: 0 });
        let late = io::Error::from(io::ErrorKind::TimedOut);
        return Err(StartError::failed("enter the sandbox", "", late));
    }
    if let Some(failed) = StepFailure::receive(failure) {
        drop(socket);
        outside.reap();
        return Err(describe(spec, failed));
    }
    let Some(pid) = pid else {
        let died = io::Error::other("it was killed");
        return Err(StartError::failed("enter the sandbox", "", died));
    };
    // Best effort: the host may forbid it in its own container.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), OUT_OF_MEMORY_SCORE);
    Ok(EnteredCommand { outside, socket: Some(socket), pid })
}

/// Waits until there is something to be read, or its end; false where that does not come in time.
fn is_told(by: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(by, PollFlags::IN)], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled.is_ok_and(|ready| ready > 0),
        }
    }
}

fn describe(spec: &EntrySpec, failure: StepFailure) -> StartError {
    let source = io::Error::from_raw_os_error(failure.errno);
    let (step, name) =
        CommandStep::name(failure.step).unwrap_or((CommandStep::Enter, "enter the sandbox"));
    let object = step.object(&spec.command, &spec.workdir, spec.user.uid);
    StartError::failed(name, object, source)
}

impl EnteredCommand {
    /// The command's process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the command has ended and nothing that it started is left.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Waits for the end of the command, and says how it ended. Whatever it started has ended as well by then.
    pub fn wait(&mut self) -> ExitCause {
        let told = self
            .socket
            .as_ref()
            .and_then(|socket| message::receive(socket.as_raw_fd(), 0).ok().flatten());
        self.end();
        let status = told.filter(|told| told.kind == Kind::Ended).map(|told| told.value);
        match status {
            Some(status) if libc::WIFEXITED(status) => ExitCause::Code(libc::WEXITSTATUS(status)),
            Some(status) => ExitCause::Signal(libc::WTERMSIG(status)),
            // The server has ended, and with it everything in its process namespace.
            None => ExitCause::Signal(libc::SIGKILL),
        }
    }

    /// Ends the command and whatever it started, and waits until all of it is gone.
    pub fn end(&mut self) {
        drop(self.socket.take());
        if !self.outside.has_ended_within(END_PATIENCE) {
            self.outside.kill();
        }
        self.outside.reap();
    }
}

impl Drop for EnteredCommand {
    fn drop(&mut self) {
        self.end();
    }
}
