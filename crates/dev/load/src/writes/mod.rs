//! Writes to a server with data by clients that remember what was acknowledged, and the check that all of it is there.
//!
//! To databases three kinds in turn: a number is appended, a counter goes up by one, and one account gives to another. To what
//! keeps messages or notes numbers alone, each sent again until it is acknowledged. What was acknowledged has to be there in
//! the end; what broke off may be, or not; nothing else is.

mod amqp;
mod checked;
mod http;
mod nats;
mod postgres;
mod redis;
mod store;
mod writer;

pub use amqp::AmqpStore;
pub use checked::WritesChecked;
pub use http::HttpStore;
pub use nats::NatsStore;
pub use postgres::PostgresStore;
pub use redis::RedisStore;
pub use store::{WriteFault, WriteRule, WriteSession, WriteStore};
pub use writer::{TurnedAway, WriteReport, Writers};
