//! The local engine: instances as sandboxes of this host, each kept by a shim.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use hornero_engine_port::{
    Engine, EngineError, Exit, Instance, InstanceSpec, InstanceStatus, Started,
    evidence::Evidence,
    guest::{Guest, GuestCommand},
    log::{LogPage, LogQuery},
};
use hornero_home::Terms;
use hornero_model::{
    Depth, ExitCause, GroupFigures, HostFeature, InstanceHandle, InstanceId, InstanceUsage, Term,
    Timestamp, VerifiedInstance, WrittenInstance, error_chain,
};
use hornero_net::HomeNetwork;
use hornero_sandbox::{Cgroup, groups_below, remove_parent};
use hornero_store::{RootFiles, Store};

use crate::{
    assemble::{self, cgroup_parent},
    attached, compare,
    launcher::{Launcher, LauncherCommand},
    logs,
    record::{FORMAT, InstanceDirectory, Record},
    recorded::{RecordedSpec, pid_of},
    refusals::{invalid, not_recorded, term_error},
    retention::{LogKeeper, LogLimits, trim_logs},
    shim,
    state::Shared,
    watch::Watch,
};

/// A shim that was told to kill its instance needs a few milliseconds; this long means a broken host.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// What becomes the launcher.
    pub launcher: LauncherCommand,
    /// Whether instances are connected to the home's network, which must be up; else each has a loopback interface alone.
    pub networked: bool,
    /// What logs of archived instances may take.
    pub log_limits: LogLimits,
    /// Where images are; without it what runs can be ended, but nothing started or compared.
    pub store: Option<Arc<Store>>,
}

