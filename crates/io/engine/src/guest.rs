//! The process that keeps a guest, which is a command that somebody runs in an instance: it is between the command and the engine,
//! has nothing of control's memory, and ends the command when its time is up or the engine has gone, whatever else hangs.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, InstanceId, Millis};
use hornero_sandbox::{EnteredCommand, EntrySpec, Stdio, enter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::{
    assemble::{cgroup_parent, environment},
    record::InstanceDirectory,
    recorded::{RecordedSpec, RunningProcess},
    wire,
};

/// Read from the command at once: as a list of numbers in JSON it fits a message.
const READ_BYTES: usize = 8 << 10;

/// What is to enter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuestRequest {
    pub command: Vec<String>,
    /// How long it may take, from now on.
    pub time: Millis,
    /// Columns and rows of the terminal that it gets; none for no terminal.
    pub terminal: Option<(u16, u16)>,
    /// What its terminal is called.
    pub terminal_name: Option<String>,
}

/// What the engine says to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuestInput {
    Typed(Vec<u8>),
    Resized(u16, u16),
}

/// What it says to the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuestReply {
    Entered,
    NotEntered(String),
    Wrote(Vec<u8>),
    /// Nothing of it is left.
    Ended {
        cause: ExitCause,
        time_is_up: bool,
    },
}

/// What a freshly forked keeper does, from its request to its end.
pub(crate) fn run(home: &Path, id: &InstanceId, request: &GuestRequest, engine: OwnedFd) {
    let begun = Instant::now();
    let deadline = begun.checked_add(request.time.duration());
    let refuse = |reason: String| {
        // An engine that is gone wants nothing.
        let _ = wire::send(&engine, &GuestReply::NotEntered(reason), None);
    };
    let Some(deadline) = deadline else { return refuse("no such time".to_owned()) };
    if let Err(error) = hornero_sandbox::leave_no_core() {
        return refuse(format!("forbid core dumps: {error}"));
    }
    match begin(home, id, request, deadline) {
        Ok((entered, streams)) => {
            let outlet = Outlet { engine: &engine, deadline };
            if outlet.send(&GuestReply::Entered) {
                keep(entered, streams, &outlet);
            }
        }
        Err(reason) => refuse(reason),
    }
}

/// Where the command's output comes from, and where its input goes to.
struct GuestStreams {
    output: File,
    input: Option<File>,
}

fn begin(
    home: &Path,
    id: &InstanceId,
    request: &GuestRequest,
    deadline: Instant,
) -> Result<(EnteredCommand, GuestStreams), String> {
    let files = InstanceDirectory::of(home).live(id);
    let gone = || format!("instance `{id}` does not run");
    let record = files.record().ok().flatten().ok_or_else(gone)?;
    let process = files.started().ok().flatten().ok_or_else(gone)?;
    if record.id_map.is_none() {
        return Err(format!("instance `{id}` has no user namespace of its own"));
    }
    let (stdio, streams) = match request.terminal {
        Some(size) => terminal(size),
        None => pipes(),
    }
    .map_err(|error| format!("make its streams: {error}"))?;
    let spec = entry(home, &record.spec, &process, request);
    let entered = enter(&spec, stdio, deadline).map_err(|error| error.one_line())?;
    Ok((entered, streams))
}

fn entry(
    home: &Path,
    spec: &RecordedSpec,
    process: &RunningProcess,
    request: &GuestRequest,
) -> EntrySpec {
    let mut env = environment(spec);
    if let Some(name) = &request.terminal_name {
        env.insert("TERM".to_owned(), name.clone());
    }
    EntrySpec {
        process: process.pid,
        cgroup_parent: cgroup_parent(home),
        cgroup: spec.id.to_string(),
        command: request.command.clone(),
        env,
        workdir: spec.workdir.clone(),
        user: spec.user.clone(),
        is_terminal: request.terminal.is_some(),
    }
}

fn pipes() -> io::Result<(Stdio, GuestStreams)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    let stdio = Stdio { stdin: None, stdout: write.try_clone()?, stderr: write };
    Ok((stdio, GuestStreams { output: read.into(), input: None }))
}

