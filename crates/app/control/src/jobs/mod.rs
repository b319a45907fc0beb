//! Jobs: declared by directories, begun when they come round or when somebody asks.

mod begin;
mod keep;
mod shown;

pub use begin::{JobBegun, Jobs};
pub use keep::JobTimes;
pub use shown::{freezes, shown, skipped};
