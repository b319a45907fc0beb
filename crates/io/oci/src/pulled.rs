//! What a pull brought.

use hornero_model::Digest;

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image, now in the store; no reference leads to it yet.
    pub image: Digest,
    /// Digest of the OCI manifest it came by; none from another store.
    pub manifest: Option<Digest>,
    /// Bytes of bodies that came in, manifests included.
    pub bytes_moved: u64,
    /// Contents that came in.
    pub contents_moved: u64,
    /// Contents of new layers that the store had already.
    pub contents_present: u64,
    /// Layers that came in.
    pub layers_moved: usize,
    /// Whether another program made it: its identity is new, and it travels by whole layers.
    pub foreign: bool,
}
