//! What several parts of an image are written by.

use hornero_store::Entry;

/// The largest and usual block: 1 MiB compresses a little better and makes every small read slow.
pub(super) const BLOCK_LEN: usize = 128 << 10;

/// Fixed, since the bytes depend on it: about as small as the tool's 15 in a fraction of its time.
pub(super) const LEVEL: i32 = 7;

/// A table that an image does not have.
pub(super) const ABSENT: u64 = u64::MAX;

/// Time as the format has it, until 2106.
pub(super) fn seconds(entry: &Entry) -> u32 {
    u32::try_from(entry.metadata.mtime).unwrap_or(u32::MAX)
}
