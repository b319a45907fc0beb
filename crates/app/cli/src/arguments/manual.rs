//! What `manual` takes.

use std::path::PathBuf;

use clap::Args;

/// Where the pages go.
#[derive(Debug, Args)]
pub struct ManualArguments {
    /// The directory; it is made where it is missing
    pub dir: PathBuf,
}