/// The engine of one home on this host. There must be one at a time for a home.
#[derive(Debug)]
pub struct LocalEngine {
    pub(crate) home: PathBuf,
    options: LocalOptions,
    pub(crate) directory: InstanceDirectory,
    pub(crate) launcher: Launcher,
    pub(crate) shared: Arc<Shared>,
    pub(crate) watch: Watch,
    log_keeper: LogKeeper,
    /// Starts and removals of one instance come one after the other.
    turns: Mutex<BTreeMap<InstanceId, Arc<Mutex<()>>>>,
    /// Which control is obeyed.
    terms: Terms,
    /// One comparison at a time: it uses every processor, and servers need them too.
    comparing: Mutex<()>,
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
            .map_err(|error| EngineError::failed(format!("open `{}`", home.display()), error))?;
        let directory = InstanceDirectory::of(&home);
        let terms = Terms::of(&directory.terms());
        directory
            .create()
            .map_err(|error| EngineError::failed("make the instance directory", error))?;
        let shared = Arc::new(Shared::new(home.clone(), directory.clone()));
        let watch = Watch::start(Arc::clone(&shared))?;
        let launcher = Launcher::new(options.launcher.clone());
        let log_keeper = LogKeeper::start(&home, options.log_limits)
            .map_err(|error| EngineError::failed("start the keeper of logs", error))?;
        let engine = Self {
            home,
            options,
            directory,
            launcher,
            shared,
            watch,
            log_keeper,
            turns: Mutex::default(),
            terms,
            comparing: Mutex::default(),
        };
        engine.adopt(&lost_by)?;
        engine.sweep();
        engine.launcher.ensure()?;
        Ok(engine)
    }

    /// Removes control groups and addresses of instances that do not run: shims killed while no engine was open left them.
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
                // An address of somebody else's, as of a build step, is theirs to give back.
                if self.directory.knows(&id) && !alive(id.as_str()) {
                    let _ = network.detach(&id);
                    let _ = network.release_address(&id);
                }
            }
        }
    }

    /// Lets in what a control of `term` asks.
    fn admit(&self, term: Term) -> Result<(), EngineError> {
        self.terms.admit(term).map_err(term_error)
    }

    fn store(&self) -> Result<&Store, EngineError> {
        let missing = || EngineError::Unsupported("no store of images is open".to_owned());
        self.options.store.as_deref().ok_or_else(missing)
    }

    /// The files of an instance's image; they stay as long as this value.
    fn files_of(&self, spec: &InstanceSpec) -> Result<RootFiles, EngineError> {
        self.store()?.root(&spec.image).map_err(|error| EngineError::NotStarted {
            id: spec.id.clone(),
            reason: error_chain(&error),
        })
    }

    fn turn(&self, id: &InstanceId) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(id.clone()).or_default())
    }

    /// Whether an instance is new, recorded already, or runs.
    fn known(&self, spec: &InstanceSpec) -> Result<Known, EngineError> {
        let id = &spec.id;
        match self.shared.get(id) {
            Some((record, _)) if !record.spec.is_of(spec) => {
                Err(invalid(spec, "it exists already, with another specification".to_owned()))
            }
            Some((_, InstanceStatus::Running(started))) => Ok(Known::Running(started)),
            Some((_, InstanceStatus::Exited { cause, .. })) => {
                Err(EngineError::Ended { id: id.clone(), cause })
            }
            Some((_, InstanceStatus::Starting)) => Ok(Known::Recorded),
            None => {
                let archived = self.directory.archived(id);
                if !archived.exists() {
                    return Ok(Known::New);
                }
                let exit = archived.exit();
                let exit = exit.map_err(|error| not_recorded(id, error))?;
                let cause = exit.map_or(ExitCause::Unknown, |exit| exit.cause);
                Err(EngineError::Ended { id: id.clone(), cause })
            }
        }
    }

    /// Records a new instance.
    fn record(&self, spec: RecordedSpec) -> Result<(), EngineError> {
        let id = spec.id.clone();
        let record = Record {
            format: FORMAT,
            created: Timestamp::now(),
            id_map: None,
            networked: self.options.networked,
            spec,
        };
        let record = self.shared.insert_with_ids(record);
        if record.id_map.is_none() {
            self.shared.forget(&id);
            // Without a range of its own, root inside would be root outside.
            let all = "every range of host ids is in use";
            return Err(not_recorded(&id, std::io::Error::other(all)));
        }
        let files = self.directory.live(&id);
        let written = files.create().and_then(|()| files.write_record(&record));
        if written.is_err() {
            self.shared.forget(&id);
        }
        written.map_err(|error| not_recorded(&id, error))
    }

    fn signal(&self, id: &InstanceId, signal: rustix::process::Signal) {
        if let Some(shim) = self.shared.shim(id) {
            // A shim that has just ended needs no signal.
            let _ = rustix::process::pidfd_send_signal(&shim, signal);
        }
    }
}

/// What is known of an instance that is to be started.
enum Known {
    New,
    Recorded,
    Running(Started),
}

impl Engine for LocalEngine {
    fn obey(&self, term: Term) -> Result<(), EngineError> {
        self.admit(term)
    }

    fn term(&self) -> Result<Term, EngineError> {
        self.terms.newest().map_err(term_error)
    }

    fn start(&self, term: Term, spec: &InstanceSpec) -> Result<Started, EngineError> {
        self.admit(term)?;
        assemble::check(spec).map_err(|reason| invalid(spec, reason))?;
        let turn = self.turn(&spec.id);
        let _mine = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = self.known(spec)?;
        if let Known::Running(started) = known {
            return Ok(started);
        }
        // Held until it runs: then its shim holds them.
        let files = self.files_of(spec)?;
        // Once more: making the files of a large image ready takes a while.
        self.admit(term)?;
        if let Known::New = known {
            self.record(RecordedSpec::new(spec, assemble::root_of(&files)))?;
        }
        self.launch(&spec.id)
    }

