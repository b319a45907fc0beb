//! Figures by time: what instances used and releases answered, kept in compressed blocks long after they are gone.
//!
//! Each moment is appended to `ticks` as a block of its own; many of them are merged into one block of `N.figures`, where `N`
//! is how many moments there were before its first one. What is torn at an end is cut off.

mod block;
mod read;
mod subject;
mod window;
mod write;

pub use read::{FigureRange, FigureSeries, read, size_bytes};
pub use subject::{Figure, FigureSubject};
pub use write::{FigureLimits, FigureWriter};
