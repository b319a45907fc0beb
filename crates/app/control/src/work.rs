//! What a control process does beside its driver: one-off work, jobs, schedules, rehearsals.

use std::{
    path::Path,
    sync::{Arc, mpsc::Sender},
};

use hornero_rollout::{World, waited_for};
use hornero_volume::Volumes;

use crate::{
    beside::{AskGuards, CarryOut},
    guards::Guards,
    input::{Input, ask},
    jobs::{JobTimes, Jobs},
    metrics::{Metrics, MetricsKeeper},
    otlp::{Exporter, ExporterParts, OtlpSettings},
    ports::{Adapters, ControlPorts},
    rehearsals::Rehearsals,
    runs::{Recorder, Runs},
    schedules::{Known, ScheduleTimes, Schedules},
    snapshot_times::SnapshotTimes,
    timekeeper::{self, ComesRound, TimeKeeper, Wake},
};

/// What works beside the driver and is there before it: the way into its ledger, and one-off work.
pub struct OneOffWork {
    recorder: Arc<Recorder>,
    runs: Arc<Runs>,
}

impl OneOffWork {
    /// With nothing under way.
    pub fn new(adapters: &Arc<Adapters>, inputs: &Sender<Input>) -> Self {
        let inputs = inputs.clone();
        let recorder = Recorder::new(move |record| inputs.send(Input::Record(record)).is_ok());
        let recorder = Arc::new(recorder);
        let runs = Arc::new(Runs::new(Arc::clone(adapters), Arc::clone(&recorder)));
        Self { recorder, runs }
    }

    /// Asks data guards.
    pub fn guards(&self, adapters: &Arc<Adapters>) -> AskGuards {
        let guards = Guards::new(Arc::clone(adapters), Arc::clone(&self.runs));
        Arc::new(move |question| guards.once(question))
    }

    /// Carries out for the driver what a rollout wants run, and ends it.
    pub fn carry(&self) -> CarryOut {
        let runs = Arc::clone(&self.runs);
        Arc::new(move |run, since, server| runs.carry(run, since, server))
    }
}

/// What is done beside the driver: one-off work, that of the control process before this one goes on, jobs and schedules.
pub struct Work {
    pub recorder: Arc<Recorder>,
    pub runs: Arc<Runs>,
    pub jobs: Arc<Jobs>,
    pub schedules: Arc<Schedules>,
    pub rehearsals: Arc<Rehearsals>,
    pub volumes: Volumes,
    pub metrics: Arc<Metrics>,
    sent: ExporterParts,
    wake: Wake,
}

impl Work {
    /// What there is at the start of a control process.
    pub fn of(
        home: &Path,
        ports: &ControlPorts,
        world: &World,
        OneOffWork { recorder, runs }: OneOffWork,
        inputs: &Sender<Input>,
    ) -> Self {
        let adapters = Arc::clone(&ports.adapters);
        // What a rollout waits for the driver asks for by itself.
        let waited_for = waited_for(world);
        let open = world.runs.values().filter(|open| !waited_for.contains(&open.run.id));
        runs.adopt(open.cloned());
        let (own, recording) = (Arc::clone(&adapters), Arc::clone(&recorder));
        let rehearsals = Arc::new(Rehearsals::new(own, recording));
        rehearsals.give_up(world.open_rehearsals().map(|run| run.rehearsal.clone()).collect());
        let wake = Wake::default();
        let look = asked(inputs, |world: &World| world.jobs.clone());
        let (own, recording) = (Arc::clone(&runs), Arc::clone(&recorder));
        let jobs = Arc::new(Jobs::new(own, adapters, recording, wake.clone(), look));
        let look = asked(inputs, Known::all);
        let recording = Arc::clone(&recorder);
        let schedules = Schedules::new(home.to_owned(), recording, wake.clone(), look);
        let (schedules, volumes) = (Arc::new(schedules), ports.adapters.volumes.clone());
        let engine = Arc::clone(ports.adapters.starter.engine());
        let sent = ExporterParts {
            directory: home.join("metrics"),
            engine: Arc::clone(&engine),
            ledger: Arc::clone(&ports.ledger),
            last_sequence: world.last_sequence,
        };
        let ledger = (Arc::clone(&ports.ledger), world.last_sequence);
        let metrics = Arc::new(Metrics::new(home, engine, ledger, inputs.clone()));
        Self { recorder, runs, jobs, schedules, rehearsals, volumes, metrics, sent, wake }
    }

    /// Has what comes round come round from now on, and figures kept.
    pub fn keep_time(&self, otlp: Option<&OtlpSettings>) -> std::io::Result<Keepers> {
        let jobs = JobTimes(Arc::clone(&self.jobs));
        let schedules = ScheduleTimes(Arc::clone(&self.schedules));
        let snapshots = SnapshotTimes::new(self.volumes.clone(), Arc::clone(&self.recorder));
        let timed: Vec<Box<dyn ComesRound>> =
            vec![Box::new(jobs), Box::new(schedules), Box::new(snapshots)];
        let time = timekeeper::keep(&self.wake, timed)?;
        let metrics = MetricsKeeper::start(Arc::clone(&self.metrics))?;
        let export = |settings: &OtlpSettings| Exporter::start(settings.clone(), self.sent.clone());
        Ok(Keepers { time, metrics, exporter: otlp.map(export).transpose()? })
    }
}

/// What keeps the time, and what looks at everything every few seconds.
pub struct Keepers {
    time: TimeKeeper,
    metrics: MetricsKeeper,
    exporter: Option<Exporter>,
}

impl Keepers {
    /// Begins no more; what has begun goes on.
    pub fn end(self) {
        self.time.end();
        self.metrics.end();
        if let Some(exporter) = self.exporter {
            exporter.end();
        }
    }
}

/// Looks at the world of the thread that owns the driver; none where the control process ends.
fn asked<T: Send + 'static>(
    inputs: &Sender<Input>,
    look: fn(&World) -> T,
) -> impl Fn() -> Option<T> + Send + Sync + 'static {
    let inputs = inputs.clone();
    move || ask(&inputs, move |driver| look(driver.world()))
}
