//! Metrics: what is seen every few seconds of all that runs, kept for weeks, and told to whoever scrapes.

mod exposition;
mod families;
mod history;
mod keeper;
mod lately;
mod seen;
mod tally;
mod targets;

pub use exposition::{Exposition, FamilyKind};
pub use families::{OwnFigures, exposition};
pub use history::history;
pub use keeper::{INTERVAL as FIGURES_INTERVAL, Metrics, MetricsKeeper};
pub use lately::report;
