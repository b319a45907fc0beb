//! What servers wrote: appended as it comes, sealed into compressed blocks, searched without reading all of it. And what
//! they used and answered: figures, kept by time.
//!
//! A log is a directory. `N.frames` is what was read from an instance since the last block was sealed, `N.blocks` are
//! blocks; `N` is how many bytes of whole lines were written before. Of an instance of 0.1.0 there are files of text.

mod batch;
mod block;
pub mod figures;
mod files;
mod filter;
mod frame;
mod keep;
mod matcher;
mod number;
mod page;
mod reader;
mod segment;
pub mod structure;
mod text;
mod writer;

pub use files::{last_written, size_bytes, written_mark};
pub use keep::trim;
pub use matcher::{FilterError, Matcher};
pub use reader::read;
pub use writer::{LogSizes, LogWriter, nanoseconds_now};
