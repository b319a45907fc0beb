//! Checking images before a start: a stat sweep over their objects, full hashing of what it doubts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use hornero_model::Digest;
use rustix::fs::CWD;

use crate::{
    Damage, EntryKind, Result, Store, StoreError, Stored, manifest, metadata::MetadataIndex,
    objects::hash_reader, parallel, records::FileState,
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
    /// Metadata images that were missing or damaged and were made again from their layers.
    pub metadata_rebuilt: usize,
}

impl Store {
    /// Makes sure that every byte an instance of `image` could read is what the image says.
    ///
    /// Hashes only objects that changed, in whatever way, since they were last hashed in full.
    ///
    /// # Errors
    /// [`StoreError::DamagedObject`] names the object and a path that uses it.
    pub fn verify_for_start(&self, image: &Digest) -> Result<VerifyReport> {
        self.verify_all_for_start(&[*image])
    }

    /// As [`Store::verify_for_start`] for several images; objects they share are looked at once.
    pub fn verify_all_for_start(&self, images: &[Digest]) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        self.records().refresh()?;
        let mut wanted: Vec<(Stored, Digest)> = Vec::new();
        for image in images {
            let layers = self.image(image)?.layers;
            let index = self.verify_metadata(&layers, &mut report)?;
            wanted.extend(index.contents.into_iter().map(|stored| (stored, *image)));
        }
        if images.len() > 1 {
            wanted.sort_unstable_by_key(|(stored, _)| stored.digest);
            wanted.dedup_by_key(|(stored, _)| stored.digest);
        }
        report.objects = wanted.len();
        let doubted = self.sweep(&wanted)?;
        report.hashed = doubted.len();
        report.hashed_bytes = doubted.iter().map(|(stored, _)| stored.size).sum();
        self.hash_all(&doubted)?;
        Ok(report)
    }

    /// Those whose state is not the recorded one.
    fn sweep(&self, wanted: &[(Stored, Digest)]) -> Result<Vec<(Stored, Digest)>> {
        // Taken out of the lock once: the sweep's threads then only read.
        let recorded: Vec<Option<FileState>> = {
            let records = self.records();
            wanted.iter().map(|(stored, _)| records.get(&stored.digest).copied()).collect()
        };
        let doubted = Mutex::new(Vec::new());
        parallel::each(wanted, SWEEP_GRAIN, |index, (stored, image)| {
            let state = self.objects().state(&stored.digest)?;
            match state {
                None => return Err(self.damaged(stored, image, Damage::Missing)),
                Some(state) if state.size != stored.size => {
                    return Err(self.damaged(stored, image, Damage::Size));
                }
                Some(_) if state == recorded[index] => {}
                Some(_) => {
                    doubted.lock().unwrap_or_else(PoisonError::into_inner).push((*stored, *image))
                }
            }
            Ok(())
        })?;
        Ok(doubted.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn hash_all(&self, doubted: &[(Stored, Digest)]) -> Result<()> {
        let states = Mutex::new(Vec::with_capacity(doubted.len()));
        let hashed = parallel::each(doubted, 8, |_, (stored, image)| {
            let (state, found) = self.objects().hash(&stored.digest)?;
            if found != stored.digest {
                return Err(self.damaged(stored, image, Damage::Content));
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

    /// Checks the metadata image in the same way; it is derived, so damage is mended.
    fn verify_metadata(
        &self,
        layers: &[Digest],
        report: &mut VerifyReport,
    ) -> Result<MetadataIndex> {
        let index = self.metadata_index(layers)?;
        let path = self.metadata_path(&manifest::tree_key(layers));
        let state =
            FileState::at(CWD, &path).map_err(|errno| StoreError::io("stat", &path, errno))?;
        let recorded = self.records().get(&index.metadata).copied();
        if state.is_some() && state == recorded {
            return Ok(index);
        }
        let file =
            std::fs::File::open(&path).map_err(|error| StoreError::io("open", &path, error))?;
        let (found, size) =
            hash_reader(file, None).map_err(|error| StoreError::io("read", &path, error))?;
        if (found, size) == (index.metadata, index.metadata_size) {
            if let Some(state) = state {
                self.records().append(&[(index.metadata, state)])?;
            }
            return Ok(index);
        }
        report.metadata_rebuilt += 1;
        self.make_metadata(layers)
    }

    fn damaged(&self, stored: &Stored, image: &Digest, damage: Damage) -> StoreError {
        let path = self.tree(image).ok().and_then(|tree| {
            let uses = |kind: &EntryKind| matches!(kind, EntryKind::File { digest, .. } if *digest == stored.digest);
            tree.entries().iter().find(|entry| uses(&entry.kind)).map(|entry| entry.path.to_string())
        });
        StoreError::DamagedObject {
            object: stored.digest,
            image: *image,
            path: path.unwrap_or_else(|| "an unknown path".into()),
            damage,
        }
    }
}

/// Damage found by [`Store::fsck`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is damaged: `object`, `layer` or `image`.
    pub kind: &'static str,
    /// Its digest.
    pub digest: Digest,
    /// In which way.
    pub damage: Damage,
    /// Images that use it, each with one path for an object; `None` for the whole image.
    pub uses: Vec<(Digest, Option<String>)>,
}

impl Store {
    /// Hashes every object, layer and image anew, whatever is recorded, and names what is damaged.
    pub fn fsck(&self) -> Result<Vec<Finding>> {
        let _lease = self.lease()?;
        let mut findings = self.fsck_described()?;
        let objects = self.objects().list(|_| {})?;
        let damaged = Mutex::new(HashMap::new());
        let states = Mutex::new(Vec::new());
        parallel::each(&objects, 8, |_, digest| {
            let (state, found) = self.objects().hash(digest)?;
            if found != *digest {
                damaged
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(*digest, Damage::Content);
            } else if let Some(state) = state {
                states.lock().unwrap_or_else(PoisonError::into_inner).push((*digest, state));
            }
            Ok::<(), StoreError>(())
        })?;
        self.records().append(&states.into_inner().unwrap_or_else(PoisonError::into_inner))?;
        let mut uses: HashMap<Digest, Vec<(Digest, Option<String>)>> = HashMap::new();
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        for image in self.images()? {
            let Ok(tree) = self.tree(&image) else { continue };
            for entry in tree.entries() {
                let EntryKind::File { digest, .. } = entry.kind else { continue };
                if !self.has_object(&digest)? {
                    damaged.entry(digest).or_insert(Damage::Missing);
                }
                if damaged.contains_key(&digest) {
                    let of_digest = uses.entry(digest).or_default();
                    if of_digest.last().is_none_or(|(last, _)| *last != image) {
                        of_digest.push((image, Some(entry.path.to_string())));
                    }
                }
            }
        }
        let mut of_objects: Vec<Finding> = damaged
            .into_iter()
            .map(|(digest, damage)| {
                let uses = uses.remove(&digest).unwrap_or_default();
                Finding { kind: "object", digest, damage, uses }
            })
            .collect();
        of_objects.sort_by_key(|finding| finding.digest);
        findings.extend(of_objects);
        Ok(findings)
    }

    /// Damage among layers and image manifests.
    fn fsck_described(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for digest in self.layers()? {
            if self.layer(&digest).is_err() {
                findings.push(Finding {
                    kind: "layer",
                    digest,
                    damage: Damage::Content,
                    uses: Vec::new(),
                });
            }
        }
        for image in self.images()? {
            let Ok(manifest) = self.image(&image) else {
                let uses = vec![(image, None)];
                findings.push(Finding {
                    kind: "image",
                    digest: image,
                    damage: Damage::Content,
                    uses,
                });
                continue;
            };
            for layer in &manifest.layers {
                if let Some(finding) = findings.iter_mut().find(|finding| finding.digest == *layer)
                {
                    finding.uses.push((image, None));
                } else if !self.has_layer(layer) {
                    let uses = vec![(image, None)];
                    findings.push(Finding {
                        kind: "layer",
                        digest: *layer,
                        damage: Damage::Missing,
                        uses,
                    });
                }
            }
        }
        Ok(findings)
    }
}
