//! What the tails of one image may bring into memory, all together.

use hornero_model::Digest;
use hornero_store::{ENTRY_COUNT_MAX, Layer};

/// What all tails of an image may unpack to: two million entries of a hundred bytes. Those of a Debian base have
/// 2 MiB.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// Members of an image's blobs: every entry a file of its own.
pub(super) const MEMBERS_MAX: u64 = 2_000_000;
/// Entries of all layers of an image: as many as the largest layer may have. In memory an entry takes far more than the
/// few bytes that say it.
const ENTRIES_MAX: u64 = ENTRY_COUNT_MAX as u64;
/// Of what there may be too much.
pub(super) const MEMBERS: &str = "members";
pub(super) const ENTRIES: &str = "entries";
pub(super) const UNPACKED: &str = "bytes to say where everything is";

/// What the tails of one image may still bring into memory, all together: a thousand tails of which each keeps
/// within limits are still too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) unpacked_bytes: u64,
    pub(crate) members: u64,
    pub(crate) entries: u64,
}

impl Default for Budget {
    fn default() -> Self {
        let (unpacked_bytes, members, entries) = (UNPACKED_BYTES_MAX, MEMBERS_MAX, ENTRIES_MAX);
        Self { unpacked_bytes, members, entries }
    }
}

impl Budget {
    /// Takes what a blob of these layers needs, before it is made; says of what there is not enough.
    pub(crate) fn take(
        &mut self,
        members: usize,
        layers: &[(Digest, Layer)],
    ) -> Result<(), &'static str> {
        let entries = layers.iter().map(|(_, layer)| layer.entries().len() as u64).sum();
        let encoded: u64 = layers.iter().map(|(_, layer)| layer.encode().len() as u64).sum();
        // A number has ten bytes at the most: a member has two, and a layer its place and its length.
        let unpacked = encoded + 20 * members as u64 + 10 * entries + 128 * layers.len() as u64;
        let spent = spend(&mut self.members, members as u64, MEMBERS)
            .and_then(|()| spend(&mut self.entries, entries, ENTRIES))
            .and_then(|()| spend(&mut self.unpacked_bytes, unpacked, UNPACKED));
        spent.map_err(|fault| match fault {
            Fault::TooMuch(what) => what,
            Fault::Form(_) => unreachable!("nothing was read"),
        })
    }
}

/// Why bytes are not taken for a tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They have not the form of one.
    Form(String),
    /// With it the image has more of something than an image may have.
    TooMuch(&'static str),
}

impl<S: Into<String>> From<S> for Fault {
    fn from(text: S) -> Self {
        Self::Form(text.into())
    }
}

/// Takes from what is left.
pub(super) fn spend(left: &mut u64, count: u64, what: &'static str) -> Result<(), Fault> {
    *left = left.checked_sub(count).ok_or(Fault::TooMuch(what))?;
    Ok(())
}
