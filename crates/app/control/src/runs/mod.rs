//! One-off work: begun because somebody asked for it, carried to its end whoever follows, and never begun twice.

mod carry;
mod output;
mod record;
mod register;
mod source;
mod watched;

pub use output::output;
pub use record::{NotRecorded, Recorder, ToRecord};
pub use register::{Begun, Runs};
pub use source::{Source, by_name, source, status};
