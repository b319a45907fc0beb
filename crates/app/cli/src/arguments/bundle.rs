//! `hornero bundle`: what can be typed.

use std::path::PathBuf;

use clap::Subcommand;
use hornero_model::InstanceId;

/// What to do with bundles of servers that failed.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// List the bundles of this home, the newest first
    Ls,
    /// Write the bundle of a server to a file, to be read elsewhere
    #[command(after_help = "\
Example:
  hornero bundle export site-7-k3j9x2ab /tmp/site.bundle
  hornero autopsy /tmp/site.bundle        on any machine

The file says by itself who sealed it. Values of the server's secrets, its environment and its memory are not in it.")]
    Export {
        /// The server
        instance: InstanceId,
        /// The file; one that is there is not written over
        out: PathBuf,
    },
}
