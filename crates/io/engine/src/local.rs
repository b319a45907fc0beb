//! The local engine: instances as sandboxes of this host, each kept by a shim.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, HostFeature, InstanceId, Timestamp};
use hornero_net::HomeNetwork;
use hornero_sandbox::{Cgroup, groups_below, remove_parent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    assemble::{self, cgroup_parent},
    launcher::{Launcher, LauncherCommand},
    log::{LogPage, LogQuery},
    log_files,
    port::{Engine, EngineError, Exit, Instance, InstanceSpec, InstanceStatus, Started, Usage},
    record::{FORMAT, InstanceDirectory, Record},
    retention::{LogKeeper, LogLimits, trim_logs},
    run,
    shim::{self, Reply},
    state::{Entry, Shared, State},
    watch::Watch,
};

/// A shim that was told to kill its instance needs a few milliseconds; this long means a broken host.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
/// A shim found by a new engine in the middle of its start has this long to say how it went.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(20);

/// A shim forked for the engine before this one may take an instance just before ours and fail to start it: the next
/// one tells what became of it.
const LAUNCHES: usize = 3;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// What becomes the launcher.
    pub launcher: LauncherCommand,
    /// Whether instances are connected to the home's network, which must be up. Otherwise each has only its own
    /// loopback interface.
    pub networked: bool,
    /// What logs of archived instances may take.
    pub log_limits: LogLimits,
}

/// The engine of one home on this host. There must be one at a time for a home.
#[derive(Debug)]
pub struct LocalEngine {
    home: PathBuf,
    options: LocalOptions,
    directory: InstanceDirectory,
    launcher: Launcher,
    shared: Arc<Shared>,
    watch: Watch,
    log_keeper: LogKeeper,
    /// Starts and removals of one instance come one after the other.
    turns: Mutex<BTreeMap<InstanceId, Arc<Mutex<()>>>>,
}

impl LocalEngine {
    /// Opens the engine of `home` (an existing directory): takes over what runs, records what was lost, and removes
    /// what instances long gone have left.
    pub fn open(home: &Path, options: LocalOptions) -> Result<Self, EngineError> {
        Self::open_after(home, options, ExitCause::Unknown)
    }

    /// The same; instances that were lost since, how is not recorded, are said to have ended by `lost_by`.
    pub fn open_after(
        home: &Path,
        options: LocalOptions,
        lost_by: ExitCause,
    ) -> Result<Self, EngineError> {
        let home = home
            .canonicalize()
            .map_err(|error| EngineError::io(format!("open `{}`", home.display()), error))?;
        let directory = InstanceDirectory::of(&home);
        directory
            .create()
            .map_err(|error| EngineError::io("make the instance directory", error))?;
        let shared = Arc::new(Shared::new(home.clone(), directory.clone()));
        let watch = Watch::start(Arc::clone(&shared))?;
        let launcher = Launcher::new(options.launcher.clone());
        let log_keeper = LogKeeper::start(&home, options.log_limits)
            .map_err(|error| EngineError::io("start the keeper of logs", error))?;
        let turns = Mutex::default();
        let engine = Self { home, options, directory, launcher, shared, watch, log_keeper, turns };
        engine.adopt(&lost_by)?;
        engine.sweep();
        engine.launcher.ensure()?;
        Ok(engine)
    }

    fn adopt(&self, lost_by: &ExitCause) -> Result<(), EngineError> {
        let ids = self.directory.ids();
        for id in ids.map_err(|error| EngineError::io("list instances", error))? {
            match self.adopt_instance(&id, lost_by) {
                Err(error) if is_damage(&error) => self.set_aside(&id, &error)?,
                adopted => adopted
                    .map_err(|error| EngineError::io(format!("adopt instance `{id}`"), error))?,
            }
        }
        Ok(())
    }

