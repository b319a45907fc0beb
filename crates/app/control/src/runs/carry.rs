//! Carries one run out: its server is started once, watched, ended where it has to be, and removed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_engine_port::{Engine, EngineError, InstanceSpec, InstanceStatus};
use hornero_model::{
    Actor, CutOff, EventBody, ExitCause, InstanceId, Millis, Run, RunEnd, ServiceSpec, Term,
    Timestamp, error_chain,
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
        let gave_up = || watched.cancelled().is_some() || Instant::now() >= deadline;
        let not_started = server.and_then(|server| {
            let asked = Asked { engine: self.engine(), term: self.term(), id: &run.id };
            asked.start_once(|| self.start(&run, &server), gave_up, |pause| watched.wait(pause))
        });
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
                match self.engine().stop(self.term(), &run.id, run.stop_grace.duration()) {
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
        let asked = Asked { engine: self.engine(), term: self.term(), id: &run.id };
        match asked.seen()? {
            Seen::Ended(cause) => Some(cause),
            Seen::Starting | Seen::Running => None,
            Seen::Nothing => {
                let why = "the control process ended before it was started";
                Some(ExitCause::NotStarted(why.to_owned()))
            }
        }
    }

    fn engine(&self) -> &dyn Engine {
        &**self.adapters.starter.engine()
    }

    fn term(&self) -> Term {
        self.adapters.tenure.term()
    }

    /// Removes its server; its log stays as those of other servers do.
    fn remove(&self, run: &Run) {
        if let Err(error) = self.engine().remove(self.term(), &run.id) {
            tracing::warn!(
                "removing the server of run `{}` failed: {}",
                run.id,
                error_chain(&error)
            );
        }
    }
}

/// What an engine knows of a run.
enum Seen {
    Nothing,
    Starting,
    Running,
    Ended(ExitCause),
}

/// The engine that is asked for a run, and for which.
struct Asked<'e> {
    engine: &'e dyn Engine,
    term: Term,
    id: &'e InstanceId,
}

