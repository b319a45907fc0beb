//! How much one append and one read may have.

/// Most events in one append, and most of one commit: bounds the memory of the writer and the length of a commit.
pub const MAX_BATCH_EVENTS: usize = 1024;
/// Largest body of one event as JSON, in bytes: the journal's states are some kilobytes, so 1 MiB is a mistake.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Largest `why`, in bytes: a reason is a sentence or the tail of a log, not a log.
pub const MAX_WHY_BYTES: usize = 16 << 10;
/// Largest `who` and `commit`, in bytes: names and hashes.
pub const MAX_WHO_BYTES: usize = 256;
/// Most events that one read returns: bounds the memory of a reader; page on from the last sequence.
pub const MAX_READ_EVENTS: usize = 10_000;
