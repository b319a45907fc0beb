//! What steps and installations work with: the store, archives, the sandbox and a place for what they write.

use std::path::Path;

use hornero_apt::access::Access;
use hornero_model::Digest;
use hornero_store::{RootFiles, Store};

use crate::{BakeError, image::step::Steps, progress::BakeProgress};

/// What an installation or a step works on.
pub(crate) struct Surroundings<'s> {
    /// The store.
    pub store: &'s Store,
    /// Access to archives.
    pub access: &'s Access<'s>,
    /// Starts steps.
    pub steps: Steps<'s>,
    /// Where work directories are made.
    pub tmp: &'s Path,
    /// Is told what happens.
    pub progress: &'s dyn BakeProgress,
}

impl Surroundings<'_> {
    /// The root files of layers, for one build step.
    pub(crate) fn composed(&self, layers: &[Digest]) -> Result<RootFiles, BakeError> {
        self.store.temporary_root(layers).map_err(BakeError::store)
    }
}
