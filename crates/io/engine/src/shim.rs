//! The process that keeps one instance: starts its sandbox, writes its log, tells how it ended, outlives control.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    time::Duration,
};

use hornero_engine_port::log::LogStream;
use hornero_model::{ExitCause, FileIdentity, GroupFigures, InstanceId, error_chain};
use hornero_net::{Attachment, HomeNetwork};
use hornero_sandbox::{Brought, Cgroup, Network, Root, Running, Stdio, start_with};
use hornero_telemetry::{LogWriter, nanoseconds_now};
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use crate::{
    assemble::{NetworkPlace, cgroup_parent, sandbox_spec},
    attached, configuration,
    record::{ExitRecord, InstanceDirectory, InstanceFiles, Record},
    recorded::{RecordedSignal, RunningProcess},
};

/// Asks a shim to end its command in good order.
pub(crate) const STOP: rustix::process::Signal = rustix::process::Signal::TERM;
/// Tells a shim to kill everything in its instance.
pub(crate) const KILL: rustix::process::Signal = rustix::process::Signal::USR1;

/// Read from a stream at once; a busy instance is served in few calls.
const READ_BYTES: usize = 64 << 10;

/// How a start went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The command runs. With the shim's own process as descriptor.
    Started(RunningProcess),
    /// It does not; `exit.json` says the same.
    NotStarted(String),
    /// Another shim keeps this instance already.
    Kept,
    /// The instance has ended before.
    Ended(ExitCause),
    /// The shim could not even look.
    Failed(String),
}

/// What a freshly forked shim does, from its request to its end.
pub(crate) fn run(home: &Path, id: &InstanceId, reply: OwnedFd) {
    let files = InstanceDirectory::of(home).live(id);
    let answer = |message: &Reply, fd: Option<BorrowedFd<'_>>| {
        // An engine that is gone finds everything on disk.
        let _ = crate::wire::send(&reply, message, fd);
    };
    if let Err(error) = hornero_sandbox::leave_no_core() {
        return answer(&Reply::Failed(format!("forbid core dumps: {error}")), None);
    }
    let (lock, record) = match prepare(&files) {
        Ok(prepared) => prepared,
        Err(message) => return answer(&message, None),
    };
    let signals = match signal_descriptor() {
        Ok(signals) => signals,
        Err(error) => return answer(&Reply::Failed(format!("take signals: {error}")), None),
    };
    let mut log = match LogWriter::open(&files.logs()) {
        Ok(log) => log,
        Err(error) => return answer(&Reply::Failed(format!("open the log: {error}")), None),
    };
    let begun = begin(home, &record);
    let Begun { running, streams, address, metadata, held } = match begun {
        Ok(begun) => begun,
        Err(reason) => {
            release(home, &record);
            end(&files, ExitCause::NotStarted(reason.clone()));
            return answer(&Reply::NotStarted(reason), None);
        }
    };
    let held_at = streams.each_ref().map(AsRawFd::as_raw_fd);
    let started = RunningProcess { pid: running.pid(), address, metadata, streams: Some(held_at) };
    // A shim that can't write this is not found by the next engine, which then ends the instance.
    let _ = files.write_started(&started);
    let myself = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    );
    answer(&Reply::Started(started), myself.as_ref().ok().map(AsFd::as_fd));
    drop((reply, myself));
    let (cause, figures) = keep(running, streams, &signals, &mut log, record.spec.stop_signal);
    release(home, &record);
    // Only a bundle would miss them.
    let _ = files.write_figures(&figures);
    end(&files, cause);
    drop((held, lock));
}

fn prepare(files: &InstanceFiles) -> Result<(crate::record::ShimLock, Record), Reply> {
    let failed = |what: &str, error: io::Error| Reply::Failed(format!("{what}: {error}"));
    let lock = match files.lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Err(Reply::Kept),
        Err(error) => return Err(failed("lock the instance", error)),
    };
    match files.exit() {
        Ok(None) => {}
        Ok(Some(exit)) => return Err(Reply::Ended(exit.cause)),
        Err(error) => return Err(failed("read `exit.json`", error)),
    }
    match files.record() {
        Ok(Some(record)) => Ok((lock, record)),
        Ok(None) => Err(Reply::Failed("`spec.json` is missing".to_owned())),
        Err(error) => Err(failed("read `spec.json`", error)),
    }
}

