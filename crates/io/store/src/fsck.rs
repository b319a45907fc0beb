//! Hashing everything anew, and naming what is damaged and who uses it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use hornero_model::Digest;

use crate::{Damage, EntryKind, Result, Store, StoreError, parallel};

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
