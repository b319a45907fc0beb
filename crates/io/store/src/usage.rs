//! What the store takes on disk, and how much of it is whose.
//!
//! Counted by layers: also a file that a later layer hides takes its room. Contents have numbers, so that a thousand
//! images of ten thousand files each are counted in a fraction of a second.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use hornero_model::Digest;

use crate::{
    Result, Store, StoreError, Tally,
    format::{ATTACHMENTS, IMAGES, LAYERS, METADATA},
    graph::{ALL_SHARDS, Numbered, SHARDS, is_damage, sort_digests},
    parallel,
    pins::PIN,
    records::FileState,
};

/// What one image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// Its digest.
    pub digest: Digest,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Its distinct contents.
    pub total: Tally,
    /// Those that other images have as well.
    pub shared: Tally,
    /// Those that would be freed if only this image went.
    pub unique: Tally,
}

/// What a store takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreUse {
    /// Every image, sorted by digest.
    pub images: Vec<ImageUse>,
    /// Distinct contents of all images: what they take on disk.
    pub total: Tally,
    /// Those that two or more images have, each counted once.
    pub shared: Tally,
    /// Bytes that all images would take if each had its own copy of its distinct contents.
    pub separate_bytes: u64,
    /// Contents that no image has: garbage, and what is being baked.
    pub unused: Tally,
    /// Descriptions of layers.
    pub layers: Tally,
    /// Manifests of images.
    pub manifests: Tally,
    /// Metadata images and their indexes.
    pub metadata: Tally,
    /// What is attached to images and layers.
    pub attachments: Tally,
    /// Remembered values.
    pub cache: Tally,
    /// Images and layers that can't be read and so count as nothing, and those whose attachments can't, sorted.
    pub damaged: Vec<Digest>,
    /// References whose files hold no digest any more, sorted.
    pub damaged_refs: Vec<String>,
}

impl StoreUse {
    /// Bytes that sharing saves.
    pub fn saved_bytes(&self) -> u64 {
        self.separate_bytes - self.total.bytes
    }

    /// Bytes of all files together.
    pub fn disk_bytes(&self) -> u64 {
        let rest = self.layers + self.manifests + self.metadata + self.attachments + self.cache;
        (self.total + self.unused + rest).bytes
    }
}

impl Store {
    /// What the store takes: in all, by image, and beside the images.
    pub fn disk_use(&self) -> Result<StoreUse> {
        let _lease = self.lease()?;
        let mut all = StoreUse::default();
        let mut images = Vec::new();
        let mut layers: Vec<Digest> = Vec::new();
        for image in self.images()? {
            match self.image(&image) {
                Ok(manifest) => {
                    layers.extend(&manifest.layers);
                    images.push((image, manifest.layers));
                }
                Err(error) if is_damage(&error) => all.damaged.push(image),
                Err(error) => return Err(error),
            }
        }
        layers.sort_unstable();
        layers.dedup();
        let contents = Contents::read(self, &layers, &mut all.damaged)?;
        contents.count(&images, &layers, &mut all);
        let listing = self.ref_listing()?;
        let pins = listing.refs.into_iter().filter(|(name, _)| name.starts_with(PIN));
        let pins: HashSet<Digest> = pins.map(|(_, image)| image).collect();
        for image in &mut all.images {
            image.pinned = pins.contains(&image.digest);
        }
        all.damaged_refs = listing.damaged;
        all.unused = self.unused_objects(&contents.numbered)?;
        all.layers = tally(&self.dir().join(LAYERS))?;
        all.manifests = tally(&self.dir().join(IMAGES))?;
        all.metadata = tally(&self.dir().join(METADATA))?;
        for subject in self.attached_subjects()? {
            if self.is_attachments_place_taken(&subject) {
                all.damaged.push(subject);
                continue;
            }
            let of_subject = self.dir().join(ATTACHMENTS).join(subject.hex());
            all.attachments = all.attachments + tally(&of_subject)?;
        }
        for (_, metadata) in self.cache_files()? {
            all.cache.add(metadata.len());
        }
        all.damaged.sort_unstable();
        all.damaged.dedup();
        Ok(all)
    }