/// The read ends of the command's standard output and error.
type Streams = [File; 2];

/// A command that runs.
struct Begun {
    running: Running,
    streams: Streams,
    address: Option<IpAddr>,
    metadata: Option<FileIdentity>,
    /// What keeps the store from dropping that file.
    held: Option<File>,
}

fn begin(home: &Path, record: &Record) -> Result<Begun, String> {
    let spec = &record.spec;
    let network = if record.networked {
        let network = HomeNetwork::open(home).map_err(|error| error_chain(&error))?;
        let address = network.allocate_address(&spec.id).map_err(|error| error_chain(&error))?;
        let attachment = Attachment { instance: spec.id.clone(), address, egress: spec.egress };
        Some((network, attachment))
    } else {
        None
    };
    let place = network.as_ref().map(|(network, attachment)| NetworkPlace {
        address: attachment.address.into(),
        name_server: network.gateway().into(),
    });
    let (out, out_write) = pipe()?;
    let (err, err_write) = pipe()?;
    let stdio = Stdio { stdin: None, stdout: out_write, stderr: err_write };
    let sandbox = sandbox_spec(home, spec, record.id_map, place.as_ref())?;
    let mut attach = |namespace: BorrowedFd<'_>| match &network {
        Some((network, attachment)) => {
            network.attach(namespace, attachment).map_err(|error| error_chain(&error))
        }
        None => Ok(()),
    };
    let how = if record.networked { Network::Attach(&mut attach) } else { Network::Isolated };
    let held = hold_metadata(&spec.root);
    let before = held.as_ref().and_then(|held| Some(identity(&held.metadata().ok()?)));
    let secrets = configuration::secrets(home, spec)?;
    let volumes = attached::volumes(home, spec, record.id_map)?;
    let running = start_with(&sandbox, Brought { secrets, volumes }, stdio, how)
        .map_err(|error| error.one_line())?;
    // The same file before and after is the one that was mounted in between; otherwise nobody knows which one was.
    let metadata = before.filter(|before| metadata_file(&spec.root) == Some(*before));
    let address = place.map(|place| place.address);
    Ok(Begun { running, streams: [out, err], address, metadata, held })
}

/// Shares the lock (flock(2)) of the file that the metadata of a root is mounted from: what is held, the store does not
/// drop. None where it can't be had: then mounting it fails, or whoever asked for the start still holds it.
fn hold_metadata(root: &Root) -> Option<File> {
    let file = File::open(metadata_path(root)?).ok()?;
    let shared = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared);
    shared.is_ok().then_some(file)
}

/// The file that the metadata of a root is mounted from.
fn metadata_file(root: &Root) -> Option<FileIdentity> {
    Some(identity(&std::fs::metadata(metadata_path(root)?).ok()?))
}

fn metadata_path(root: &Root) -> Option<&Path> {
    match root {
        Root::Composed(composed) | Root::Build { lower: Some(composed), .. } => {
            Some(&composed.metadata)
        }
        Root::Directory { .. } | Root::Build { lower: None, .. } | Root::Views(_) => None,
    }
}

fn identity(file: &std::fs::Metadata) -> FileIdentity {
    FileIdentity { device: file.dev(), inode: file.ino() }
}

fn pipe() -> Result<(File, OwnedFd), String> {
    let made = || -> io::Result<(File, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the read end: a command whose output blocks would get errors otherwise.
        rustix::io::ioctl_fionbio(&read, true)?;
        Ok((read.into(), write))
    };
    made().map_err(|error| format!("make a pipe: {error}"))
}

