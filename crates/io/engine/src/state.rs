//! What the engine knows of its instances, shared with the thread that watches their shims.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use hornero_engine_port::{Exit, Instance, InstanceStatus};
use hornero_model::{ExitCause, InstanceId, Timestamp};
use hornero_sandbox::IdMap;

use crate::{
    evidence::scratch::HeldScratch,
    ids,
    logs::HeldStreams,
    record::{ExitRecord, InstanceDirectory, Record},
    recorded::{RecordedSpec, RunningProcess},
    shim,
};

/// One instance.
#[derive(Debug)]
pub(crate) struct Entry {
    pub record: Record,
    pub state: State,
}

/// Where an instance is.
#[derive(Debug)]
pub(crate) enum State {
    /// Recorded; no shim was ever seen.
    Created,
    /// A shim is at work.
    Starting,
    Running {
        process: RunningProcess,
        shim: Arc<OwnedFd>,
        /// What it writes, should the shim be killed before it has read it.
        streams: Option<HeldStreams>,
        /// What it writes to, should it end by itself.
        scratch: Option<HeldScratch>,
    },
    Exited {
        cause: ExitCause,
        at: Timestamp,
    },
}

/// The instances of a home.
#[derive(Debug)]
pub(crate) struct Shared {
    home: PathBuf,
    directory: InstanceDirectory,
    entries: Mutex<BTreeMap<InstanceId, Entry>>,
    changed: Condvar,
    exits: Mutex<Exits>,
    /// What instances wrote to that ended by themselves, the newest last.
    remains: Mutex<VecDeque<(InstanceId, HeldScratch)>>,
}

/// Instances of which that is held: their files take memory until somebody has looked at them, or others have ended.
const REMAINS_MAX: usize = 8;

/// Exits on their way to a subscriber.
#[derive(Debug, Default)]
struct Exits {
    subscriber: Option<Sender<Exit>>,
    /// What no subscriber has taken yet; bounded by the number of instances, each of which ends once.
    waiting: VecDeque<Exit>,
}

