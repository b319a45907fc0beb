//! The schedules that are declared, and those whose time is being done by this control process.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hornero_model::{Directory, Freeze, ScheduleName, ServiceName};
use hornero_rollout::{DeclaredSchedule, World};

use crate::{
    runs::Recorder,
    schedules::children::Children,
    timekeeper::Wake,
    underway::{Going, Underway},
};

/// How long what is ended may take to end.
const ENDING: Duration = Duration::from_secs(20);

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
    /// Those whose time is being done.
    open: Arc<Underway<ScheduleKey>>,
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
        let (children, open, look) = (Children::default(), Arc::default(), Box::new(look));
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
        self.open.keys()
    }

    /// Notes that the time of one is being done, for as long as the answer is kept; none where one is.
    pub(super) fn begin(&self, key: ScheduleKey) -> Option<Going<ScheduleKey>> {
        self.open.begin(key, usize::MAX).ok()
    }

    /// Has whoever keeps the time look again.
    pub fn changed(&self) {
        self.wake.wake();
    }

    /// Ends what is being done for these, and waits until it has ended.
    pub fn end(&self, keys: &[ScheduleKey]) {
        self.open.end(|key| keys.contains(key), ENDING);
    }

    /// The way into the ledger.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}