/// Writes the log and passes on signals until the command has ended; returns why it did, and what its control group had
/// counted by then.
fn keep(
    mut running: Running,
    mut streams: Streams,
    signals: &OwnedFd,
    log: &mut LogWriter,
    stop_signal: RecordedSignal,
) -> (ExitCause, GroupFigures) {
    let kinds = [LogStream::Stdout, LogStream::Stderr];
    let mut open = [true, true];
    loop {
        let readable = {
            let mut events = vec![
                PollFd::from_borrowed_fd(running.as_fd(), PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
            ];
            let watched: Vec<usize> = (0..2).filter(|index| open[*index]).collect();
            events.extend(watched.iter().map(|index| PollFd::new(&streams[*index], PollFlags::IN)));
            if let Err(error) = poll(&mut events, None) {
                if error == rustix::io::Errno::INTR {
                    continue;
                }
                // Without poll a shim can't do its work: end the instance rather than leave it unwatched.
                running.kill();
            }
            let mut readable = [false; 4];
            readable[0] = !events[0].revents().is_empty();
            readable[1] = !events[1].revents().is_empty();
            for (position, index) in watched.iter().enumerate() {
                readable[2 + index] = !events[2 + position].revents().is_empty();
            }
            readable
        };
        for index in 0..2 {
            if readable[2 + index] {
                open[index] = pump(&mut streams[index], kinds[index], log);
            }
        }
        if readable[1] {
            obey(signals, &running, stop_signal);
        }
        if readable[0]
            && let Ok(Some(cause)) = running.wait(Some(Duration::ZERO))
        {
            // Everything inside is gone, so what is left in the pipes is all there will ever be.
            for index in 0..2 {
                while open[index] && pump(&mut streams[index], kinds[index], log) {}
            }
            // A full disk loses log lines, never the exit.
            let _ = log.finish(nanoseconds_now());
            return (cause, running.figures());
        }
    }
}

/// Moves what is in a pipe into the log. Returns whether more may come now or later.
fn pump(stream: &mut File, kind: LogStream, log: &mut LogWriter) -> bool {
    match log.take_from(kind, stream.as_fd(), nanoseconds_now()) {
        Ok(moved) => return moved > 0,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
        Err(_) => {}
    }
    let mut bytes = [0; READ_BYTES];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        Ok(length) => {
            // A full disk loses log lines, never blocks the instance: how many bytes, the log says later.
            let _ = log.take(kind, &bytes[..length], nanoseconds_now());
            true
        }
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        }
    }
}

fn obey(signals: &OwnedFd, running: &Running, stop_signal: RecordedSignal) {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut info).is_ok_and(|read| read == info.len()) {
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        let signal = match stop_signal {
            RecordedSignal::Terminate => libc::SIGTERM,
            RecordedSignal::Interrupt => libc::SIGINT,
            RecordedSignal::Quit => libc::SIGQUIT,
            RecordedSignal::Hangup => libc::SIGHUP,
            RecordedSignal::User1 => libc::SIGUSR1,
            RecordedSignal::User2 => libc::SIGUSR2,
            RecordedSignal::WindowChange => libc::SIGWINCH,
        };
        if number == STOP.as_raw() as u32 {
            // Fails only when the command has just ended.
            let _ = running.signal(signal);
        } else {
            running.kill();
        }
    }
}

/// Blocks every signal of this process, and gives a descriptor for the two that mean something.
fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: both sets are initialised by the C library before use; the process has one thread.
    let fd = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        let mut wanted: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut wanted);
        libc::sigaddset(&raw mut wanted, STOP.as_raw());
        libc::sigaddset(&raw mut wanted, KILL.as_raw());
        libc::signalfd(-1, &raw const wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for the caller.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

fn end(files: &InstanceFiles, cause: ExitCause) {
    // Nobody is left to tell; without the file the next engine says `Unknown`.
    let _ = files.write_exit(&ExitRecord::now(cause));
}

/// Removes what an instance leaves outside of its own namespaces: control group, address and link. Harmless to
/// repeat, and to do for a shim that was killed.
pub(crate) fn release(home: &Path, record: &Record) {
    let id = &record.spec.id;
    // What can't be removed now is found by its name when an engine opens the home.
    let _ = Cgroup::at(&cgroup_parent(home), id.as_str()).remove();
    if record.networked
        && let Ok(network) = HomeNetwork::open(home)
    {
        let _ = network.detach(id);
        let _ = network.release_address(id);
    }
}

/// Leaves whatever the launcher was part of: session, streams, and its socket.
pub(crate) fn detach_from_launcher() -> io::Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    for stream in 0..3 {
        // SAFETY: replaces the standard streams of this single-threaded process.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
