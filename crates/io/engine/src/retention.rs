//! Which logs of archived instances stay: bounded by service, by home and by age, the newest first.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, SystemTime},
};

use hornero_home::Opening;
use hornero_model::{InstanceId, ServiceName, Timestamp};

use crate::{
    log_files::{LogSegment, segments},
    record::{InstanceDirectory, InstanceFiles},
};

/// Directories of archived instances that stay in a home, without their logs: each is some kilobytes, and nothing asks
/// for the exit of one that ended so many others ago.
const ARCHIVED_MAX: usize = 4096;
/// Newest instances of a service whose logs never go for their age: the last crash stays explainable, also after a clock
/// that jumped ahead.
const KEPT_ANYHOW: usize = 3;
/// Without a removal that calls for it earlier, logs are looked at this often.
const INTERVAL: Duration = Duration::from_secs(600);
/// Removals that come one upon the other are looked at together.
const GATHER: Duration = Duration::from_millis(500);

/// What the logs of archived instances may take. Those of instances that were not removed are bounded each by itself,
/// and are never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of all logs of one service.
    pub service_bytes: u64,
    /// Bytes of all logs of the home.
    pub home_bytes: u64,
    /// How much older than the newest exit the exit of an instance may be.
    pub age: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            service_bytes: 64 << 20,
            home_bytes: 1 << 30,
            age: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// What a look at the logs took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrimmedLogs {
    /// Bytes that are free now.
    pub bytes: u64,
    /// Archived instances that lost lines.
    pub instances: usize,
    /// Bytes of logs that stay.
    pub kept_bytes: u64,
}

/// An archived instance.
struct Archived {
    service: Option<ServiceName>,
    files: InstanceFiles,
    ended: Timestamp,
    /// With their sizes in bytes, oldest first. Nobody writes to them any more.
    segments: Vec<(LogSegment, u64)>,
}

/// The archived instances of a home as they were at the last look.
struct LogArchive {
    directory: InstanceDirectory,
    known: BTreeMap<InstanceId, Archived>,
}

/// Takes away what is over the limits: whole segments, the oldest first, and the beginning of the newest one where it
/// alone is over them. Safe beside an engine and beside itself.
///
/// # Errors
/// Where the archive can't be listed; one instance that can't be trimmed keeps no other from it.
pub fn trim_logs(home: &Path, limits: &LogLimits) -> io::Result<TrimmedLogs> {
    LogArchive::of(home).trim(limits)
}

impl LogArchive {
    fn of(home: &Path) -> Self {
        Self { directory: InstanceDirectory::of(home), known: BTreeMap::new() }
    }

    /// Reads what was archived since the last look: a home may have thousands.
    fn look(&mut self) -> io::Result<()> {
        let ids = self.directory.archived_ids()?;
        self.known.retain(|id, _| ids.contains(id));
        for id in ids {
            if !self.known.contains_key(&id)
                // Removed by another look meanwhile.
                && let Ok(instance) = read(&self.directory, &id)
            {
                self.known.insert(id, instance);
            }
        }
        Ok(())
    }

    fn trim(&mut self, limits: &LogLimits) -> io::Result<TrimmedLogs> {
        self.look()?;
        let mut newest_first: Vec<&mut Archived> = self.known.values_mut().collect();
        newest_first.sort_by_key(|instance| std::cmp::Reverse(instance.ended));
        let oldest = oldest_allowed(newest_first.first().map(|newest| newest.ended), limits);
        let mut home_left = limits.home_bytes;
        let mut services: BTreeMap<Option<ServiceName>, (u64, usize)> = BTreeMap::new();
        let mut trimmed = TrimmedLogs::default();
        for (position, instance) in newest_first.into_iter().enumerate() {
            let (left, seen) =
                services.entry(instance.service.clone()).or_insert((limits.service_bytes, 0));
            *seen += 1;
            let expired = *seen > KEPT_ANYHOW && instance.ended < oldest;
            let allowed = if expired { 0 } else { home_left.min(*left) };
            let (kept, freed) = trim(instance, allowed);
            home_left = home_left.saturating_sub(kept);
            *left = left.saturating_sub(kept);
            trimmed.kept_bytes += kept;
            trimmed.bytes += freed;
            trimmed.instances += usize::from(freed > 0);
            if position >= ARCHIVED_MAX {
                // Found again next time where it fails.
                let _ = instance.files.discard();
            }
        }
        Ok(trimmed)
    }
}

