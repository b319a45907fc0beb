//! A sandbox that runs: signals, waiting, the cause of its end, removal.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, GroupFigures};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, WaitIdOptions},
};

use crate::{
    cgroup::{Cgroup, Usage},
    message::{self, Kind},
};

/// A sandbox whose command was executed. Dropping it ends every process in it and removes its control group.
#[derive(Debug)]
pub struct Running {
    init: Process,
    socket: OwnedFd,
    pid: u32,
    cgroup: Option<Cgroup>,
    outcome: Option<ExitCause>,
    /// Whether the caller ended it by force.
    killed: AtomicBool,
}

/// The sandbox's first process, killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    pub pid: i32,
    reaped: bool,
}

impl Process {
    pub fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pidfd, pid, reaped: false }
    }

    pub fn kill(&self) {
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits at most so long for the end of the process, which stays to be reaped; whether it has come.
    pub fn has_ended_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                polled => return polled.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// Waits for the end of the process, which the kernel reports only once every process of its namespace is gone.
    pub fn reap(&mut self) -> Option<rustix::process::WaitIdStatus> {
        if self.reaped {
            return None;
        }
        let id = rustix::process::WaitId::PidFd(self.pidfd.as_fd());
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(id.clone(), WaitIdOptions::EXITED)
        });
        self.reaped = true;
        status.ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.reap();
        }
    }
}

impl Running {
    pub(crate) fn new(init: Process, socket: OwnedFd, pid: u32, cgroup: Option<Cgroup>) -> Self {
        Self { init, socket, pid, cgroup, outcome: None, killed: AtomicBool::new(false) }
    }

    /// The command's process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the command (not to other processes of the sandbox).
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        message::send(self.socket.as_raw_fd(), Kind::Signal, signal, None).map_err(io::Error::from)
    }

    /// Ends every process of the sandbox by SIGKILL.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.init.kill();
    }

    /// Becomes readable when the command has ended; for callers that wait for other things too.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What the sandbox uses; nothing without a control group.
    pub fn usage(&self) -> Usage {
        self.cgroup.as_ref().map(Cgroup::usage).unwrap_or_default()
    }

    /// What its control group has counted; nothing without one.
    pub fn figures(&self) -> GroupFigures {
        self.cgroup.as_ref().map(Cgroup::figures).unwrap_or_default()
    }

    /// Waits for the command's end, at most for `timeout` where one is given. None means that it still runs. After its
    /// end every other process of the sandbox is gone too.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Option<ExitCause>> {
        if let Some(outcome) = &self.outcome {
            return Ok(Some(outcome.clone()));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.map(|left| {
                Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
            });
            let mut events = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut events, left.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let told = message::receive(self.socket.as_raw_fd(), libc::MSG_DONTWAIT)?;
        let status =
            told.filter(|message| message.kind == Kind::Ended).map(|message| message.value);
        self.init.reap();
        let outcome = self.cause(status);
        self.outcome = Some(outcome.clone());
        Ok(Some(outcome))
    }

    /// Why the command ended, given its wait status, or none where init was killed before it could tell.
    fn cause(&self, status: Option<i32>) -> ExitCause {
        let short_of_memory = !self.killed.load(Ordering::Relaxed)
            && self.cgroup.as_ref().is_some_and(|cgroup| cgroup.out_of_memory_kills() > 0);
        match status {
            Some(status) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => {
                ExitCause::Code(0)
            }
            Some(status)
                if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGTERM =>
            {
                ExitCause::Signal(libc::SIGTERM)
            }
            Some(_) | None if short_of_memory => ExitCause::OutOfMemory,
            Some(status) if libc::WIFEXITED(status) => ExitCause::Code(libc::WEXITSTATUS(status)),
            Some(status) => ExitCause::Signal(libc::WTERMSIG(status)),
            None => ExitCause::Signal(libc::SIGKILL),
        }
    }

    /// Ends what still runs and removes the control group. Dropping does the same, but can't say what failed.
    pub fn remove(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.init.kill();
        self.init.reap();
        self.cgroup.take().map_or(Ok(()), |cgroup| cgroup.remove())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A group that can't be removed is found again by its name (see `groups_below`).
        let _ = self.end();
    }
}
