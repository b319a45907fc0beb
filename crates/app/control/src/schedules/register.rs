//! The schedules that are declared, and those whose time is being done by this control process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hornero_model::{Actor, Directory, EventBody, Freeze, ScheduleName, ServiceName};
use hornero_rollout::{DeclaredSchedule, World};

use crate::{
    runs::{NotRecorded, Recorder},
    schedules::children::Children,
    timekeeper::Wake,
};

/// How long what is ended may take to end.
const ENDING: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Which schedule: of which directory, and its name.
pub type ScheduleKey = (Directory, ScheduleName);

/// A schedule, and what decides about it.
#[derive(Debug, Clone)]
pub struct Known {
    /// As it is declared.
    pub declared: DeclaredSchedule,
    /// The freezes that concern its directory.
    pub freezes: Vec<Freeze>,
    /// What it is done to, in their order.
    pub services: Vec<ServiceName>,
}

/// The schedules that are declared now; none where the control process ends.
type Look = Box<dyn Fn() -> Option<Vec<Known>> + Send + Sync>;

/// What carries schedules out.
pub struct Schedules {
    home: PathBuf,
    /// Commands that run now.
    pub children: Children,
    recorder: Arc<Recorder>,
    look: Look,
    wake: Wake,
    /// Those whose time is being done, and whether that is to end.
    open: Mutex<BTreeMap<ScheduleKey, Arc<AtomicBool>>>,
}

impl Known {
    /// All that are declared.
    pub fn all(world: &World) -> Vec<Self> {
        let known = |declared: &DeclaredSchedule| Self {
            declared: declared.clone(),
            freezes: world.freezes_of(&declared.directory),
            services: world.scheduled_services(declared),
        };
        world.schedules.values().map(known).collect()
    }

    /// Which it is.
    pub fn key(&self) -> ScheduleKey {
        (self.declared.directory.clone(), self.declared.schedule.name.clone())
    }
}

impl Schedules {
    /// Of a home; `look` tells which there are.
    pub fn new(
        home: PathBuf,
        recorder: Arc<Recorder>,
        wake: Wake,
        look: impl Fn() -> Option<Vec<Known>> + Send + Sync + 'static,
    ) -> Self {
        let (children, open, look) = (Children::default(), Mutex::default(), Box::new(look));
        Self { home, children, recorder, look, wake, open }
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Those that are declared now; none where the control process ends.
    pub fn declared(&self) -> Option<Vec<Known>> {
        (self.look)()
    }

    /// Those whose time is being done here.
    pub fn open(&self) -> BTreeSet<ScheduleKey> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Notes that the time of one is being done; gives what says that it is to end.
    pub(super) fn opened(&self, key: ScheduleKey) -> Arc<AtomicBool> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(open.entry(key).or_default())
    }

    /// Notes that the time of one is over.
    pub(super) fn closed(&self, key: &ScheduleKey) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.changed();
    }

    /// Has whoever keeps the time look again.
    pub fn changed(&self) {
        self.wake.wake();
    }

    /// Ends what is being done for these, and waits until it has ended.
    pub fn end(&self, keys: &[ScheduleKey]) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .filter(|(key, _)| keys.contains(key))
            .for_each(|(_, ending)| ending.store(true, Ordering::Release));
        drop(open);
        let deadline = Instant::now() + ENDING;
        while Instant::now() < deadline && self.open().iter().any(|key| keys.contains(key)) {
            std::thread::sleep(LOOK);
        }
    }

    /// Records something of a schedule.
    pub fn record(&self, by: Actor, body: EventBody) -> Result<(), NotRecorded> {
        self.recorder.record(by, body)
    }
}
