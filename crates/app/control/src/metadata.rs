//! Lets go of the metadata of images that no server runs from and none may be started from at a moment's notice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hornero_model::{Digest, error_chain};
use hornero_rollout::{World, in_use};
use hornero_store::Store;

/// How long after a rollout it is let go: the next one may come at once, and the thread that decides has no time to lose then.
const AFTER_ROLLOUTS: Duration = Duration::from_secs(2);
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

    /// How long until there is something to let go of; none while there is nothing.
    pub fn due_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Lets go of what is not needed any more; while a rollout is under way it waits, so as to take no time from it.
    ///
    /// Every start that the driver asked for is in the world by then, so that nothing goes that one was begun with.
    pub fn look(&mut self, world: &World, store: &Store) {
        let now = Instant::now();
        if !world.rollouts.is_empty() {
            self.due = Some(now + AFTER_ROLLOUTS);
            return;
        }
        if self.seen != Some(world.last_sequence) {
            let images = in_use(world);
            if self.seen.is_none() || images != self.images {
                self.due = Some(now + AFTER_ROLLOUTS);
            }
            (self.seen, self.images) = (Some(world.last_sequence), images);
            if self.images.is_empty() {
                // Nothing is served that could take it up again, and whoever took it down may go on to remove the home.
                self.due = self.due.map(|_| now);
            }
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
