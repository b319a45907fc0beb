//! Collecting garbage: finding out under the exclusive lock what anything still needs, and deleting the rest.
//!
//! Order of deletion: image manifests, durably, then the layers nothing has any more, durably, then their contents,
//! then what was derived from, attached to or remembered about them. So whatever is still seen is whole, whenever
//! the process is killed; what it left is garbage that the next run finds.

mod mark;
mod report;
mod roots;
mod sweep;

use std::time::{Duration, Instant};

pub use report::{
    CeilingReport, CollectOptions, CollectProgress, CollectReport, CollectTeller, Deleted,
    DeletedImage, KeptImage, Protection, Reason, Root, Tally, Unneeded,
};

use crate::{
    Result, Store, StoreError, StoreLease,
    lock::{self, Mode},
};
use mark::Live;
use roots::Kept;
use sweep::Sweep;

/// How often the lock is tried again; a bake lasts seconds to minutes.
const RETRY: Duration = Duration::from_millis(20);
/// How often waiting is told.
const TELL: Duration = Duration::from_secs(1);

impl Store {
    /// Deletes every image that nothing keeps, and all that only those need.
    ///
    /// An image is kept by a root, by a reference that leads to it and by a pin. Where one of them leads to an image
    /// that is lost, everything it could have needed stays; leave out roots whose image a former run was free to take. `roots` is asked when the store
    /// is locked, since what runs may change until then; it must take no lease of this store, and whoever puts an
    /// image has to hold a lease until a reference or a root leads to it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when others hold a lease for longer than [`CollectOptions::patience`];
    /// [`StoreError::Roots`] when `roots` fails, [`StoreError::DamagedRef`] when nobody knows what a reference led
    /// to; then nothing is deleted.
    pub fn collect(
        &self,
        options: &CollectOptions,
        roots: impl FnOnce() -> Result<Vec<Root>, Box<dyn std::error::Error + Send + Sync>>,
        progress: CollectTeller<'_>,
    ) -> Result<CollectReport> {
        let _alone = self.exclusive_within(options.patience, progress)?;
        let kept = Kept::new(self, roots().map_err(StoreError::Roots)?)?;
        let images = self.images()?;
        progress(CollectProgress::Marking { images: images.len() });
        let live = Live::mark(self, &kept, options.ceiling_bytes)?;
        let deleted = Sweep::new(self, &live, options, progress).run(&images)?;
        self.forget_trees();
        Ok(live.report(kept, &images, deleted))
    }

    /// The store for oneself, waiting until all leases are given back, but no longer than `patience`.
    fn exclusive_within(
        &self,
        patience: Option<Duration>,
        progress: CollectTeller<'_>,
    ) -> Result<StoreLease> {
        let begun = Instant::now();
        let mut told = None;
        // Given back when this is over, or dead: whoever comes after it lets it go first.
        let mut turn = None;
        loop {
            if let Some(lease) = lock::attempt(&self.lock_path(), Mode::Exclusive)? {
                return Ok(lease);
            }
            let waited = begun.elapsed();
            if patience.is_some_and(|patience| waited >= patience) {
                return Err(StoreError::Busy(self.dir().to_owned()));
            }
            if told.is_none_or(|told| waited >= told + TELL) {
                progress(CollectProgress::Waiting { waited });
                told = Some(waited);
            }
            if turn.is_none() {
                // Without it, as where the disk is too full to make the file, it only takes longer.
                turn = lock::attempt(&self.turn_path(), Mode::Exclusive).unwrap_or_default();
            }
            std::thread::sleep(RETRY);
        }
    }
}
