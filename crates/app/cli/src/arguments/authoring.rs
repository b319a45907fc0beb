//! What `init`, `validate` and `fmt` take.

use std::path::PathBuf;

use clap::Args;

/// What to put into the canonical form.
#[derive(Debug, Args)]
pub struct FormatArguments {
    /// Files, or directories with `hornero.hcl`; `-` takes a file from stdin and gives it on stdout
    #[arg(default_value = ".", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Change nothing; exit code 1 where a file is not in its canonical form
    #[arg(long)]
    pub check: bool,
}

/// What to begin with.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// The directory that gets a `hornero.hcl`
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A Dockerfile, a compose file or a program in it; found by itself where this is not given
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
    /// Print the file instead of writing it
    #[arg(long)]
    pub dry_run: bool,
}
