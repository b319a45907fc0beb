//! What is kept of servers that fail: noticed, looked at, sealed and recorded, while replacing them waits for nothing.

mod allowance;
mod gather;
mod keeper;
mod known;
mod noticed;

pub use keeper::{TOLD_FOR, keep_bundles};
pub use noticed::{Forensics, Noticed};
