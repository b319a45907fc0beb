//! Which logs of archived instances stay: bounded by service, by home and by age, the newest first.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use hornero_model::{InstanceId, ServiceName, Timestamp};

use crate::record::{InstanceDirectory, InstanceFiles};

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
    /// What its log takes. Nobody writes to it any more.
    log_bytes: u64,
}

/// The archived instances of a home as they were at the last look.
struct LogArchive {
    directory: InstanceDirectory,
    known: BTreeMap<InstanceId, Archived>,
}

/// Takes away what is over the limits: whole blocks, the oldest first. Safe beside an engine and beside itself.
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
    let log_bytes = hornero_telemetry::size_bytes(&files.logs())?;
    // A record that can't be read leaves the log of nobody's service, which is bounded like any other.
    let service = files.record().ok().flatten().map(|record| record.spec.service);
    let ended = match files.exit() {
        Ok(Some(exit)) => exit.at,
        _ => hornero_telemetry::last_written(&files.logs()).unwrap_or(Timestamp(0)),
    };
    Ok(Archived { service, files, ended, log_bytes })
}

/// Leaves at most `allowed` bytes of an instance's log; gives what is left and what went.
fn trim(instance: &mut Archived, allowed: u64) -> (u64, u64) {
    let before = instance.log_bytes;
    if before <= allowed {
        return (before, 0);
    }
    let logs = instance.files.logs();
    // What could not be taken away is found again next time.
    let _ = hornero_telemetry::trim(&logs, allowed);
    instance.log_bytes = hornero_telemetry::size_bytes(&logs).unwrap_or(before);
    (instance.log_bytes, before.saturating_sub(instance.log_bytes))
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
