//! The production rollout loop over ports: load, step, persist, check, perform, feed results back.
//!
//! The driver knows no clock, socket or thread. Whoever owns it calls [`Driver::handle`] with one observation at a
//! time and implements [`Ports`]; the simulator and the control process run exactly this code.

mod adjust;
mod bring;
mod cancel;
mod churn;
mod dispatch;
mod driver;
mod failed;
mod guarding;
mod heed;
mod job;
mod jobs;
mod observe;
mod pending;
mod port;
mod previews;
mod progress;
mod recycle;
mod request;
mod resume;
mod room;
mod serves;
mod status;
mod steer;
mod tell;
mod verdicts;

pub use churn::Resumed;
pub use driver::{Driver, DriverError};
pub use hornero_conservation::{Account, Churn, ServiceAccount, Stopped, Use};
pub use port::{EffectId, LedgerFailed, Observation, Ports};
pub use progress::{Outcome, OutcomeKind, Progress, ServiceOutcome};
pub use request::{Request, RequestId, RequestKind};
pub use resume::{Found, Outside, Regions, Starting};
pub use status::InstanceView;
