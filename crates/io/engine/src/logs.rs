//! Logs of instances: read from the home's files alone, and rescued where a shim was killed.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    time::{Duration, Instant},
};

use hornero_engine_port::{
    EngineError, InstanceStatus,
    log::{LogPage, LogQuery, LogStream},
};
use hornero_model::InstanceId;
use hornero_telemetry::{LogWriter, nanoseconds_now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::record::{InstanceDirectory, InstanceFiles};

/// A page of an instance's log.
///
/// # Errors
/// [`EngineError::NotFound`] where there is no such log, and where it can't be read.
pub fn read_log(home: &Path, id: &InstanceId, query: &LogQuery) -> Result<LogPage, EngineError> {
    let failed = |error| EngineError::failed(format!("read the log of instance `{id}`"), error);
    let directory = InstanceDirectory::of(home);
    let live = directory.live(id);
    let ended = !live.exists() || live.exit().map_err(failed)?.is_some();
    let files = if live.exists() { live } else { directory.archived(id) };
    if !files.exists() {
        return Err(EngineError::NotFound { id: id.clone() });
    }
    hornero_telemetry::read(&files.logs(), query, ended).map_err(failed)
}

/// A page of the log of an instance that stands as the engine says; of one that it does not know, of what is archived.
pub(crate) fn page(
    directory: &InstanceDirectory,
    status: Option<&InstanceStatus>,
    id: &InstanceId,
    query: &LogQuery,
) -> Result<LogPage, EngineError> {
    let ended = !matches!(status, Some(InstanceStatus::Running(_) | InstanceStatus::Starting));
    let mut files = directory.live(id);
    if status.is_none() {
        files = directory.archived(id);
        if !files.exists() {
            return Err(EngineError::NotFound { id: id.clone() });
        }
    }
    hornero_telemetry::read(&files.logs(), query, ended)
        .map_err(|error| EngineError::failed(format!("read the log of instance `{id}`"), error))
}

/// A number that is another one after an instance has written something; none where it has no log.
pub fn log_mark(home: &Path, id: &InstanceId) -> Option<u64> {
    let directory = InstanceDirectory::of(home);
    let mark = |files: InstanceFiles| hornero_telemetry::written_mark(&files.logs());
    mark(directory.live(id)).or_else(|| mark(directory.archived(id)))
}

/// The last of an instance's output comes this soon after its shim was killed, which kills it.
const RESCUE_TIMEOUT: Duration = Duration::from_secs(2);

/// The read ends of an instance's standard output and error, held beside its shim.
#[derive(Debug)]
pub(crate) struct HeldStreams([File; 2]);

/// Opens what a shim reads, by its own descriptors; none where it is gone, or is of a version that does not say which.
pub(crate) fn hold(shim: &OwnedFd, streams: Option<[i32; 2]>) -> Option<HeldStreams> {
    let opened = |number: i32| -> Option<File> {
        let path = format!("/proc/{}/fd/{number}", pid_of(shim)?);
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
        file.metadata().ok()?.file_type().is_fifo().then_some(file)
    };
    let [out, err] = streams?;
    let held = HeldStreams([opened(out)?, opened(err)?]);
    // It still runs: what was opened by its id is its own.
    is_running(shim).then_some(held)
}

/// The id of a process that a descriptor stands for (pidfd_open(2)).
fn pid_of(process: &OwnedFd) -> Option<u32> {
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

fn is_running(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
}

impl HeldStreams {
    /// Moves what a shim that was killed had not read into the log, which ends with it.
    pub fn rescue(self, log: &Path) {
        let deadline = Instant::now() + RESCUE_TIMEOUT;
        let rescued = LogWriter::open(log).and_then(|mut log| {
            for (stream, file) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(&self.0) {
                while rescue_some(stream, file, &mut log) {
                    if Instant::now() > deadline {
                        // Somebody holds the other end and writes on.
                        log.lose(rustix::io::ioctl_fionread(file).unwrap_or(0));
                        break;
                    }
                }
            }
            log.finish(nanoseconds_now())
        });
        if let Err(error) = rescued {
            tracing::warn!("the last output of an instance whose shim was killed is lost: {error}");
        }
    }
}

/// Waits until more is in a pipe, or the last process that could write to it is gone; for a moment at most, since whoever asks
/// has a deadline.
fn wait_for_more(pipe: &File) {
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    // Interrupted or not, it is looked at again.
    let _ = poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&moment));
}

/// Moves what is in a pipe into the log, or counts it as lost; false once nothing more will come.
fn rescue_some(stream: LogStream, mut file: &File, log: &mut LogWriter) -> bool {
    match log.take_from(stream, file.as_fd(), nanoseconds_now()) {
        Ok(moved) => return moved > 0,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            wait_for_more(file);
            return true;
        }
        Err(_) => {}
    }
    let mut bytes = [0; 16 << 10];
    match file.read(&mut bytes) {
        Ok(0) => false,
        Ok(read) => {
            log.lose(read as u64);
            true
        }
        Err(error) => {
            let goes_on =
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            if goes_on {
                wait_for_more(file);
            }
            goes_on
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, thread};

    use hornero_engine_port::log::LogFrom;

    use super::*;

    fn held(streams: [io::PipeReader; 2]) -> HeldStreams {
        HeldStreams(streams.map(|stream| {
            rustix::io::ioctl_fionbio(&stream, true).unwrap();
            File::from(OwnedFd::from(stream))
        }))
    }

    #[test]
    fn a_rescue_goes_on_where_blocks_cannot_be_finished() {
        let directory = tempfile::tempdir().unwrap();
        let ((out, mut to), (err, mut to_err)) = (io::pipe().unwrap(), io::pipe().unwrap());
        // One line in pieces of a mebibyte: in the way of the frames behind the first and the second.
        for pieces in 1..=2 {
            let name = format!(".{:020}.new", pieces << 20);
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let written = (3 << 20) + 5;
        let writer = thread::spawn(move || {
            to.write_all(&vec![b'x'; written]).unwrap();
            to_err.write_all(b"the end\n").unwrap();
        });
        held([out, err]).rescue(directory.path());
        writer.join().unwrap();
        let query = LogQuery::all(LogFrom::Start, 100);
        let told = hornero_telemetry::read(directory.path(), &query, true).unwrap();
        let bytes = |stream| -> usize {
            let of = told.lines.iter().filter(|line| line.stream == stream);
            of.map(|line| line.text.len()).sum()
        };
        assert_eq!((bytes(LogStream::Stdout), bytes(LogStream::Stderr)), (written, 7));
        assert_eq!(bytes(LogStream::Hornero), 0);
    }

    #[test]
    fn a_rescue_ends_where_somebody_writes_on() {
        let directory = tempfile::tempdir().unwrap();
        let ((out, mut to), (err, _)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let begun = Instant::now();
        // Ends once nobody reads it.
        let writer = thread::spawn(move || while to.write_all(&[b'\n'; 100]).is_ok() {});
        held([out, err]).rescue(directory.path());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        writer.join().unwrap();
    }
}
