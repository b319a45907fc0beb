//! Largest sizes and counts accepted from outside, each with its reason.

/// Files in one copied directory.
pub(crate) const COPY_ENTRIES: usize = 2_000_000;
/// Depth of a copied directory: deeper ones are loops or attacks.
pub(crate) const COPY_DEPTH: usize = 64;