/// Measured from the newest exit: a home that was off for a month has lost nothing, and a clock that jumped ahead takes
/// nothing before something ended under it.
fn oldest_allowed(newest: Option<Timestamp>, limits: &LogLimits) -> Timestamp {
    let age = u64::try_from(limits.age.as_millis()).unwrap_or(u64::MAX);
    Timestamp(newest.map_or(0, |newest| newest.0).min(Timestamp::now().0).saturating_sub(age))
}

fn read(directory: &InstanceDirectory, id: &InstanceId) -> io::Result<Archived> {
    let files = directory.archived(id);
    let segments = sized(&files)?;
    // A record that can't be read leaves the log of nobody's service, which is bounded like any other.
    let service = files.record().ok().flatten().map(|record| record.spec.service);
    let ended = match files.exit() {
        Ok(Some(exit)) => exit.at,
        _ => changed(&segments),
    };
    Ok(Archived { service, files, ended, segments })
}

fn sized(files: &InstanceFiles) -> io::Result<Vec<(LogSegment, u64)>> {
    let segments = match segments(&files.logs()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        segments => segments?,
    };
    let size = |path: &Path| fs::symlink_metadata(path).map(|found| found.size());
    Ok(segments
        .into_iter()
        .filter_map(|segment| size(&segment.1).ok().map(|size| (segment, size)))
        .collect())
}

/// When a log was last written to.
fn changed(segments: &[(LogSegment, u64)]) -> Timestamp {
    let modified = segments
        .last()
        .and_then(|((_, path), _)| fs::symlink_metadata(path).ok()?.modified().ok())
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Timestamp(modified.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

/// Leaves at most `allowed` bytes of an instance's log; gives what is left and what went.
fn trim(instance: &mut Archived, allowed: u64) -> (u64, u64) {
    let before: u64 = instance.segments.iter().map(|(_, size)| size).sum();
    if before <= allowed {
        return (before, 0);
    }
    let mut left = allowed;
    for (position, ((start, path), size)) in instance.segments.iter().rev().enumerate() {
        if *size <= left {
            left -= size;
            continue;
        }
        let rest = if position == 0 { left } else { 0 };
        // A log has no holes: all that is older goes as well.
        left = 0;
        let _ = cut(&instance.files, *start, path, *size, rest);
    }
    // What could not be taken away is found again next time.
    instance.segments = sized(&instance.files).unwrap_or_default();
    let after: u64 = instance.segments.iter().map(|(_, size)| size).sum();
    (after, before.saturating_sub(after))
}

/// Cuts the beginning off a segment, so that at most `rest` bytes are left, beginning with a whole line.
/// The newest segment stays at least as an empty file, whose name says where the log ended.
fn cut(files: &InstanceFiles, start: u64, path: &Path, size: u64, rest: u64) -> io::Result<()> {
    let is_newest = segments(&files.logs())?.last().is_none_or(|(last, _)| *last == start);
    if !is_newest {
        return fs::remove_file(path);
    }
    if size == 0 {
        return Ok(());
    }
    let mut tail = Vec::new();
    if rest > 0 {
        let mut file = hornero_home::open(path, Opening::Read)?;
        file.seek(SeekFrom::Start(size.saturating_sub(rest)))?;
        file.take(rest).read_to_end(&mut tail)?;
        // The line that was cut through goes as well.
        let line = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |end| end + 1);
        tail.drain(..line);
    }
    let name = format!("{:020}", start + size - tail.len() as u64);
    let temporary = files.logs().join(format!(".{name}.{}", std::process::id()));
    hornero_home::open(&temporary, Opening::Replace)?.write_all(&tail)?;
    fs::rename(&temporary, files.logs().join(name))?;
    fs::remove_file(path)
}

/// The thread that keeps the logs of a home within limits while its engine lives.
#[derive(Debug)]
pub(crate) struct LogKeeper {
    archived: Sender<()>,
}

impl LogKeeper {
    pub fn start(home: &Path, limits: LogLimits) -> io::Result<Self> {
        let (archived, told) = channel();
        let home = home.to_owned();
        thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(move || keep(&home, &limits, &told))?;
        Ok(Self { archived })
    }

    /// An instance was archived.
    pub fn archived(&self) {
        // A keeper that is gone has panicked; the next engine has another.
        let _ = self.archived.send(());
    }
}

fn keep(home: &Path, limits: &LogLimits, told: &Receiver<()>) {
    let mut archive = LogArchive::of(home);
    loop {
        if let Err(error) = archive.trim(limits) {
            tracing::warn!("keeping the logs of archived instances within limits failed: {error}");
        }
        match told.recv_timeout(INTERVAL) {
            Ok(()) => {
                // Bounded: a burst of removals costs one look each half second.
                thread::sleep(GATHER);
                while told.try_recv().is_ok() {}
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests;
