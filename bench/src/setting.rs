//! What every measurement needs.

use std::path::PathBuf;

/// What every measurement needs.
pub struct Setting {
    /// Runs of each contestant.
    pub runs: usize,
    /// Whether only the peers are measured.
    pub peers_only: bool,
    /// Where the programs of an older build were copied to: peers are left out then.
    pub before: Option<PathBuf>,
    /// Objects in the store whose garbage is collected.
    pub objects: usize,
    /// Images that are moved onto a patched base.
    pub images: usize,
    /// Patched states of the image whose storage and transfer are counted.
    pub states: usize,
    /// Removed at the end.
    pub scratch: PathBuf,
}
