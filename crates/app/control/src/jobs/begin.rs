//! Begins a run of a job, one at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use hornero_model::{
    Actor, EventBody, InstanceId, Job, JobName, JobTurn, Run, Timestamp, error_chain,
};
use hornero_rollout::DeclaredJob;

use crate::{
    ports::Adapters,
    runs::{Begun, NotRecorded, Recorder, Runs, Source},
    tail::new_tail,
    timekeeper::Wake,
};

/// The jobs that are declared now; none where the control process ends.
type Look = Box<dyn Fn() -> Option<BTreeMap<JobName, DeclaredJob>> + Send + Sync>;

/// What begins jobs.
pub struct Jobs {
    runs: Arc<Runs>,
    adapters: Arc<Adapters>,
    recorder: Arc<Recorder>,
    look: Look,
    /// Held while a run of any job begins: no two of one job do.
    turn: Mutex<()>,
    wake: Wake,
}

/// What became of the wish for a run of a job.
pub enum JobBegun {
    /// It was begun.
    Yes {
        /// What runs.
        run: Box<Run>,
        /// When it was begun.
        since: Timestamp,
    },
    /// There is no such job.
    Unknown,
    /// A run of it goes on.
    Running(InstanceId),
    /// As much one-off work as may be is under way.
    TooMany(usize),
    /// Nothing was begun, for this reason.
    Not(String),
}

impl Jobs {
    /// Begins runs with these; `look` tells which jobs there are, `wake` has whoever keeps the time look.
    pub fn new(
        runs: Arc<Runs>,
        adapters: Arc<Adapters>,
        recorder: Arc<Recorder>,
        wake: Wake,
        look: impl Fn() -> Option<BTreeMap<JobName, DeclaredJob>> + Send + Sync + 'static,
    ) -> Self {
        let turn = Mutex::default();
        Self { runs, adapters, recorder, look: Box::new(look), turn, wake }
    }

    /// The jobs that are declared now; none where the control process ends.
    pub fn declared(&self) -> Option<BTreeMap<JobName, DeclaredJob>> {
        (self.look)()
    }

    /// Has whoever keeps the time look again.
    pub fn changed(&self) {
        self.wake.wake();
    }

    /// Begins a run of a job, unless one goes on.
    pub fn begin(&self, by: Actor, turn: JobTurn) -> JobBegun {
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = self.declared() else {
            return JobBegun::Not("the control process is ending".to_owned());
        };
        let Some(declared) = jobs.get(&turn.job) else { return JobBegun::Unknown };
        if let Some(running) = declared.running() {
            return JobBegun::Running(running.id.clone());
        }
        let Job { server, command, deadline, .. } = declared.job.clone();
        let command = match command.is_empty() {
            false => command,
            true => match self.adapters.starter.store().image(&server.image) {
                Ok(image) => image.config.command,
                Err(error) => return JobBegun::Not(error_chain(&error)),
            },
        };
        let source = Source { release: None, job: Some(turn), server };
        let run = match source.run(command, deadline, &new_tail()) {
            Ok(run) => run,
            Err(error) => return JobBegun::Not(error.to_string()),
        };
        match self.runs.begin(by, run.clone(), source.server) {
            Begun::Yes { since } => {
                self.changed();
                JobBegun::Yes { run: Box::new(run), since }
            }
            Begun::TooMany(open) => JobBegun::TooMany(open),
            Begun::Not(error) => JobBegun::Not(error_chain(&error)),
        }
    }

    /// Records something of a job.
    pub fn record(&self, by: Actor, body: EventBody) -> Result<(), NotRecorded> {
        self.recorder.record(by, body)
    }
}
