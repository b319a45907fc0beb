//! The rows of the table, and who stands in them.

use crate::table::{Better, Table};

pub(super) const STORED: &str = "stored where the images are built";
pub(super) const REGISTRY: &str = "stored in the registry";
pub(super) const PUSHED: &str = "pushed to the registry";
pub(super) const PULLED: &str = "pulled by a server that pulls every state";
pub(super) const PATCHES: &str = "of that, after the first state";
const PULLED_FIX: &str = "pulled for one fix, by compressed size of its changed files";
const PUSHED_FIX: &str = "pushed for one fix, by compressed size of its changed files";

/// Docker with upgrades in a layer on a base that stays.
pub(super) const UPGRADED: &str = "docker, upgrades in a layer on the first base";

/// A row in megabytes.
pub(super) fn row(table: &mut Table, what: &str, who: &str, bytes: u64) {
    table.add(what, "MB", Better::Less, who, bytes as f64 / 1e6);
}

/// Bytes out and in for one fix, of which the changed files have so many compressed bytes.
pub(super) fn add_fix(table: &mut Table, who: &str, (out, bytes_in): (u64, u64), changed: u64) {
    for (what, bytes) in [(PULLED_FIX, bytes_in), (PUSHED_FIX, out)] {
        table.add(what, "×", Better::Less, who, bytes as f64 / changed as f64);
    }
}