    fn adopt_instance(&self, id: &InstanceId, lost_by: &ExitCause) -> std::io::Result<()> {
        let files = self.directory.live(id);
        let Some(record) = files.record()? else {
            // Its directory was made, and then control died: nothing of it ever ran, and its id is free.
            return self.directory.discard(id);
        };
        // Read before the lock is looked at: a shim forked for the last engine may be just about to start.
        let started = files.started()?.is_some();
        let shim = files.shim()?;
        let exit = files.exit()?;
        match (shim, exit) {
            (Some(shim), _) => {
                self.shared.insert(Entry { record, state: State::Starting });
                self.take_over(id, shim)?;
            }
            (None, Some(exit)) => {
                let state = State::Exited { cause: exit.cause, at: exit.at };
                self.shared.insert(Entry { record, state });
            }
            (None, None) if !started => {
                self.shared.insert(Entry { record, state: State::Created });
            }
            (None, None) => {
                self.shared.insert(Entry { record, state: State::Starting });
                self.shared.lost(id, lost_by.clone());
            }
        }
        Ok(())
    }

    /// Ends an instance of which nobody can tell any more what it is, and keeps its files out of the way: one damaged
    /// record must not keep all others from being taken over.
    fn set_aside(&self, id: &InstanceId, error: &std::io::Error) -> Result<(), EngineError> {
        tracing::warn!(
            "the record of instance `{id}` is damaged ({error}); it is ended, and its files are kept in \
             `instances/.archived/{id}`"
        );
        let failed = |error| EngineError::io(format!("set instance `{id}` aside"), error);
        self.shared.forget(id);
        if let Some(shim) = self.directory.live(id).shim().map_err(failed)? {
            // One that has just ended needs no signal.
            let _ = rustix::process::pidfd_send_signal(&shim, shim::KILL);
            let mut ended = [PollFd::new(&shim, PollFlags::IN)];
            let timeout = Timespec { tv_sec: KILL_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
            poll(&mut ended, Some(&timeout)).map_err(|error| failed(error.into()))?;
        }
        // Of an earlier instance with this id, which there should not be.
        let _ = self.directory.archived(id).discard();
        self.directory.archive_instance(id).map_err(failed)
    }

    /// Waits for a living shim to have started its command, and watches it from then on.
    fn take_over(&self, id: &InstanceId, shim: OwnedFd) -> std::io::Result<()> {
        let files = self.directory.live(id);
        let deadline = Instant::now() + ADOPT_TIMEOUT;
        loop {
            if let Some(started) = files.started()? {
                self.shared.set(id, State::Running { started, shim: Arc::new(shim.try_clone()?) });
                break;
            }
            if files.exit()?.is_some() || Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.watch.add(id.clone(), shim)
    }

    /// Removes control groups and addresses of instances that do not run: what was left by shims killed while no
    /// engine was open.
    fn sweep(&self) {
        let alive = |name: &str| InstanceId::new(name).is_ok_and(|id| self.shared.is_alive(&id));
        let parent = cgroup_parent(&self.home);
        for name in groups_below(&parent).iter().filter(|name| !alive(name)) {
            // Found again next time.
            let _ = Cgroup::at(&parent, name).remove();
        }
        if self.options.networked
            && let Ok(network) = HomeNetwork::open(&self.home)
        {
            for (id, _) in network.held_addresses().unwrap_or_default() {
                if !alive(id.as_str()) {
                    let _ = network.detach(&id);
                    let _ = network.release_address(&id);
                }
            }
        }
    }

    /// Removes what all instances share on the host, once none is left, and what is over the limits of their logs.
    /// Returns whether it is gone.
    pub fn clean_up(&self) -> bool {
        if let Err(error) = trim_logs(&self.home, &self.options.log_limits) {
            tracing::warn!("keeping the logs of archived instances within limits failed: {error}");
        }
        self.sweep();
        remove_parent(&cgroup_parent(&self.home))
    }

    /// Runs the command of `spec` once, without network, log and record, as a test of an image does; everything of it
    /// is gone when this returns. After `timeout` it is killed, and the cause is none.
    pub fn run_to_end(
        &self,
        spec: &InstanceSpec,
        timeout: Duration,
    ) -> Result<run::Outcome, EngineError> {
        assemble::check(spec).map_err(|reason| invalid(spec, reason))?;
        let map = self.shared.free_ids(&spec.id);
        run::to_end(&self.home, spec, map, timeout)
    }

    fn turn(&self, id: &InstanceId) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(id.clone()).or_default())
    }

