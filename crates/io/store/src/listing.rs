//! What is in the store, for people: images, the references to them, their sizes.

use std::collections::HashMap;

use hornero_model::Digest;

use crate::{Result, Store};

/// One image and the room it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Its digest.
    pub digest: Digest,
    /// References that lead to it, sorted.
    pub refs: Vec<String>,
    /// Number of layers.
    pub layers: usize,
    /// Number of files, directories and the like.
    pub entries: usize,
    /// Bytes of its distinct contents.
    pub total_bytes: u64,
    /// Of those, bytes that another image uses as well.
    pub shared_bytes: u64,
}

impl ImageSummary {
    /// Bytes that no other image uses.
    pub fn unique_bytes(&self) -> u64 {
        self.total_bytes - self.shared_bytes
    }
}

/// How much room all images take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUse {
    /// Distinct contents that images use.
    pub objects: usize,
    /// Bytes of those: what the images take on disk.
    pub stored_bytes: u64,
    /// Bytes they would take if each image had its own copy.
    pub separate_bytes: u64,
    /// Bytes that two or more images share, each counted once.
    pub shared_bytes: u64,
}

impl Store {
    /// All images, sorted by digest, each with its references and sizes.
    pub fn list_images(&self) -> Result<Vec<ImageSummary>> {
        Ok(self.image_use()?.0)
    }

    /// Images with their sizes, and the sizes of all together.
    pub fn image_use(&self) -> Result<(Vec<ImageSummary>, DiskUse)> {
        let refs = self.refs()?;
        let mut users: HashMap<Digest, (u64, u32)> = HashMap::new();
        let mut images = Vec::new();
        for digest in self.images()? {
            let layers = self.image(&digest)?.layers;
            let contents = self.metadata_index(&layers)?.contents;
            for stored in &contents {
                users.entry(stored.digest).or_insert((stored.size, 0)).1 += 1;
            }
            let refs = refs.iter().filter(|(_, target)| *target == digest);
            let summary = ImageSummary {
                digest,
                refs: refs.map(|(name, _)| name.clone()).collect(),
                layers: layers.len(),
                entries: self.tree_of_layers(&layers)?.entries().len(),
                total_bytes: contents.iter().map(|stored| stored.size).sum(),
                shared_bytes: 0,
            };
            images.push((summary, contents));
        }
        let mut all = DiskUse { objects: users.len(), ..DiskUse::default() };
        for (size, count) in users.values() {
            all.stored_bytes += size;
            all.separate_bytes += size * u64::from(*count);
            all.shared_bytes += if *count > 1 { *size } else { 0 };
        }
        let summaries = images.into_iter().map(|(mut summary, contents)| {
            let shared = contents.iter().filter(|stored| users[&stored.digest].1 > 1);
            summary.shared_bytes = shared.map(|stored| stored.size).sum();
            summary
        });
        Ok((summaries.collect(), all))
    }
}