    fn stop(&self, term: Term, id: &InstanceId, grace: Duration) -> Result<ExitCause, EngineError> {
        self.admit(term)?;
        let not_found = || EngineError::NotFound { id: id.clone() };
        if self.shared.get(id).is_none() {
            let exit = self.directory.archived(id).exit();
            let exit =
                exit.map_err(|error| EngineError::failed(format!("read instance `{id}`"), error))?;
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
        // Whoever ends it on request has looked at it before.
        self.shared.let_go_of_scratch(id);
        Cgroup::at(&cgroup_parent(&self.home), id.as_str()).thaw();
        self.signal(id, shim::STOP);
        if let Some(cause) = self.shared.wait_for_exit(id, grace) {
            return Ok(cause);
        }
        self.signal(id, shim::KILL);
        self.shared.wait_for_exit(id, KILL_TIMEOUT).ok_or_else(|| {
            EngineError::failed(
                format!("kill instance `{id}`"),
                std::io::Error::from(std::io::ErrorKind::TimedOut),
            )
        })
    }

    fn remove(&self, term: Term, id: &InstanceId) -> Result<(), EngineError> {
        self.admit(term)?;
        if self.shared.get(id).is_none() {
            return Ok(());
        }
        self.signal(id, shim::KILL);
        self.stop(term, id, Duration::ZERO)?;
        let turn = self.turn(id);
        let _mine = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((record, _)) = self.shared.get(id) {
            shim::release(&self.home, &record);
            attached::fenced(&self.home, &record.spec)?;
        }
        self.directory
            .archive_instance(id)
            .map_err(|error| EngineError::failed(format!("archive instance `{id}`"), error))?;
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
        logs::page(&self.directory, status.as_ref(), id, query)
    }

    fn log_mark(&self, id: &InstanceId) -> Option<u64> {
        logs::log_mark(&self.home, id)
    }

    fn room(&self) -> Option<hornero_model::Room> {
        assemble::room(&self.home)
    }

    fn processor_use(&self, ids: &[InstanceId]) -> Option<BTreeMap<InstanceId, u64>> {
        Some(assemble::processor_use(&self.home, ids))
    }

    fn usage(&self, ids: &[InstanceId]) -> BTreeMap<InstanceId, InstanceUsage> {
        assemble::usage(&self.home, ids)
    }

    fn verify(
        &self,
        ids: &[InstanceId],
        depth: Depth,
    ) -> Result<Vec<VerifiedInstance>, EngineError> {
        let _turn = self.comparing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        compare::instances(self.store()?, ids, &|id| self.shared.running(id), depth)
    }

    fn written(&self, id: &InstanceId) -> Result<Option<WrittenInstance>, EngineError> {
        Ok(self.look_at_written(id))
    }

    fn examine(
        &self,
        term: Term,
        id: &InstanceId,
        budget: Duration,
    ) -> Result<Evidence, EngineError> {
        self.admit(term)?;
        self.look_at(id, budget)
    }

    fn freeze(&self, term: Term, id: &InstanceId) -> Result<bool, EngineError> {
        self.admit(term)?;
        self.stand_still(id)
    }

    fn enter(
        &self,
        term: Term,
        id: &InstanceId,
        command: &GuestCommand,
    ) -> Result<Box<dyn Guest>, EngineError> {
        self.admit(term)?;
        self.let_in(id, command)
    }

    fn figures(&self, id: &InstanceId) -> Option<GroupFigures> {
        self.counted(id)
    }

    fn clean_up(&self, term: Term) -> Result<(), EngineError> {
        self.admit(term)?;
        if let Err(error) = trim_logs(&self.home, &self.options.log_limits) {
            tracing::warn!("keeping the logs of archived instances within limits failed: {error}");
        }
        self.sweep();
        match remove_parent(&cgroup_parent(&self.home)) {
            true => Ok(()),
            false => Err(EngineError::Left("control groups of instances".to_owned())),
        }
    }

    fn support(&self) -> Vec<HostFeature> {
        hornero_sandbox::support().features.clone()
    }

    fn host_process(&self, handle: &InstanceHandle) -> Option<u32> {
        pid_of(handle)
    }
}