    /// Objects that are not among `used`.
    fn unused_objects(&self, used: &Numbered) -> Result<Tally> {
        let sum = Mutex::new(Tally::default());
        parallel::each(&ALL_SHARDS, 1, |_, shard| {
            let mut unused = Tally::default();
            for (digest, _) in self.objects().list_shard(*shard)? {
                if used.get(&digest).is_none() {
                    unused.add(
                        self.objects().state(&digest)?.map_or(0, |state: FileState| state.size),
                    );
                }
            }
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            *sum = *sum + unused;
            Ok::<(), StoreError>(())
        })?;
        Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The contents of layers by number.
struct Contents {
    /// With the size of each.
    numbered: Numbered,
    sizes: Vec<u64>,
    /// The distinct numbers of each layer.
    of_layers: Vec<Vec<u32>>,
}

impl Contents {
    fn read(store: &Store, layers: &[Digest], damaged: &mut Vec<Digest>) -> Result<Self> {
        let shards: Vec<Mutex<Vec<(Digest, u64)>>> =
            (0..SHARDS).map(|_| Mutex::default()).collect();
        let read: Vec<Mutex<Vec<Digest>>> = layers.iter().map(|_| Mutex::default()).collect();
        let unreadable = Mutex::new(Vec::new());
        parallel::each(layers, 1, |index, layer| {
            let mut of_layer = Vec::new();
            match store.scan_layer(layer, |_, digest, size| of_layer.push((digest, size))) {
                Err(error) if is_damage(&error) => {
                    unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(*layer);
                    return Ok(());
                }
                scanned => scanned?,
            }
            sort_digests(&mut of_layer);
            for run in of_layer.chunk_by(|one, two| one.0.as_bytes()[0] == two.0.as_bytes()[0]) {
                let shard = &shards[usize::from(run[0].0.as_bytes()[0])];
                shard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(run);
            }
            *read[index].lock().unwrap_or_else(PoisonError::into_inner) =
                of_layer.into_iter().map(|(digest, _)| digest).collect();
            Ok::<(), StoreError>(())
        })?;
        damaged.append(&mut unreadable.into_inner().unwrap_or_else(PoisonError::into_inner));
        let numbered = Numbered::of_shards(|shard| {
            let mut slot =
                shards[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner);
            Ok(std::mem::take(&mut *slot))
        })?;
        let of_layers: Vec<Mutex<Vec<u32>>> = layers.iter().map(|_| Mutex::default()).collect();
        parallel::each(&read, 1, |index, digests| {
            let digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
            let numbers = digests.iter().filter_map(|digest| Some(numbered.get(digest)?.0));
            *of_layers[index].lock().unwrap_or_else(PoisonError::into_inner) = numbers.collect();
            Ok::<(), StoreError>(())
        })?;
        let sizes = ALL_SHARDS.iter().flat_map(|shard| numbered.shard(*shard));
        let sizes = sizes.map(|(_, _, size)| size).collect();
        let of_layers = of_layers
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        Ok(Self { numbered, sizes, of_layers })
    }

    /// Counts who has what; `layers` are sorted.
    fn count(&self, images: &[(Digest, Vec<Digest>)], layers: &[Digest], all: &mut StoreUse) {
        // For each content, how many images have it, and the last one that was seen to have it.
        let mut users = vec![0_u32; self.sizes.len()];
        let mut seen_by = vec![u32::MAX; self.sizes.len()];
        let each = |layers_of: &[Digest], with: &mut dyn FnMut(usize)| {
            for layer in layers_of {
                let Ok(at) = layers.binary_search(layer) else { continue };
                self.of_layers[at].iter().for_each(|number| with(*number as usize));
            }
        };
        for (index, (_, layers_of)) in images.iter().enumerate() {
            each(layers_of, &mut |number| {
                if seen_by[number] != index as u32 {
                    seen_by[number] = index as u32;
                    users[number] += 1;
                }
            });
        }
        seen_by.fill(u32::MAX);
        for (index, (digest, layers_of)) in images.iter().enumerate() {
            let (mut shared, mut unique) = (Tally::default(), Tally::default());
            each(layers_of, &mut |number| {
                if seen_by[number] != index as u32 {
                    seen_by[number] = index as u32;
                    let part = if users[number] == 1 { &mut unique } else { &mut shared };
                    part.add(self.sizes[number]);
                }
            });
            let total = shared + unique;
            all.images.push(ImageUse { digest: *digest, pinned: false, total, shared, unique });
        }
        for (size, users) in self.sizes.iter().zip(&users) {
            all.separate_bytes += size * u64::from(*users);
            all.total.add(*size);
            if *users > 1 {
                all.shared.add(*size);
            }
        }
    }
}

/// The plain files of a directory.
fn tally(directory: &Path) -> Result<Tally> {
    let failed = |error| StoreError::io("list", directory, error);
    let mut sum = Tally::default();
    for entry in fs::read_dir(directory).map_err(failed)? {
        match entry.map_err(failed)?.metadata() {
            Ok(metadata) if metadata.is_file() => sum.add(metadata.len()),
            // Replaced meanwhile, or none of ours.
            _ => {}
        }
    }
    Ok(sum)
}
