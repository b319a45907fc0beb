//! Schedules: what Hornero does by itself when a time comes round, by commands of its own.

mod carry;
mod children;
mod keep;
mod log;
mod place;
mod register;
mod shown;
mod work;

pub use keep::ScheduleTimes;
pub use register::{Known, ScheduleKey, Schedules};
pub use shown::shown;
