//! Asks servers with data what data guards want to know, by the servers' own protocols and as any of their clients would.

mod amqp;
mod ask;
mod error;
mod http;
mod jetstream;
mod login;
mod md5;
mod nats;
mod postgres;
mod redis;
mod scram;
mod wire;

pub use ask::{ask, ask_over};
pub use error::ProbeError;
pub use login::Login;
