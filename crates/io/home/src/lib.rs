//! Whose a home is, and how its files are opened: never through a link, never where somebody else may write.
//!
//! Whoever may change a directory on the way to a home may put another home in its place, and whoever owns a home may
//! plant links in it: root would then truncate and fill files that the links lead to. So a home is refused unless
//! everything that leads to it belongs to root (or to whoever runs the command) and nobody else may write there, and
//! its files are opened by [`open`] alone, which follows no link at all; [`put`] gives one a new content.

mod error;
mod files;
mod terms;
mod trust;
mod way;

pub use error::{HomeError, Remedy};
pub use files::{Opening, directory, open, put};
pub use terms::{TermError, Terms};
pub use way::{admit, prepare, resolve};
