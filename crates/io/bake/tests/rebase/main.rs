//! Moving images onto another version of their base: what is refused and why, what is accepted and runs.

mod bench;
mod broken;
mod moves;
#[path = "../support/mod.rs"]
mod support;
mod trust;
