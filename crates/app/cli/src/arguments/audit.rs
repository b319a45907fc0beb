//! What `audit` takes.

use std::path::PathBuf;

use clap::Subcommand;
use hornero_control::WitnessPlace;

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no event was touched; names the first that was
    Verify {
        /// A receipt (`hornero receipt ID --json`) or a copy of `ledger.head` that was kept elsewhere: the ledger must
        /// hold it still
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Compare it with every head that the witness has (`hornero serve --witness`), which is at PLACE, else where
        /// control or HORNERO_WITNESS says
        #[arg(long, value_name = "PLACE", num_args = 0..=1)]
        witness: Option<Option<WitnessPlace>>,
    },
}
