//! Carries one run out: its server is started once, watched, ended where it has to be, and removed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_engine_port::{EngineError, InstanceSpec, InstanceStatus};
use hornero_model::{
    Actor, CutOff, EventBody, ExitCause, Millis, Run, RunEnd, ServiceSpec, Timestamp, error_chain,
};

use crate::{
    ports::Adapters,
    runs::{record::Recorder, watched::Watched},
    start::TEST_RELEASE,
};

/// Between two looks whether it has ended: short at first, so that a quick command is no slower.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait before the engine is tried again after it failed.
const RETRY: Duration = Duration::from_secs(1);

/// What a run is carried out with.
pub struct Carrier {
    /// Starts its server.
    pub adapters: Arc<Adapters>,
    /// Takes its end.
    pub recorder: Arc<Recorder>,
}

/// A run that is carried out.
pub struct Carried {
    /// What runs.
    pub run: Run,
    /// When it was begun.
    pub since: Timestamp,
    /// What its server is made from; none where a control process before this one began it, for good or not at all.
    pub server: Option<ServiceSpec>,
    /// Those who follow it.
    pub watched: Arc<Watched>,
}

impl Carrier {
    /// Carries it to its end, and gives that; it is recorded, but where the control process ends.
    pub fn carry_out(&self, carried: Carried) -> RunEnd {
        let Carried { run, since, server, watched } = carried;
        let spent = Timestamp::now().since(since);
        let left = Millis(run.timeout.0.saturating_sub(spent.0));
        let deadline = Instant::now() + left.duration();
        let not_started = server.and_then(|server| self.start(&run, &server).err());
        let (cause, cut_off) = match not_started {
            Some(cause) => (cause, None),
            None => self.until_ended(&run, deadline, &watched),
        };
        let duration = Timestamp::now().since(since);
        let end = RunEnd { id: run.id.clone(), cause, cut_off, duration };
        let by = match (cut_off, watched.cancelled()) {
            (Some(CutOff::Cancelled), Some(by)) => by,
            (Some(CutOff::Timeout), _) => Actor::hornero("it took longer than it may"),
            _ => Actor::hornero("it ended"),
        };
        let (what, body) = (format!("run `{}`", run.id), EventBody::RunEnded { end: end.clone() });
        if self.recorder.record_end(&by, &body, &what) {
            self.remove(&run);
            watched.ended(end.clone());
        }
        end
    }

    /// Starts its server; why it did not start, where it did not.
    fn start(&self, run: &Run, server: &ServiceSpec) -> Result<(), ExitCause> {
        let Adapters { starter, starts, .. } = &*self.adapters;
        let _place = starts.enter(|_| ());
        // It is none of the servers of its release: they get requests.
        let spec = starter.instance_spec(&run.id, TEST_RELEASE, server);
        let spec = spec.map_err(|error| ExitCause::NotStarted(format!("{error:#}")))?;
        let spec = InstanceSpec { command: run.command.clone(), ..spec };
        match starter.engine().start(self.adapters.tenure.term(), &spec) {
            Ok(_) => Ok(()),
            Err(EngineError::Ended { cause, .. }) => Err(cause),
            Err(EngineError::NotStarted { reason, .. }) => Err(ExitCause::NotStarted(reason)),
            Err(error) => Err(ExitCause::NotStarted(self.adapters.engine_fault(&error))),
        }
    }

    /// Waits for its end, and ends it where its time is up or somebody wants it.
    fn until_ended(
        &self,
        run: &Run,
        deadline: Instant,
        watched: &Watched,
    ) -> (ExitCause, Option<CutOff>) {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(cause) = self.ended(run) {
                return (cause, None);
            }
            let cut_off = match (watched.cancelled(), Instant::now() >= deadline) {
                (Some(_), _) => Some(CutOff::Cancelled),
                (None, true) => Some(CutOff::Timeout),
                (None, false) => None,
            };
            if cut_off.is_some() {
                let (engine, term) = (self.adapters.starter.engine(), self.adapters.tenure.term());
                match engine.stop(term, &run.id, run.stop_grace.duration()) {
                    Ok(cause) => return (cause, cut_off),
                    Err(error) => {
                        let fault = self.adapters.engine_fault(&error);
                        tracing::warn!("ending run `{}` failed: {fault}", run.id);
                        std::thread::sleep(RETRY);
                    }
                }
            }
            watched.wait(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Why it ended; none while it goes on, or nobody can tell.
    fn ended(&self, run: &Run) -> Option<ExitCause> {
        let engine = self.adapters.starter.engine();
        let listed = engine.list().ok()?;
        match listed.into_iter().find(|instance| instance.id == run.id) {
            Some(instance) => match instance.status {
                InstanceStatus::Exited { cause, .. } => Some(cause),
                InstanceStatus::Starting | InstanceStatus::Running(_) => None,
            },
            // Removed before its end was recorded, or never made: the control process died in between.
            None => match engine.stop(self.adapters.tenure.term(), &run.id, Duration::ZERO) {
                Ok(cause) => Some(cause),
                Err(EngineError::NotFound { .. }) => {
                    let why = "the control process ended before it was started";
                    Some(ExitCause::NotStarted(why.to_owned()))
                }
                Err(_) => None,
            },
        }
    }

    /// Removes its server; its log stays as those of other servers do.
    fn remove(&self, run: &Run) {
        if let Err(error) =
            self.adapters.starter.engine().remove(self.adapters.tenure.term(), &run.id)
        {
            tracing::warn!(
                "removing the server of run `{}` failed: {}",
                run.id,
                error_chain(&error)
            );
        }
    }
}
