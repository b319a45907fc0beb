//! Checking images before a start: a stat sweep over their objects, full hashing of what it doubts.

use std::sync::{Mutex, PoisonError};

use hornero_model::Digest;

use crate::{
    Damage, EntryKind, Result, Store, StoreError, Stored, metadata::distinct_contents, parallel,
    records::FileState,
};

/// stat(2) costs about a microsecond: fewer are not worth a thread.
const SWEEP_GRAIN: usize = 1024;

/// What a verification did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Distinct objects looked at.
    pub objects: usize,
    /// Objects hashed in full: new, or not as they were when last hashed.
    pub hashed: usize,
    /// Bytes hashed.
    pub hashed_bytes: u64,
    /// Images whose metadata was other than their layers say, and was made again from them.
    pub metadata_rebuilt: usize,
}

impl Store {
    /// Makes sure that every byte an instance of `image` could read is what the image says.
    ///
    /// Hashes only objects that changed, in whatever way, since they were last hashed in full. The metadata image is
    /// compared with what the layers say, which the first call for a tree derives from them.
    ///
    /// # Errors
    /// [`StoreError::DamagedObject`] names the object and a path that uses it.
    pub fn verify_for_start(&self, image: &Digest) -> Result<VerifyReport> {
        self.verify_watched(&[*image], &|| ())
    }

    /// As [`Store::verify_for_start`] for several images; objects they share are looked at once.
    pub fn verify_all_for_start(&self, images: &[Digest]) -> Result<VerifyReport> {
        self.verify_watched(images, &|| ())
    }

    /// As [`Store::verify_all_for_start`]; calls `went_on` again and again while there is something to hash, from
    /// several threads, so that who waits can tell a slow host from a hung one.
    pub fn verify_watched(
        &self,
        images: &[Digest],
        went_on: &(dyn Fn() + Sync),
    ) -> Result<VerifyReport> {
        let mut rebuilt = 0;
        self.records().refresh()?;
        let mut wanted: Vec<Stored> = Vec::new();
        for image in images {
            went_on();
            let layers = self.image(image)?.layers;
            let index = self.verify_metadata(&layers, &mut rebuilt)?;
            wanted.extend(index.contents);
        }
        if images.len() > 1 {
            wanted.sort_unstable_by_key(|stored| stored.digest);
            wanted.dedup_by_key(|stored| stored.digest);
        }
        went_on();
        let report = self
            .verify_contents(&wanted, went_on)
            .map_err(|error| self.name_user(error, images))?;
        Ok(VerifyReport { metadata_rebuilt: rebuilt, ..report })
    }

    /// Makes sure that every content of `image` is what the image says; for reading it, where nothing is started.
    ///
    /// # Errors
    /// As [`Store::verify_for_start`].
    pub fn verify_image(&self, image: &Digest) -> Result<VerifyReport> {
        self.records().refresh()?;
        let wanted = distinct_contents(&*self.tree(image)?);
        let checked = self.verify_contents(&wanted, &|| ());
        checked.map_err(|error| self.name_user(error, &[*image]))
    }

    /// Whether a layer and all its contents are there and undamaged; as fast as a verification.
    ///
    /// For a bake that finds a step in its cache: what is damaged counts as not cached, so that baking again
    /// mends it.
    pub fn is_layer_whole(&self, digest: &Digest) -> Result<bool> {
        self.records().refresh()?;
        let layer = match self.layer(digest) {
            Ok(layer) => layer,
            Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut wanted: Vec<Stored> =
            layer.contents().map(|(digest, size)| Stored { digest, size }).collect();
        wanted.sort_unstable_by_key(|stored| stored.digest);
        wanted.dedup();
        self.are_contents_whole(&wanted)
    }

    /// Whether a content is there and undamaged.
    pub fn is_content_whole(&self, stored: Stored) -> Result<bool> {
        self.records().refresh()?;
        self.are_contents_whole(&[stored])
    }

    pub(crate) fn are_contents_whole(&self, wanted: &[Stored]) -> Result<bool> {
        match self.verify_contents(wanted, &|| ()) {
            Ok(_) => Ok(true),
            Err(StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Damage comes as [`StoreError::Damaged`].
    fn verify_contents(
        &self,
        wanted: &[Stored],
        went_on: &(dyn Fn() + Sync),
    ) -> Result<VerifyReport> {
        let doubted = self.sweep(wanted)?;
        self.hash_all(&doubted, went_on)?;
        Ok(VerifyReport {
            objects: wanted.len(),
            hashed: doubted.len(),
            hashed_bytes: doubted.iter().map(|stored| stored.size).sum(),
            metadata_rebuilt: 0,
        })
    }

    /// Those whose state is not the recorded one.
    fn sweep(&self, wanted: &[Stored]) -> Result<Vec<Stored>> {
        // Taken out of the lock once: the sweep's threads then only read.
        let recorded: Vec<Option<FileState>> = {
            let records = self.records();
            wanted.iter().map(|stored| records.get(&stored.digest).copied()).collect()
        };
        let doubted = Mutex::new(Vec::new());
        parallel::each(wanted, SWEEP_GRAIN, |index, stored| {
            let state = self.objects().state(&stored.digest)?;
            match state {
                None => return Err(damaged(stored, Damage::Missing)),
                Some(state) if !state.plain => return Err(damaged(stored, Damage::NotAFile)),
                Some(state) if state.size != stored.size => {
                    return Err(damaged(stored, Damage::Size));
                }
                Some(_) if state == recorded[index] => {}
                Some(_) => doubted.lock().unwrap_or_else(PoisonError::into_inner).push(*stored),
            }
            Ok(())
        })?;
        Ok(doubted.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn hash_all(&self, doubted: &[Stored], went_on: &(dyn Fn() + Sync)) -> Result<()> {
        let states = Mutex::new(Vec::with_capacity(doubted.len()));
        let hashed = parallel::each(doubted, 8, |_, stored| {
            let (state, found) = self.objects().hash(&stored.digest, went_on)?;
            if found != stored.digest {
                return Err(damaged(stored, Damage::Content));
            }
            if let Some(state) = state {
                states.lock().unwrap_or_else(PoisonError::into_inner).push((stored.digest, state));
            }
            Ok(())
        });
        // Good ones are remembered even when another is damaged.
        self.records().append(&states.into_inner().unwrap_or_else(PoisonError::into_inner))?;
        hashed
    }

    /// Says of a damaged object which image uses it, and where.
    fn name_user(&self, error: StoreError, images: &[Digest]) -> StoreError {
        let StoreError::Damaged { kind: "object", digest: object, damage } = error else {
            return error;
        };
        let uses =
            |kind: &EntryKind| matches!(kind, EntryKind::File { digest, .. } if *digest == object);
        let user = images.iter().find_map(|image| {
            let tree = self.tree(image).ok()?;
            let entry = tree.entries().iter().find(|entry| uses(&entry.kind))?;
            Some((*image, entry.path.to_string()))
        });
        match user {
            Some((image, path)) => StoreError::DamagedObject { object, image, path, damage },
            None => error,
        }
    }
}

fn damaged(stored: &Stored, damage: Damage) -> StoreError {
    StoreError::Damaged { kind: "object", digest: stored.digest, damage }
}
