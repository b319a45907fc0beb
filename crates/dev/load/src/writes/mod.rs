//! Writes to a server with data by clients that remember what was acknowledged, and the check that all of it is there.
//!
//! Three kinds in turn: a number is appended, a counter goes up by one, and one account gives to another. What was
//! acknowledged has to be there in the end; what broke off may be, or not; nothing else is.

mod checked;
mod postgres;
mod redis;
mod store;
mod writer;

pub use checked::WritesChecked;
pub use postgres::PostgresStore;
pub use redis::RedisStore;
pub use store::{WriteFault, WriteSession, WriteStore};
pub use writer::{TurnedAway, WriteReport, Writers};