impl Asked<'_> {
    /// Starts it where the engine knows nothing of it; why its command was not started, none where it was or nobody can tell.
    /// That a start failed tells nothing of a command that an earlier control process began, so the engine has the last word.
    fn start_once(
        &self,
        start: impl FnOnce() -> Result<(), ExitCause>,
        gave_up: impl Fn() -> bool,
        wait: impl Fn(Duration),
    ) -> Option<ExitCause> {
        match self.told(&gave_up, &wait)? {
            Seen::Running | Seen::Ended(_) => return None,
            // The engine begins none twice.
            Seen::Nothing | Seen::Starting => {}
        }
        let cause = start().err()?;
        match self.told(&gave_up, &wait)? {
            Seen::Nothing | Seen::Ended(ExitCause::NotStarted(_)) => Some(cause),
            Seen::Running | Seen::Ended(_) => None,
            // Nobody goes on with it: stopped, it says whether it was begun.
            Seen::Starting => match self.engine.stop(self.term, self.id, Duration::ZERO) {
                Ok(ExitCause::NotStarted(_)) => Some(cause),
                Ok(_) | Err(_) => None,
            },
        }
    }

    /// What the engine knows of it, once it can tell; none where nobody waits for that any more.
    fn told(&self, gave_up: &impl Fn() -> bool, wait: &impl Fn(Duration)) -> Option<Seen> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(seen) = self.seen() {
                return Some(seen);
            }
            if gave_up() {
                return None;
            }
            wait(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What the engine knows of it; none where it can't tell.
    fn seen(&self) -> Option<Seen> {
        let listed = self.engine.list().ok()?;
        match listed.into_iter().find(|instance| instance.id == *self.id) {
            Some(instance) => Some(match instance.status {
                InstanceStatus::Exited { cause, .. } => Seen::Ended(cause),
                InstanceStatus::Starting => Seen::Starting,
                InstanceStatus::Running(_) => Seen::Running,
            }),
            // Removed before its end was recorded, or never made: the control process died in between.
            None => match self.engine.stop(self.term, self.id, Duration::ZERO) {
                Ok(cause) => Some(Seen::Ended(cause)),
                Err(EngineError::NotFound { .. }) => Some(Seen::Nothing),
                Err(_) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::{Mutex, mpsc::Receiver},
    };

    use hornero_engine_port::{
        Exit, Instance, Started,
        log::{LogPage, LogQuery},
    };
    use hornero_model::{
        Depth, Digest, HostFeature, InstanceHandle, Place, ReleaseNumber, VerifiedInstance,
    };

    use super::*;

    /// What an engine says of the run each time that it is asked, the last one first.
    struct Says(Mutex<Vec<Said>>);

    #[derive(Clone)]
    enum Said {
        Fails,
        Nothing,
        Is(InstanceStatus),
        Archived(ExitCause),
        /// It is on its way, and stopped it says this.
        Starting(ExitCause),
    }

    fn failed() -> EngineError {
        EngineError::Unsupported("nothing".to_owned())
    }

    impl Engine for Says {
        fn list(&self) -> Result<Vec<Instance>, EngineError> {
            let mut says = self.0.lock().unwrap();
            let status = match says.last().unwrap() {
                Said::Fails => {
                    says.pop();
                    return Err(failed());
                }
                Said::Nothing | Said::Archived(_) => return Ok(Vec::new()),
                Said::Is(status) => status.clone(),
                Said::Starting(_) => InstanceStatus::Starting,
            };
            Ok(vec![Instance {
                id: InstanceId::new("step-site-a").unwrap(),
                service: "site".parse().unwrap(),
                release: ReleaseNumber(2),
                image: Digest::of(b"image"),
                created: Timestamp(1),
                status,
            }])
        }

        fn stop(&self, _: Term, id: &InstanceId, _: Duration) -> Result<ExitCause, EngineError> {
            match self.0.lock().unwrap().last().unwrap() {
                Said::Archived(cause) | Said::Starting(cause) => Ok(cause.clone()),
                Said::Nothing => Err(EngineError::NotFound { id: id.clone() }),
                Said::Fails | Said::Is(_) => panic!("what runs is not stopped"),
            }
        }

        fn start(&self, _: Term, _: &InstanceSpec) -> Result<Started, EngineError> {
            unreachable!("it is started by the caller")
        }

        fn remove(&self, _: Term, _: &InstanceId) -> Result<(), EngineError> {
            unreachable!("nothing is removed")
        }

        fn exits(&self) -> Receiver<Exit> {
            unreachable!("nobody follows")
        }

        fn logs(&self, _: &InstanceId, _: &LogQuery) -> Result<LogPage, EngineError> {
            unreachable!("nobody reads logs")
        }

        fn verify(&self, _: &[InstanceId], _: Depth) -> Result<Vec<VerifiedInstance>, EngineError> {
            unreachable!("nothing is compared")
        }

        fn obey(&self, _: Term) -> Result<(), EngineError> {
            unreachable!("no control begins")
        }

        fn term(&self) -> Result<Term, EngineError> {
            unreachable!("nobody asks")
        }

        fn clean_up(&self, _: Term) -> Result<(), EngineError> {
            unreachable!("nothing is cleaned up")
        }

        fn support(&self) -> Vec<HostFeature> {
            Vec::new()
        }
    }

    fn runs() -> Said {
        let handle = InstanceHandle::new("1");
        Said::Is(InstanceStatus::Running(Started { handle, place: Place::local(), address: None }))
    }

    fn exited(cause: ExitCause) -> Said {
        Said::Is(InstanceStatus::Exited { cause, at: Timestamp(2) })
    }

    fn not_started(why: &str) -> ExitCause {
        ExitCause::NotStarted(why.to_owned())
    }

    /// Whether a start is asked for that fails, and what the run is told to have come to: `before` it, and `after`.
    fn start(before: &[Said], after: Said) -> (bool, Option<ExitCause>) {
        let says = Says(Mutex::new(before.iter().rev().cloned().collect()));
        let (id, asked, waits) =
            (InstanceId::new("step-site-a").unwrap(), Cell::new(false), Cell::new(0));
        let fails = || {
            asked.set(true);
            *says.0.lock().unwrap() = vec![after];
            Err(not_started("its image does not satisfy the policy"))
        };
        let of = Asked { engine: &says, term: Term(1), id: &id };
        let wait = |_| waits.set(waits.get() + 1);
        let cause = of.start_once(fails, || waits.get() > 5, wait);
        (asked.get(), cause)
    }

    #[test]
    fn what_was_begun_before_is_watched_whatever_a_start_would_say() {
        for begun in [
            runs(),
            exited(ExitCause::Code(0)),
            exited(ExitCause::Signal(9)),
            Said::Archived(ExitCause::Unknown),
        ] {
            let before = [Said::Fails, Said::Fails, begun];
            assert_eq!(start(&before, Said::Nothing), (false, None), "it is not asked for");
        }
        let never = vec![Said::Fails; 20];
        assert_eq!(start(&never, Said::Nothing), (false, None), "nobody can tell");
    }

    #[test]
    fn what_failed_to_start_was_not_begun_only_where_the_engine_says_so() {
        let cause = not_started("its image does not satisfy the policy");
        for not_begun in
            [Said::Nothing, exited(not_started("no")), Said::Starting(not_started("stopped"))]
        {
            assert_eq!(start(&[Said::Nothing], not_begun), (true, Some(cause.clone())));
        }
        for begun in [runs(), exited(ExitCause::Code(1)), Said::Starting(ExitCause::Signal(9))] {
            assert_eq!(start(&[Said::Nothing], begun), (true, None));
        }
    }
}
