//! What the thread that owns the driver takes.

use std::sync::mpsc::{self, Sender};

use hornero_driver::{Driver, DriverError, Observation};
use hornero_model::{Actor, Digest};
use hornero_rollout::TestOutcome;

use crate::{churn::Resume, runs::ToRecord};

/// A question to the thread that owns the driver.
pub type Question = Box<dyn FnOnce(&Driver) + Send>;

/// A run of an image's tests outside of any rollout.
pub struct Tested {
    /// Who asked for it.
    pub by: Actor,
    /// The image.
    pub image: Digest,
    /// How each test went.
    pub results: Vec<TestOutcome>,
    /// Told whether it was recorded.
    pub recorded: Sender<Result<(), DriverError>>,
}

/// What the thread that owns the driver takes.
pub enum Input {
    /// Something was observed.
    Observe(Observation),
    /// Somebody wants to look.
    Ask(Question),
    /// An image's tests were run because somebody asked for it.
    Tested(Tested),
    /// Somebody lets go on what a limit of churn stopped.
    Resume(Resume),
    /// Something that is no rollout's is to be recorded.
    Record(ToRecord),
    /// Another control process has taken over, and how that is known: this one must change nothing any more, and ends.
    TakenOver(String),
    /// The process shall end; servers and edge go on where services are up.
    Shutdown,
}

/// Has the thread that owns the driver look; none where the control process ends.
pub fn ask<T: Send + 'static>(
    inputs: &Sender<Input>,
    look: impl FnOnce(&Driver) -> T + Send + 'static,
) -> Option<T> {
    let (sender, seen) = mpsc::channel();
    // Whoever asked is gone only when the control process is.
    let question: Question = Box::new(move |driver: &Driver| drop(sender.send(look(driver))));
    inputs.send(Input::Ask(question)).ok()?;
    seen.recv().ok()
}
