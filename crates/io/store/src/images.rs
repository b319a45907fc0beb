//! Putting many images at once, synced together.

use std::{collections::HashSet, fs, path::PathBuf};

use hornero_model::Digest;

use crate::{ImageManifest, Result, Store, StoreError, sync};

/// From this many on, one syncfs(2) is cheaper than flushing each.
const SYNC_EACH_MAX: usize = 8;

impl Store {
    /// Stores images durably; all their layers have to be stored.
    pub fn put_images(&self, images: &[ImageManifest]) -> Result<Vec<Digest>> {
        let _lease = self.lease()?;
        let mut known = HashSet::new();
        let mut digests = Vec::with_capacity(images.len());
        let mut staged: Vec<(PathBuf, PathBuf)> = Vec::new();
        for image in images {
            let bytes = image.encode();
            let digest = Digest::of(&bytes);
            ImageManifest::decode(&bytes)
                .map_err(|reason| StoreError::BadManifest { digest, reason })?;
            for layer in &image.layers {
                if known.insert(*layer) && !self.has_layer(layer) {
                    return Err(StoreError::Missing { kind: "layer", digest: *layer });
                }
            }
            digests.push(digest);
            let target = self.image_path(&digest);
            // Compared, not only looked for: putting an image again mends a damaged manifest.
            if !matches!(fs::read(&target), Ok(stored) if stored == bytes) {
                staged.push((self.staging().write(&bytes)?, target));
            }
        }
        let Some(parent) = staged.first().and_then(|(_, target)| target.parent()) else {
            return Ok(digests);
        };
        match staged.len() > SYNC_EACH_MAX {
            true => sync::filesystem(parent)?,
            false => staged.iter().try_for_each(|(path, _)| sync::file(path))?,
        }
        for (path, target) in &staged {
            fs::rename(path, target).map_err(|error| StoreError::io("rename", target, error))?;
        }
        sync::directory(parent)?;
        Ok(digests)
    }
}