/// A terminal of the host that no path inside leads to.
fn terminal(size: (u16, u16)) -> io::Result<(Stdio, GuestStreams)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: makes a descriptor, which is taken by its owner at once.
    let own = owned(unsafe { libc::posix_openpt(flags) })?;
    // SAFETY: the descriptor is open.
    if unsafe { libc::unlockpt(own.as_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    resize(own.as_raw_fd(), size)?;
    // SAFETY: makes a descriptor of the other side without going by a path (ioctl_tty(2)).
    let other = owned(unsafe { libc::ioctl(own.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    rustix::io::ioctl_fionbio(&own, true)?;
    let stdio =
        Stdio { stdin: Some(other.try_clone()?), stdout: other.try_clone()?, stderr: other };
    let input = File::from(own.try_clone()?);
    Ok((stdio, GuestStreams { output: own.into(), input: Some(input) }))
}

fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    match descriptor {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just opened it for the caller.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn resize(terminal: RawFd, (columns, rows): (u16, u16)) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure lives across the call.
    match unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, &raw const size) } {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The way to the engine, which nobody waits for longer than the guest has.
struct Outlet<'a> {
    engine: &'a OwnedFd,
    deadline: Instant,
}

impl Outlet<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Sends a message; false where the engine is gone, or takes nothing until the time is up.
    fn send(&self, message: &GuestReply) -> bool {
        if rustix::io::ioctl_fionbio(self.engine, true).is_err() {
            return false;
        }
        loop {
            match wire::send(self.engine, message, None) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            let left = Timespec::try_from(self.left()).ok();
            let ready = poll(&mut [PollFd::new(self.engine, PollFlags::OUT)], left.as_ref());
            if !matches!(ready, Ok(1..) | Err(rustix::io::Errno::INTR)) {
                return false;
            }
        }
    }
}

/// What there is to be done.
#[derive(Debug, Clone, Copy)]
struct Ready {
    ended: bool,
    output: bool,
    engine: bool,
}

/// Passes on what is written and typed until the command has ended, its time is up, or the engine is gone.
fn keep(mut entered: EnteredCommand, mut streams: GuestStreams, outlet: &Outlet<'_>) {
    let mut is_open = true;
    loop {
        if outlet.left().is_zero() {
            entered.end();
            let cause = ExitCause::Signal(libc::SIGKILL);
            let late = Outlet { deadline: Instant::now() + LAST_WORDS, ..*outlet };
            drain(&mut streams.output, &late);
            late.send(&GuestReply::Ended { cause, time_is_up: true });
            return;
        }
        let Some(ready) = wait(&entered, &streams, outlet, is_open) else { continue };
        if ready.engine && !obey(&mut streams, outlet.engine) {
            return;
        }
        if ready.output {
            match pump(&mut streams.output, outlet) {
                Pumped::Some | Pumped::Nothing => {}
                Pumped::End => is_open = false,
                Pumped::NotTaken if outlet.left().is_zero() => continue,
                Pumped::NotTaken => return,
            }
        } else if ready.ended {
            let cause = entered.wait();
            drain(&mut streams.output, outlet);
            outlet.send(&GuestReply::Ended { cause, time_is_up: false });
            return;
        }
    }
}

/// How long the engine has to take the last words of a guest whose time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Waits for something to do; none where nothing can be told, or the time is up.
fn wait(
    entered: &EnteredCommand,
    streams: &GuestStreams,
    outlet: &Outlet<'_>,
    is_open: bool,
) -> Option<Ready> {
    let mut events = vec![
        PollFd::from_borrowed_fd(entered.as_fd()?, PollFlags::IN),
        PollFd::new(outlet.engine, PollFlags::IN),
    ];
    events.extend(is_open.then(|| PollFd::new(&streams.output, PollFlags::IN)));
    let left = Timespec::try_from(outlet.left()).ok();
    poll(&mut events, left.as_ref()).ok().filter(|ready| *ready > 0)?;
    let is_ready = |index: usize| events.get(index).is_some_and(|of| !of.revents().is_empty());
    Some(Ready { ended: is_ready(0), engine: is_ready(1), output: is_ready(2) })
}

/// Takes what the engine says; false where it is gone.
fn obey(streams: &mut GuestStreams, engine: &OwnedFd) -> bool {
    let input = match wire::receive::<GuestInput>(engine) {
        Ok(Some((input, _))) => input,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
        Ok(None) | Err(_) => return false,
    };
    let Some(terminal) = &mut streams.input else { return true };
    // A command that reads nothing loses what is typed, as a terminal does whose buffer is full.
    match input {
        GuestInput::Typed(bytes) => drop(terminal.write(&bytes)),
        GuestInput::Resized(columns, rows) => {
            drop(resize(terminal.as_raw_fd(), (columns, rows)));
        }
    }
    true
}

/// What came of reading once.
enum Pumped {
    Some,
    Nothing,
    End,
    NotTaken,
}

fn pump(output: &mut File, outlet: &Outlet<'_>) -> Pumped {
    let mut bytes = [0; READ_BYTES];
    match output.read(&mut bytes) {
        Ok(0) => Pumped::End,
        Ok(length) => match outlet.send(&GuestReply::Wrote(bytes[..length].to_vec())) {
            true => Pumped::Some,
            false => Pumped::NotTaken,
        },
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Pumped::Nothing,
            // A terminal that nobody has open any more answers EIO.
            _ => Pumped::End,
        },
    }
}

/// Passes on what is left; nobody writes any more.
fn drain(output: &mut File, outlet: &Outlet<'_>) {
    while let Pumped::Some = pump(output, outlet) {}
}
