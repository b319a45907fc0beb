//! What one-off work has written into the ledger, by the thread that owns the driver.

use std::{
    sync::mpsc::{self, Sender},
    time::Duration,
};

use hornero_driver::DriverError;
use hornero_model::{Actor, EventBody, error_chain};

/// How long to wait before a ledger that took nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An event to be recorded.
pub struct ToRecord {
    /// Who, and why.
    pub by: Actor,
    /// What happened.
    pub body: EventBody,
    /// Told whether it was recorded.
    pub recorded: Sender<Result<(), DriverError>>,
}

/// Hands an event to the thread that owns the driver; false where that has ended.
type Send = Box<dyn Fn(ToRecord) -> bool + std::marker::Send + Sync>;

/// The way into the ledger.
pub struct Recorder(Send);

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The ledger took nothing; the same may be tried again.
    #[error("the ledger took nothing")]
    Ledger(#[source] DriverError),
    /// The control process is ending: the next one sees to it.
    #[error("the control process is ending")]
    Ending,
}

impl Recorder {
    /// A way into the ledger.
    pub fn new(send: impl Fn(ToRecord) -> bool + std::marker::Send + Sync + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Records how something ended, however long the ledger takes nothing; false where the control process ends first. `what`
    /// says of what it is the end.
    pub fn record_end(&self, by: &Actor, body: &EventBody, what: &str) -> bool {
        loop {
            match self.record(by.clone(), body.clone()) {
                Ok(()) => return true,
                Err(NotRecorded::Ending) => return false,
                Err(NotRecorded::Ledger(error)) => {
                    let why = error_chain(&error);
                    tracing::warn!("the end of {what} is not recorded: {why}");
                    // Nothing tells when a disk has room again.
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    /// Records an event, and waits until it is.
    pub fn record(&self, by: Actor, body: EventBody) -> Result<(), NotRecorded> {
        let (recorded, answer) = mpsc::channel();
        if !(self.0)(ToRecord { by, body, recorded }) {
            return Err(NotRecorded::Ending);
        }
        match answer.recv() {
            Ok(outcome) => outcome.map_err(NotRecorded::Ledger),
            Err(_) => Err(NotRecorded::Ending),
        }
    }
}
