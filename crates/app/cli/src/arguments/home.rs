//! `hornero home`: what can be typed.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What to do with a home.
#[derive(Debug, Subcommand)]
pub enum HomeCommand {
    /// Write a backup, also while services run
    #[command(after_help = "\
Examples:
  hornero home backup /mnt/backup/hornero
  hornero home backup /mnt/backup/hornero --images all

A second backup to the same directory copies only what is new. The backup holds the signing key unless
`--without-keys` is given: keep it as you keep the key. `sha256sum -c SHA256SUMS-N` in it checks it
without Hornero.")]
    Backup {
        /// A directory that is new, empty, or holds an older backup
        out: PathBuf,
        /// Which images go with it
        #[arg(long, value_enum, default_value_t = BackupImages::Used)]
        images: BackupImages,
        /// Leave the private signing key out: a restored home then serves only once the key is put back
        #[arg(long)]
        without_keys: bool,
        /// Take the key of the secrets with it, too: then the backup is as secret as they are
        #[arg(long)]
        with_secrets_key: bool,
    },
    /// Make a new home from a backup
    #[command(
        after_help = "Example:\n  hornero home restore /mnt/backup/hornero --to /var/lib/hornero"
    )]
    Restore {
        /// The backup's directory
        backup: PathBuf,
        /// Where to; `--home` by default. It must not be there, or be empty
        #[arg(long, value_name = "HOME")]
        to: Option<PathBuf>,
    },
    /// Move the home to another path of the same file system
    #[command(after_help = "Example:\n  hornero home move /srv/hornero --stop")]
    Move {
        /// Where to; nothing may be there
        to: PathBuf,
        /// End control, edge and servers first; the next `serve` or `up` starts them again
        #[arg(long)]
        stop: bool,
    },
    /// Say everything that is wrong with the home; exit 1 where something does not work
    Check {
        /// Read every content of the store, too
        #[arg(long)]
        full: bool,
    },
    /// Take the ledger as it is where its head file is missing; all of it is checked first
    #[command(after_help = "\
What was cut off the end of the ledger, if anything, is given up for good. Restore a backup instead where
you have one.")]
    AcceptLedger,
}

/// Which images a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackupImages {
    /// Those that `image gc` would keep: what runs, what a rollback needs, pins and names
    Used,
    /// All of them
    All,
    /// None: bake or pull them again
    None,
}
