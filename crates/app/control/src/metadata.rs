//! Lets go of the metadata of images that no server runs from and none may be started from at a moment's notice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hornero_model::{Digest, error_chain};
use hornero_rollout::{World, in_use};
use hornero_store::Store;

/// How long what somebody holds is left alone, such as what another home's servers run from.
const HELD_RETRY: Duration = Duration::from_secs(5);

/// What of the store's metadata images stays ready.
#[derive(Debug, Default)]
pub struct MetadataKeeper {
    /// The last event that the images were taken from.
    seen: Option<u64>,
    images: BTreeSet<Digest>,
    /// Whether there may be metadata to let go of, and from when on.
    due: Option<Instant>,
}

impl MetadataKeeper {
    /// An image was tested outside of any rollout.
    pub fn tested(&mut self) {
        self.due.get_or_insert_with(Instant::now);
    }

    /// Lets go of what is not needed any more; while a rollout is under way it waits, so as to take no time from it.
    ///
    /// Every start that the driver asked for is in the world by then, so that nothing goes that one was begun with.
    pub fn look(&mut self, world: &World, store: &Store) {
        let now = Instant::now();
        if !world.rollouts.is_empty() {
            self.due = Some(now);
            return;
        }
        if self.seen != Some(world.last_sequence) {
            let images = in_use(world);
            if self.seen.is_none() || images != self.images {
                self.due = Some(now);
            }
            (self.seen, self.images) = (Some(world.last_sequence), images);
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = match store.drop_metadata_but(&self.images) {
            Ok(0) => None,
            Ok(_) => Some(now + HELD_RETRY),
            // It only takes room; tried again after the next change.
            Err(error) => {
                tracing::warn!("letting go of metadata images failed: {}", error_chain(&error));
                None
            }
        };
    }
}
