//! Where the witness of the ledger is.

use clap::Args;
use hornero_control::WitnessPlace;

/// The variable of the environment that declares a witness.
pub const WITNESS_VARIABLE: &str = "HORNERO_WITNESS";

/// Who gets the ledger's heads.
#[derive(Debug, Args)]
pub struct WitnessWords {
    /// Keep each head of the ledger outside of the home, for `hornero audit verify --witness`: `file:/PATH`,
    /// `command:/PROGRAM` or a URL
    #[arg(long, env = WITNESS_VARIABLE, value_name = "PLACE")]
    pub witness: Option<WitnessPlace>,
}
