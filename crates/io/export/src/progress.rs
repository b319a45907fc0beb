//! What an export tells while it works; rendering is the caller's.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportEvent {
    /// Writing begins.
    Started {
        /// Bytes of contents to read.
        bytes: u64,
    },
    /// Contents were read and written since the last such event.
    Written {
        /// Their bytes.
        bytes: u64,
    },
}

/// Takes events from any thread; must return at once.
pub trait ExportProgress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: ExportEvent);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl ExportProgress for Silent {
    fn event(&self, _: ExportEvent) {}
}
