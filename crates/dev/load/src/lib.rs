//! The load generator that demo, soak tests and bench share, and the reference upstream it is tried against.
//!
//! [`Load::start`] runs a [`LoadPlan`] on a thread of its own until the plan's bounds or [`Load::stop`]. Every
//! request that was started is counted once, as completed or as failed: nothing is dropped at the end.
//!
//! [`writes`] does the same for servers with data, and [`Trial`] replaces such a server under them while things are killed;
//! [`StatefulExample`] is such a server.

mod client;
mod examples;
mod plan;
mod recorder;
mod report;
mod run;
mod trial;
mod upstream;
mod websocket;
pub mod writes;

pub use examples::{STATEFUL_EXAMPLES, StatefulExample};
pub use plan::{LoadPlan, Marker, Mode, Workers};
pub use report::{Latency, LoadFailure, LoadReport, MarkerReport, ModeReport};
pub use run::{Load, LoadError};
pub use trial::{Moments, Trial, TrialError, TrialReport, TrialRound, Victim};
pub use upstream::{Upstream, UpstreamOptions};