    /// Records a new instance, or finds out that it is none.
    fn admit(&self, spec: &InstanceSpec) -> Result<Option<Started>, EngineError> {
        let id = &spec.id;
        let io = |error| EngineError::io(format!("record instance `{id}`"), error);
        match self.shared.get(id) {
            Some((record, _)) if record.spec != *spec => {
                Err(invalid(spec, "it exists already, with another specification".to_owned()))
            }
            Some((_, InstanceStatus::Running(started))) => Ok(Some(started)),
            Some((_, InstanceStatus::Exited { cause, .. })) => {
                Err(EngineError::Ended { id: id.clone(), cause })
            }
            Some((_, InstanceStatus::Starting)) => Ok(None),
            None => {
                let archived = self.directory.archived(id);
                if archived.exists() {
                    let exit = archived.exit().map_err(io)?;
                    let cause = exit.map_or(ExitCause::Unknown, |exit| exit.cause);
                    return Err(EngineError::Ended { id: id.clone(), cause });
                }
                let record = Record {
                    format: FORMAT,
                    created: Timestamp::now(),
                    id_map: None,
                    networked: self.options.networked,
                    spec: spec.clone(),
                };
                let record = self.shared.insert_with_ids(record);
                if record.id_map.is_none() {
                    self.shared.forget(id);
                    // Without a range of its own, root inside would be root outside.
                    let all = "every range of host ids is in use";
                    return Err(io(std::io::Error::other(all)));
                }
                let files = self.directory.live(id);
                let written = files.create().and_then(|()| files.write_record(&record));
                if written.is_err() {
                    self.shared.forget(id);
                }
                written.map(|()| None).map_err(io)
            }
        }
    }

    fn launch(&self, id: &InstanceId) -> Result<Started, EngineError> {
        for _ in 0..LAUNCHES {
            let (reply, shim) = self.launcher.start(id)?;
            match (reply, shim) {
                (Reply::Started(started), Some(shim)) => {
                    self.watch_shim(id, started.clone(), shim)?;
                    return Ok(started);
                }
                (Reply::Kept, _) | (Reply::Started(_), None) => {
                    if let Some(started) = self.find_shim(id)? {
                        return Ok(started);
                    }
                }
                (Reply::NotStarted(_) | Reply::Ended(_), _) => self.shared.ended(id),
                (Reply::Failed(reason), _) => self.shared.ended_without_record(id, &reason),
            }
            match self.shared.get(id) {
                Some((_, InstanceStatus::Exited { cause: ExitCause::NotStarted(reason), .. })) => {
                    return Err(EngineError::NotStarted { id: id.clone(), reason });
                }
                Some((_, InstanceStatus::Exited { cause, .. })) => {
                    return Err(EngineError::Ended { id: id.clone(), cause });
                }
                Some((_, InstanceStatus::Running(_) | InstanceStatus::Starting)) | None => {}
            }
        }
        let reason = "another shim held it, and was gone each time it was looked for".to_owned();
        self.shared.ended_without_record(id, &reason);
        Err(EngineError::NotStarted { id: id.clone(), reason })
    }

    fn watch_shim(
        &self,
        id: &InstanceId,
        started: Started,
        shim: OwnedFd,
    ) -> Result<(), EngineError> {
        let failed = |error| EngineError::io(format!("watch instance `{id}`"), error);
        let copy = shim.try_clone().map_err(failed)?;
        self.shared.set(id, State::Running { started, shim: Arc::new(shim) });
        self.watch.add(id.clone(), copy).map_err(failed)
    }

    /// Takes over an instance whose shim was forked for an engine before this one; none when there is no such shim.
    fn find_shim(&self, id: &InstanceId) -> Result<Option<Started>, EngineError> {
        let failed = |error| EngineError::io(format!("adopt instance `{id}`"), error);
        let Some(shim) = self.directory.live(id).shim().map_err(failed)? else { return Ok(None) };
        self.take_over(id, shim).map_err(failed)?;
        match self.shared.get(id) {
            Some((_, InstanceStatus::Running(started))) => Ok(Some(started)),
            Some((_, InstanceStatus::Starting | InstanceStatus::Exited { .. })) | None => Ok(None),
        }
    }