impl Exits {
    fn flush(&mut self) {
        while let Some(subscriber) = &self.subscriber {
            let Some(exit) = self.waiting.pop_front() else { return };
            if let Err(refused) = subscriber.send(exit) {
                self.waiting.push_front(refused.0);
                self.subscriber = None;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    fn status(&self) -> InstanceStatus {
        match &self.state {
            State::Created | State::Starting => InstanceStatus::Starting,
            State::Running { process, .. } => InstanceStatus::Running(process.started()),
            State::Exited { cause, at } => InstanceStatus::Exited { cause: cause.clone(), at: *at },
        }
    }

    fn instance(&self) -> Instance {
        Instance {
            id: self.record.spec.id.clone(),
            service: self.record.spec.service.clone(),
            release: self.record.spec.release,
            image: self.record.spec.image,
            created: self.record.created,
            status: self.status(),
        }
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, State::Exited { .. })
    }
}

impl Shared {
    pub fn new(home: PathBuf, directory: InstanceDirectory) -> Self {
        let entries = Mutex::default();
        let (exits, remains) = (Mutex::default(), Mutex::default());
        Self { home, directory, entries, changed: Condvar::new(), exits, remains }
    }

    /// Adds an instance found on disk; one that has ended is told of.
    pub fn insert(&self, entry: Entry) {
        self.announce(&entry);
        locked(&self.entries).insert(entry.record.spec.id.clone(), entry);
    }

    /// Adds an instance with a range of host ids of its own.
    pub fn insert_with_ids(&self, mut record: Record) -> Record {
        let mut entries = locked(&self.entries);
        record.id_map = self.choose_ids(&entries, &record.spec.id);
        let entry = Entry { record: record.clone(), state: State::Starting };
        entries.insert(record.spec.id.clone(), entry);
        record
    }

    /// A range of host ids that no living instance has.
    fn choose_ids(&self, entries: &BTreeMap<InstanceId, Entry>, id: &InstanceId) -> Option<IdMap> {
        let used: BTreeSet<u32> = entries
            .values()
            .filter(|entry| entry.is_alive())
            .filter_map(|entry| entry.record.id_map.map(|map| map.first))
            .collect();
        ids::choose(&self.home.to_string_lossy(), id, &used)
    }

    pub fn forget(&self, id: &InstanceId) {
        locked(&self.entries).remove(id);
        self.changed.notify_all();
    }

    pub fn set(&self, id: &InstanceId, state: State) {
        if let Some(entry) = locked(&self.entries).get_mut(id) {
            entry.state = state;
        }
        self.changed.notify_all();
    }

    pub fn get(&self, id: &InstanceId) -> Option<(Record, InstanceStatus)> {
        locked(&self.entries).get(id).map(|entry| (entry.record.clone(), entry.status()))
    }

    pub fn is_alive(&self, id: &InstanceId) -> bool {
        locked(&self.entries).get(id).is_some_and(Entry::is_alive)
    }

    /// Whether the instance was recorded, but no shim ever took it.
    pub fn is_created(&self, id: &InstanceId) -> bool {
        locked(&self.entries).get(id).is_some_and(|entry| matches!(entry.state, State::Created))
    }

    pub fn shim(&self, id: &InstanceId) -> Option<Arc<OwnedFd>> {
        match &locked(&self.entries).get(id)?.state {
            State::Running { shim, .. } => Some(Arc::clone(shim)),
            State::Created | State::Starting | State::Exited { .. } => None,
        }
    }

    fn take_streams(&self, id: &InstanceId) -> Option<HeldStreams> {
        match &mut locked(&self.entries).get_mut(id)?.state {
            State::Running { streams, .. } => streams.take(),
            State::Created | State::Starting | State::Exited { .. } => None,
        }
    }

    fn take_scratch(&self, id: &InstanceId) -> Option<HeldScratch> {
        match &mut locked(&self.entries).get_mut(id)?.state {
            State::Running { scratch, .. } => scratch.take(),
            State::Created | State::Starting | State::Exited { .. } => None,
        }
    }

    /// An instance is to end: nobody looks at what it wrote afterwards.
    pub fn let_go_of_scratch(&self, id: &InstanceId) {
        self.take_scratch(id);
    }

    /// What an instance wrote to that has ended by itself, once.
    pub fn take_remains(&self, id: &InstanceId) -> Option<HeldScratch> {
        let mut remains = locked(&self.remains);
        let at = remains.iter().position(|(of, _)| of == id)?;
        remains.remove(at).map(|(_, held)| held)
    }

    fn keep_remains(&self, id: &InstanceId) {
        let Some(held) = self.take_scratch(id) else { return };
        let mut remains = locked(&self.remains);
        if remains.len() == REMAINS_MAX {
            remains.pop_front();
        }
        remains.push_back((id.clone(), held));
    }

    pub fn list(&self) -> Vec<Instance> {
        locked(&self.entries).values().map(Entry::instance).collect()
    }

    /// The process of an instance that runs, with the specification it was made from.
    pub fn running(&self, id: &InstanceId) -> Option<(RecordedSpec, RunningProcess)> {
        let entries = locked(&self.entries);
        let entry = entries.get(id)?;
        match &entry.state {
            State::Running { process, .. } => Some((entry.record.spec.clone(), process.clone())),
            State::Created | State::Starting | State::Exited { .. } => None,
        }
    }

    /// Waits until an instance has ended, at most for `timeout`.
    pub fn wait_for_exit(&self, id: &InstanceId, timeout: Duration) -> Option<ExitCause> {
        let deadline = Instant::now().checked_add(timeout);
        let mut entries = locked(&self.entries);
        loop {
            match entries.get(id).map(|entry| &entry.state) {
                Some(State::Exited { cause, .. }) => return Some(cause.clone()),
                Some(State::Created | State::Starting | State::Running { .. }) => {}
                None => {
                    return self
                        .directory
                        .archived(id)
                        .exit()
                        .ok()
                        .flatten()
                        .map(|exit| exit.cause);
                }
            }
            let left =
                deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            // Bounded, since the largest spans overflow the system's clock.
            let left = left.min(Duration::from_secs(3_600));
            entries =
                self.changed.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An instance's shim is gone: takes the exit it recorded, or records that it is unknown and clears up.
    pub fn ended(&self, id: &InstanceId) {
        self.conclude(id, ExitCause::Unknown);
    }

    /// An instance was lost while nobody watched its shim; how it ended, where it recorded nothing, is `otherwise`.
    pub fn lost(&self, id: &InstanceId, otherwise: ExitCause) {
        self.conclude(id, otherwise);
    }

    /// An instance ended before its shim could record anything.
    pub fn ended_without_record(&self, id: &InstanceId, reason: &str) {
        self.conclude(id, ExitCause::NotStarted(reason.to_owned()));
    }

    fn conclude(&self, id: &InstanceId, otherwise: ExitCause) {
        self.keep_remains(id);
        let files = self.directory.live(id);
        let exit = files.exit().ok().flatten().unwrap_or_else(|| {
            if let Some((record, _)) = self.get(id) {
                shim::release(&self.home, &record);
            }
            if let Some(streams) = self.take_streams(id) {
                streams.rescue(&files.logs());
            }
            let exit = ExitRecord::now(otherwise);
            // Without the file the next engine comes to the same end.
            let _ = files.write_exit(&exit);
            exit
        });
        {
            let mut entries = locked(&self.entries);
            if let Some(entry) = entries.get_mut(id).filter(|entry| entry.is_alive()) {
                entry.state = State::Exited { cause: exit.cause, at: exit.at };
                // Before anybody can forget the instance.
                self.announce(entry);
            }
        }
        self.changed.notify_all();
    }

    /// Tells the subscriber of an exit, once for each instance.
    fn announce(&self, entry: &Entry) {
        let State::Exited { cause, at } = &entry.state else { return };
        let exit = Exit {
            id: entry.record.spec.id.clone(),
            service: entry.record.spec.service.clone(),
            release: entry.record.spec.release,
            cause: cause.clone(),
            at: *at,
        };
        let mut exits = locked(&self.exits);
        exits.waiting.push_back(exit);
        exits.flush();
    }

    pub fn subscribe(&self, subscriber: Sender<Exit>) {
        let mut exits = locked(&self.exits);
        exits.subscriber = Some(subscriber);
        exits.flush();
    }
}
