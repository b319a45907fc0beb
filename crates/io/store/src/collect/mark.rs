//! Finding out what is needed: the layers of kept images, and a mark on each of their contents.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hornero_model::Digest;

use super::{
    report::{
        CeilingReport, CollectReport, Deleted, DeletedImage, KeptImage, Protection, Tally, Unneeded,
    },
    roots::Kept,
};
use crate::{
    Result, Store,
    graph::{Marks, Numbered, is_damage},
    manifest, parallel,
};

/// What is needed.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) images: BTreeSet<Digest>,
    pub(super) layers: HashSet<Digest>,
    /// Keys of the merged trees of kept images.
    pub(super) trees: HashSet<Digest>,
    /// Every object there is, with its inode number.
    pub(super) objects: Numbered,
    pub(super) marks: Marks,
    pub(super) damaged: Vec<Digest>,
    /// Kept by rules only, but without room under the ceiling.
    dropped: HashSet<Digest>,
    ceiling: Option<CeilingReport>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Live {
    pub(super) fn mark(store: &Store, kept: &Kept, ceiling_bytes: Option<u64>) -> Result<Self> {
        let objects = Numbered::of_shards(|shard| store.objects().list_shard(shard))?;
        let mut live = Self {
            images: BTreeSet::new(),
            layers: HashSet::new(),
            trees: HashSet::new(),
            marks: Marks::new(objects.len()),
            objects,
            damaged: Vec::new(),
            dropped: HashSet::new(),
            ceiling: None,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        // What runs may have its bytes here though its manifest is lost: as long as that is so, they stay.
        let lost = kept.missing.iter().filter(|root| root.protection == Protection::Always);
        live.damaged.extend(lost.map(|root| root.image));
        let mut firm = kept.layers.clone();
        for image in kept.always() {
            firm.extend(live.take(store, image)?.layers);
        }
        let by_rule = kept.by_rule();
        match ceiling_bytes {
            None => {
                for image in by_rule {
                    firm.extend(live.take(store, image)?.layers);
                }
                live.mark_layers(store, &firm)?;
            }
            Some(limit_bytes) => {
                live.mark_layers(store, &firm)?;
                let (_, always_bytes) = live.sums();
                live.fill(store, &by_rule, limit_bytes)?;
                let met = live.sums().1 <= limit_bytes;
                live.ceiling = Some(CeilingReport { limit_bytes, always_bytes, met });
            }
        }
        live.damaged.sort_unstable();
        live.damaged.dedup();
        Ok(live)
    }

    /// Keeps an image; gives its layers, none when its manifest is damaged.
    fn take(&mut self, store: &Store, image: Digest) -> Result<Taken> {
        self.images.insert(image);
        match store.image(&image) {
            Ok(manifest) => {
                let tree = manifest::tree_key(&manifest.layers);
                let new_tree = self.trees.insert(tree).then_some(tree);
                Ok(Taken { layers: manifest.layers, new_tree })
            }
            Err(error) if is_damage(&error) => {
                self.damaged.push(image);
                Ok(Taken { layers: Vec::new(), new_tree: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the most recent images as long as they fit. Of the others those stay that take no room of their own:
    /// dropping them would free nothing.
    fn fill(&mut self, store: &Store, by_rule: &[Digest], limit_bytes: u64) -> Result<()> {
        let mut full = false;
        for image in by_rule {
            let damaged = self.damaged.len();
            let taken = self.take(store, *image)?;
            let (files, bytes_before) = self.sums();
            let added = self.mark_layers(store, &taken.layers)?;
            let (_, bytes) = self.sums();
            if bytes == bytes_before || (!full && bytes <= limit_bytes) {
                continue;
            }
            full = true;
            self.dropped.insert(*image);
            self.damaged.truncate(damaged);
            self.images.remove(image);
            taken.new_tree.map(|tree| self.trees.remove(&tree));
            self.layers.retain(|layer| !added.layers.contains(layer));
            added.objects.iter().for_each(|number| self.marks.clear(*number));
            self.files.store(files, Ordering::Relaxed);
            self.bytes.store(bytes_before, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Number and bytes of the marked objects.
    pub(super) fn sums(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Marks the contents of layers that are not marked yet; gives what is new.
    fn mark_layers(&mut self, store: &Store, layers: &[Digest]) -> Result<Added> {
        let new: Vec<Digest> =
            layers.iter().copied().filter(|layer| self.layers.insert(*layer)).collect();
        let (damaged, added) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        parallel::each(&new, 1, |_, layer| {
            let mut fresh = Vec::new();
            let (mut files, mut bytes) = (0, 0);
            let scanned = store.scan_layer(layer, |_, digest, size| {
                // One that is not there is damage, for fsck to find.
                let Some((number, _)) = self.objects.get(&digest) else { return };
                if self.marks.set(number) {
                    fresh.push(number);
                    files += 1;
                    bytes += size;
                }
            });
            self.files.fetch_add(files, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            added.lock().unwrap_or_else(PoisonError::into_inner).append(&mut fresh);
            match scanned {
                Err(error) if is_damage(&error) => {
                    damaged.lock().unwrap_or_else(PoisonError::into_inner).push(*layer);
                    Ok(())
                }
                scanned => scanned,
            }
        })?;
        self.damaged.append(&mut damaged.into_inner().unwrap_or_else(PoisonError::into_inner));
        let objects = added.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Added { layers: new.into_iter().collect(), objects })
    }

    pub(super) fn report(self, kept: Kept, images: &[Digest], deleted: Deleted) -> CollectReport {
        let Kept { images: mut reasons, missing, .. } = kept;
        let (mut kept_images, mut deleted_images) = (Vec::new(), Vec::new());
        for digest in images.iter().copied() {
            let of_image = reasons.remove(&digest).unwrap_or_default();
            if self.images.contains(&digest) {
                kept_images.push(KeptImage { digest, reasons: of_image });
                continue;
            }
            let why = match self.dropped.contains(&digest) {
                true => Unneeded::Ceiling {
                    reasons: of_image.into_iter().map(|reason| reason.text).collect(),
                },
                false => Unneeded::NothingKeepsIt,
            };
            deleted_images.push(DeletedImage { digest, why });
        }
        CollectReport {
            deleted_images,
            kept_images,
            deleted,
            kept_objects: Tally { files: self.files.into_inner(), bytes: self.bytes.into_inner() },
            ceiling: self.ceiling,
            missing,
            damaged: self.damaged,
        }
    }
}

/// What keeping an image adds, but for its contents.
struct Taken {
    layers: Vec<Digest>,
    new_tree: Option<Digest>,
}

/// What marking layers marked that was not marked before.
struct Added {
    layers: HashSet<Digest>,
    objects: Vec<u32>,
}
