//! What the thread that owns the driver takes.

use std::sync::mpsc::Sender;

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
