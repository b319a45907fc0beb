//! When a schedule comes round, what of it was missed, and when a freeze holds. Pure: the moment is an argument, and the
//! time zones come with the program.
//!
//! The rule where clocks are put forward or back, which is that of Vixie's cron:
//! - A line with a fixed hour and minute runs once on each of its days. A time that the day leaves out (`30 2` where two
//!   o'clock becomes three) is run at the first moment after the gap; one that the day has twice is run the first time.
//! - A line whose hour or minute is `*` or a step goes by the clock on the wall: what the day leaves out is left out, and
//!   what it has twice is run twice.
//!
//! The ends of a freeze are read so that it is never shorter than it reads.

mod job;
mod moment;
mod round;
mod schedule;
mod turn;

pub use job::{FailedTry, JobState, JobStep, job_step};
pub use moment::{End, MomentError, moment};
pub use round::{LeftOut, RoundState, RoundStep, round_step};
pub use schedule::{Schedule, ScheduleError, zone};
pub use turn::{MISSED_COUNTED, ON_TIME, Turn, turn};
