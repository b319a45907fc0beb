//! `hornero secret`: what can be typed.

use clap::Subcommand;
use hornero_model::SecretLabel;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Set a secret to what stands on standard input, to the last byte
    #[command(after_help = "\
Examples:
  hornero secret set db-password < password.txt
  printf %s \"$PASSWORD\" | hornero secret set db-password
  hornero up                        and the servers that have it are replaced

A value is at most 64 KiB. It is encrypted before it touches a disk, and never shown again.")]
    Set {
        /// Its name, as `secret` blocks of services have it
        name: SecretLabel,
    },
    /// Set a secret to a new random value, for what only servers need to know
    #[command(after_help = "\
Example:
  hornero secret rotate session-key && hornero up

The value is text of letters, digits, `-` and `_`.")]
    Rotate {
        /// Its name; it is set already
        name: SecretLabel,
        /// How many random bytes the text stands for
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024))]
        bytes: u16,
    },
    /// List secrets: names, versions and which releases have them, never values
    Ls,
    /// Remove a secret with all its values
    #[command(
        after_help = "A secret that a kept release names is refused without `--force`: a server of it could not be started again."
    )]
    Rm {
        /// Its name
        name: SecretLabel,
        /// Although a release names it
        #[arg(long)]
        force: bool,
    },
}
