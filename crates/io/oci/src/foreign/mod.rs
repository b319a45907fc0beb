//! What others made: read, and put into the store as images of ours.

pub(crate) mod archive;
pub(crate) mod configuration;
mod directories;
pub(crate) mod layers;
pub(crate) mod reading;
pub(crate) mod record;
pub(crate) mod stream;
mod whiteout;
