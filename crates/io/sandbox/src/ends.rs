//! What a caller shares with the child that becomes a command: streams, the socket between them, and what is closed.

use std::{
    fs,
    ops::Range,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    command::Ends,
    error::StartError,
    message::{self, Kind},
    plan::Command,
};

/// Where a command's standard streams go.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input; none means an empty one.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// Standard input, output and error as descriptors above 2; pipes are given to `owner`, the command's user outside, so that it
/// can open `/dev/stdout` and `/dev/stderr` again.
pub(crate) fn streams(owner: Option<(u32, u32)>, stdio: Stdio) -> Result<[OwnedFd; 3], StartError> {
    let failed =
        |error: rustix::io::Errno| StartError::failed("set up standard streams", "", error);
    let stdin = match stdio.stdin {
        Some(stdin) => stdin,
        None => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)?,
    };
    let place = |fd: OwnedFd| -> rustix::io::Result<OwnedFd> {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if kind == rustix::fs::FileType::Fifo
            && let Some((user, group)) = owner
        {
            let owner = rustix::fs::Uid::from_raw(user);
            let group = rustix::fs::Gid::from_raw(group);
            rustix::fs::fchown(&fd, Some(owner), Some(group))?;
        }
        if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
    };
    let place = |fd| place(fd).map_err(failed);
    Ok([place(stdin)?, place(stdio.stdout)?, place(stdio.stderr)?])
}

/// A socket pair for caller and child; the first end is told who sends.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), StartError> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
    let made = || -> rustix::io::Result<_> {
        let (ours, childs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_passcred(&ours, true)?;
        Ok((above_streams(ours)?, above_streams(childs)?))
    };
    made().map_err(|error| StartError::failed("make a socket pair", "", error))
}

/// A pipe by which a child tells at what it failed.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    let made = || -> rustix::io::Result<_> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((read, above_streams(write)?))
    };
    made().map_err(|error| StartError::failed("make a pipe", "", error))
}

/// The command's streams replace 0 to 2, so nothing that is still needed may be there.
fn above_streams(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
}

/// What a child that becomes `command` has of its caller: everything but `keep` is closed.
pub(crate) fn ends(
    command: &Command,
    socket: &OwnedFd,
    failure_pipe: &OwnedFd,
    streams: &[OwnedFd; 3],
    mut keep: Vec<RawFd>,
) -> Ends {
    keep.sort_unstable();
    keep.dedup();
    let mut close = Vec::new();
    let mut next = 3;
    for fd in keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()).filter(|fd| *fd > 2) {
        if fd > next {
            close.push((next, fd - 1));
        }
        next = fd + 1;
    }
    close.push((next, u32::MAX));
    let pointers = |strings: &[std::ffi::CString]| {
        strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    Ends {
        command_line: command_line(),
        is_terminal: false,
        socket: socket.as_raw_fd(),
        failure_pipe: failure_pipe.as_raw_fd(),
        streams: [streams[0].as_raw_fd(), streams[1].as_raw_fd(), streams[2].as_raw_fd()],
        close,
        arguments: pointers(&command.arguments),
        environment: pointers(&command.environment),
    }
}

/// Waits for the command's process to be about to execute; none when it failed before.
pub(crate) fn ready(socket: &OwnedFd) -> Option<u32> {
    let message = message::receive(socket.as_raw_fd(), 0).ok().flatten()?;
    (message.kind == Kind::Ready).then(|| u32::try_from(message.pid).ok()).flatten()
}

/// Where this process's command line is in its memory; empty where the kernel does not tell.
fn command_line() -> Range<usize> {
    // proc_pid_stat(5): the 48th and 49th field; the second, in brackets, may hold anything.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let mut places = fields.skip(48 - 3).map(|field| field.parse().unwrap_or(0));
    places.next().unwrap_or(0)..places.next().unwrap_or(0)
}
