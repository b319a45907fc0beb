//! The thread that owns the driver: one input a turn.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use hornero_driver::{Driver, DriverError, Observation};
use hornero_model::{Timestamp, error_chain};

use crate::{
    churn::Resume,
    input::{Input, Tested},
    metadata::MetadataKeeper,
    notify::Notifier,
    ports::ControlPorts,
    restoration::Restoration,
    runs::ToRecord,
    up::{serves, summary},
};

/// How long effects under way may take when the process ends with nothing left to serve.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks whether they are done.
const ENDING_LOOK: Duration = Duration::from_millis(5);
/// How long to wait before the ledger is tried again after it failed.
const LEDGER_RETRY: Duration = Duration::from_secs(1);

/// Whether nothing is timed: no rollout, no effect, and no set that is kept warm.
fn is_settled(driver: &Driver) -> bool {
    driver.is_idle() && driver.world().services.values().all(|service| service.warm.is_none())
}

/// Whether a process that was told to end may do so. With nothing left to serve it takes everything away with it, so
/// effects that are still under way come to their end first; but for those that never do.
fn may_end(serves: bool, idle: bool, waited: Duration) -> bool {
    serves || idle || waited >= ENDING_TIMEOUT
}

/// The driver, and what is looked after between two inputs.
struct Turns<'p> {
    driver: Driver,
    ports: &'p mut ControlPorts,
    notifier: &'p Notifier,
    restoration: Restoration,
    metadata: MetadataKeeper,
    /// What the service manager was told last.
    told: String,
    /// Since when it is to end.
    ending: Option<Instant>,
}

/// Takes one input after the other until it is told to end, and may.
pub fn run(
    driver: Driver,
    ports: &mut ControlPorts,
    taken: &Receiver<Input>,
    notifier: &Notifier,
    restoration: Restoration,
) -> anyhow::Result<Driver> {
    let (metadata, told) = (MetadataKeeper::default(), summary(driver.world()));
    let mut turns = Turns { driver, ports, notifier, restoration, metadata, told, ending: None };
    let mut retry = None;
    let watchdog = notifier.watchdog_interval();
    loop {
        turns.look_after();
        if watchdog.is_some() {
            notifier.alive();
        }
        let mut wait = retry.take().unwrap_or_else(|| turns.driver.next_tick().duration());
        if let Some(since) = turns.ending {
            if turns.may_end(since) {
                return Ok(turns.driver);
            }
            wait = wait.min(ENDING_LOOK);
        }
        // Ticks in between do no harm: the driver looks at its clock, not at how often it is asked.
        wait = wait.min(watchdog.unwrap_or(wait));
        wait = wait.min(turns.metadata.due_in().unwrap_or(wait));
        turns.ports.settled(is_settled(&turns.driver));
        let observation = match taken.recv_timeout(wait) {
            Ok(input) => match turns.take(input)? {
                Some(observation) => observation,
                None => continue,
            },
            Err(RecvTimeoutError::Disconnected) => return Ok(turns.driver),
            Err(RecvTimeoutError::Timeout) => Observation::Tick,
        };
        retry = turns.observe(observation)?;
    }
}

impl Turns<'_> {
    /// Tells whoever watches what is up by now, and lets go of what nobody needs any more.
    fn look_after(&mut self) {
        let now = summary(self.driver.world());
        if self.told != now {
            self.notifier.status(&now);
            self.told = now;
        }
        self.restoration.look(&self.driver);
        self.metadata.look(self.driver.world(), self.ports.adapters.starter.store());
    }

    fn may_end(&self, since: Instant) -> bool {
        may_end(serves(self.driver.world()), self.driver.is_idle(), since.elapsed())
    }

    /// Takes an input; gives what the driver is to observe, where that is what it was.
    fn take(&mut self, input: Input) -> anyhow::Result<Option<Observation>> {
        match input {
            Input::Observe(observation) => return Ok(Some(observation)),
            Input::Ask(question) => question(&self.driver),
            Input::Tested(Tested { by, image, results, recorded }) => {
                self.metadata.tested();
                let outcome = self.driver.record_tests(&by, image, &results, self.ports);
                // Whoever asked may have gone.
                let _ = recorded.send(unbroken(outcome)?);
            }
            Input::Resume(Resume { by, service, resumed }) => {
                let outcome = self.driver.resume_churn(&by, service.as_ref(), self.ports);
                let _ = resumed.send(unbroken(outcome)?);
            }
            Input::Record(ToRecord { by, body, recorded }) => {
                let outcome = self.driver.record(&by, body, self.ports);
                let _ = recorded.send(unbroken(outcome)?);
            }
            Input::TakenOver(why) => {
                tracing::error!("{why}");
                anyhow::bail!("{why}; this one changes nothing more and ends");
            }
            Input::Shutdown => {
                self.ending.get_or_insert_with(Instant::now);
            }
        }
        Ok(None)
    }

    /// Has the driver observe; gives how long to wait before it is asked again where the ledger took nothing.
    fn observe(&mut self, observation: Observation) -> Result<Option<Duration>, DriverError> {
        if let Observation::EdgeStatus { status, .. } = &observation {
            self.ports.adapters.forensics.heard(status, Timestamp::now());
        }
        match self.driver.handle(observation, self.ports) {
            Ok(()) => Ok(None),
            Err(error @ DriverError::Ledger(_)) => {
                tracing::warn!("{}; trying again", error_chain(&error));
                Ok(Some(LEDGER_RETRY))
            }
            // A broken invariant: stop before anything follows from it. Edge and servers go on as they are.
            Err(error @ (DriverError::World(_) | DriverError::Restless)) => Err(error),
        }
    }
}

/// What whoever asked is told: a ledger that took nothing is tried again by them; with a broken world nobody goes on.
fn unbroken<T>(outcome: Result<T, DriverError>) -> Result<Result<T, DriverError>, DriverError> {
    match outcome {
        Err(error @ (DriverError::World(_) | DriverError::Restless)) => Err(error),
        Ok(_) | Err(DriverError::Ledger(_)) => Ok(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_down_waits_for_effects_under_way_but_not_for_ever() {
        let moment = Duration::from_millis(1);
        assert!(!may_end(false, false, moment), "the edge and the bridge would be left behind");
        assert!(may_end(false, true, moment));
        assert!(may_end(true, false, moment), "servers go on by themselves, the journal tells how");
        assert!(may_end(false, false, ENDING_TIMEOUT));
    }
}