    fn signal(&self, id: &InstanceId, signal: rustix::process::Signal) {
        if let Some(shim) = self.shared.shim(id) {
            // A shim that has just ended needs no signal.
            let _ = rustix::process::pidfd_send_signal(&shim, signal);
        }
    }
}

/// Whether a file was read and held something else than what is written there.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn invalid(spec: &InstanceSpec, reason: String) -> EngineError {
    EngineError::Invalid { id: spec.id.to_string(), reason }
}

impl Engine for LocalEngine {
    fn start(&self, spec: &InstanceSpec) -> Result<Started, EngineError> {
        assemble::check(spec).map_err(|reason| invalid(spec, reason))?;
        let turn = self.turn(&spec.id);
        let _mine = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.admit(spec)? {
            Some(started) => Ok(started),
            None => self.launch(&spec.id),
        }
    }

    fn stop(&self, id: &InstanceId, grace: Duration) -> Result<ExitCause, EngineError> {
        let not_found = || EngineError::NotFound { id: id.clone() };
        if self.shared.get(id).is_none() {
            let exit = self.directory.archived(id).exit();
            let exit =
                exit.map_err(|error| EngineError::io(format!("read instance `{id}`"), error))?;
            return exit.map(|exit| exit.cause).ok_or_else(not_found);
        }
        {
            // A start on its way comes to its end first.
            let turn = self.turn(id);
            let _mine = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if self.shared.is_created(id) && self.find_shim(id)?.is_none() {
                self.shared.ended_without_record(id, "it was stopped before its start");
            }
        }
        self.signal(id, shim::STOP);
        if let Some(cause) = self.shared.wait_for_exit(id, grace) {
            return Ok(cause);
        }
        self.signal(id, shim::KILL);
        self.shared.wait_for_exit(id, KILL_TIMEOUT).ok_or_else(|| {
            EngineError::io(
                format!("kill instance `{id}`"),
                std::io::Error::from(std::io::ErrorKind::TimedOut),
            )
        })
    }

    fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        if self.shared.get(id).is_none() {
            return Ok(());
        }
        self.signal(id, shim::KILL);
        self.stop(id, Duration::ZERO)?;
        let turn = self.turn(id);
        let _mine = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((record, _)) = self.shared.get(id) {
            shim::release(&self.home, &record);
        }
        self.directory
            .archive_instance(id)
            .map_err(|error| EngineError::io(format!("archive instance `{id}`"), error))?;
        self.shared.forget(id);
        self.log_keeper.archived();
        Ok(())
    }

    fn list(&self) -> Result<Vec<Instance>, EngineError> {
        Ok(self.shared.list())
    }

    fn exits(&self) -> Receiver<Exit> {
        let (sender, receiver) = channel();
        self.shared.subscribe(sender);
        receiver
    }

    fn logs(&self, id: &InstanceId, query: &LogQuery) -> Result<LogPage, EngineError> {
        let status = self.shared.get(id).map(|(_, status)| status);
        let ended = !matches!(status, Some(InstanceStatus::Running(_) | InstanceStatus::Starting));
        let mut files = self.directory.live(id);
        if status.is_none() {
            files = self.directory.archived(id);
            if !files.exists() {
                return Err(EngineError::NotFound { id: id.clone() });
            }
        }
        log_files::read(&files.logs(), query, ended)
            .map_err(|error| EngineError::io(format!("read the log of instance `{id}`"), error))
    }

    fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError> {
        if self.shared.get(id).is_none() {
            return Err(EngineError::NotFound { id: id.clone() });
        }
        let used = Cgroup::at(&cgroup_parent(&self.home), id.as_str()).usage();
        Ok(Usage { memory_bytes: used.memory_bytes, cpu_us: used.cpu_us, pids: used.pids })
    }

    fn support(&self) -> Vec<HostFeature> {
        hornero_sandbox::support().features.clone()
    }
}
