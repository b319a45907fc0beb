//! What a transfer tells while it works; rendering is the caller's.

use hornero_model::Digest;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent {
    /// Layers are being compressed.
    PackStarted {
        /// Blobs to be made; others are kept from before.
        blobs: usize,
        /// Bytes before compression.
        bytes: u64,
    },
    /// Bytes were compressed since the last such event.
    Packed {
        /// How many, before compression.
        bytes: u64,
    },
    /// A transfer begins.
    TransferStarted {
        /// Bytes that will move; what is there already is not counted.
        bytes: u64,
    },
    /// Bytes moved since the last such event.
    Transferred {
        /// How many.
        bytes: u64,
    },
    /// The other side has this blob already.
    BlobPresent {
        /// Its digest.
        digest: Digest,
    },
    /// An attempt failed and will be repeated.
    Retrying {
        /// What was moved.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// A layer of a foreign image is being taken in.
    LayerStarted {
        /// Which one, from 1.
        number: usize,
        /// Of how many.
        count: usize,
    },
}

/// Where events go; called from several threads.
pub trait TransferProgress: Sync {
    /// Something happened.
    fn event(&self, event: TransferEvent);
}

impl<F: Fn(TransferEvent) + Sync> TransferProgress for F {
    fn event(&self, event: TransferEvent) {
        self(event);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl TransferProgress for Quiet {
    fn event(&self, _: TransferEvent) {}
}
