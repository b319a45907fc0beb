//! How a fresh process becomes the command, and what it has of its caller: system calls only, nothing allocated.

use std::{ops::Range, os::fd::RawFd};

use crate::{
    capability,
    message::{self, CommandStep, Kind, StepFailure},
    plan::Command,
    seccomp,
    sys::{self, Errno, check},
};

/// The child's ends and streams.
pub(crate) struct Ends {
    pub socket: RawFd,
    pub failure_pipe: RawFd,
    /// Standard input, output and error of the command; all above 2.
    pub streams: [RawFd; 3],
    /// Whether they are a terminal, which the command then is to have for its own.
    pub is_terminal: bool,
    /// Where the caller's command line is in memory, from its first byte to behind its last.
    pub command_line: Range<usize>,
    /// Ranges of descriptor numbers that the child has no business with.
    pub close: Vec<(u32, u32)>,
    /// The working memory of exec, prepared by the caller.
    pub arguments: Vec<*const libc::c_char>,
    pub environment: Vec<*const libc::c_char>,
}

/// Open files of a command: enough for busy servers, and the hard limit is never raised.
const OPEN_FILES: u64 = 65_536;

/// Turns a fresh clone of init into the command.
pub(crate) fn become_command(command: &Command, ends: &Ends) -> ! {
    let (step, errno) = match execute(command, ends) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    give_up(ends, step as u32, errno)
}

enum Never {}

fn execute(command: &Command, ends: &Ends) -> Result<Never, (CommandStep, Errno)> {
    let at = |step: CommandStep| move |errno: Errno| (step, errno);
    reset_signals().map_err(at(CommandStep::Limits))?;
    sys::call(libc::SYS_setsid, [0; 4]).map_err(at(CommandStep::Limits))?;
    limit(libc::RLIMIT_CORE, 0).map_err(at(CommandStep::Limits))?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES).map_err(at(CommandStep::Limits))?;
    streams(ends).map_err(at(CommandStep::Streams))?;
    if ends.is_terminal {
        own_terminal().map_err(at(CommandStep::Streams))?;
    }
    capability::limit_bounding_set(command.capabilities).map_err(at(CommandStep::Capabilities))?;
    sys::become_user(command.uid, command.gid, &command.groups)
        .map_err(at(CommandStep::Identity))?;
    // SAFETY: the path lives across the call. After the change of user, so that its rights count.
    check(libc::c_long::from(unsafe { libc::chdir(command.workdir.as_ptr()) }))
        .map_err(at(CommandStep::WorkingDirectory))?;
    // Another user than root has lost every capability by becoming it; a build step as such a user has none either.
    let kept = if command.uid == 0 { command.capabilities } else { 0 };
    capability::limit_to(kept).map_err(at(CommandStep::Capabilities))?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(at(CommandStep::Filter))?;
    message::send(ends.socket, Kind::Ready, 0, None).map_err(at(CommandStep::Ready))?;
    seccomp::install(command.filter).map_err(at(CommandStep::Filter))?;
    let mut worst = Errno(libc::ENOENT);
    for candidate in &command.candidates {
        // SAFETY: path, arguments and environment live across the call; both lists end in a null pointer.
        let result = check(libc::c_long::from(unsafe {
            libc::execve(candidate.as_ptr(), ends.arguments.as_ptr(), ends.environment.as_ptr())
        }));
        match result {
            Ok(_) | Err(Errno(libc::ENOENT | libc::ENOTDIR)) => {}
            Err(errno) => worst = errno,
        }
    }
    Err((CommandStep::Exec, worst))
}

fn streams(ends: &Ends) -> sys::Result<()> {
    for (target, source) in ends.streams.iter().enumerate() {
        // Without O_CLOEXEC: these three stay open across exec.
        sys::call(libc::SYS_dup3, [*source as u64, target as u64, 0, 0])?;
    }
    Ok(())
}

/// Takes the terminal that is standard input as that of this session, which has none yet.
fn own_terminal() -> sys::Result<()> {
    // SAFETY: an ioctl with integers only.
    check(libc::c_long::from(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })).map(drop)
}

/// Every signal gets its default action, and none is blocked: exec would hand on what the caller ignores.
fn reset_signals() -> sys::Result<()> {
    for signal in 1..=64 {
        if [libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal) {
            continue;
        }
        sys::default_action(signal)?;
    }
    sys::set_signal_mask(0)
}

/// Lowers soft and hard limit to `most`; never raises.
fn limit(resource: libc::__rlimit_resource_t, most: u64) -> sys::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives across both calls.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limit).into())?;
        limit.rlim_max = limit.rlim_max.min(most);
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(resource, &raw const limit).into()).map(drop)
    }
}

/// Tells the caller at which step it ended, and ends.
pub(crate) fn give_up(ends: &Ends, step: u32, errno: Errno) -> ! {
    StepFailure { step, errno: errno.0 }.send(ends.failure_pipe);
    sys::exit(125)
}
