//! What is kept of servers: bundles of those that failed, and recordings of sessions in them; how they are written, read, and kept
//! within bounds.
//!
//! A bundle is one file that says by itself what it is: a line with its kind, a line with its seal, and an archive (tar in
//! zstd) behind them. `docs/reference/formats.md` describes it.

mod archive;
mod error;
mod file;
mod recording;
mod shelf;

pub use archive::pack;
pub use error::BundleError;
pub use file::{SealedBundle, read};
pub use recording::{
    RecordedMoment, RecordingFault, RecordingHead, RecordingWriter, Recordings, SessionRecord,
};
pub use shelf::{Shelf, ShelfLimits, ShelvedBundle};
