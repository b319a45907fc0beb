//! The production rollout loop over ports: load, step, persist, check, perform, feed results back.
//!
//! The driver knows no clock, socket or thread. Whoever owns it calls [`Driver::handle`] with one observation at a
//! time and implements [`Ports`]; the simulator and the control process run exactly this code.

mod dispatch;
mod driver;
mod jobs;
mod observe;
mod port;
mod progress;
mod request;
mod resume;
mod status;

pub use driver::{Driver, DriverError};
pub use port::{EffectId, LedgerFailed, Observation, Ports};
pub use progress::{Outcome, OutcomeKind, Progress, ServiceOutcome};
pub use request::{Request, RequestId, RequestKind};
pub use resume::{Found, Starting};
pub use status::InstanceView;
