//! Hashing everything anew, and naming what is damaged and who uses it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use hornero_model::Digest;

use crate::{
    Damage, Result, Store, StoreError, TreePath, files::is_plain_file, graph::is_damage, parallel,
};

/// Damage found by [`Store::fsck`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is damaged: `object`, `layer`, `image`, `reference` or `attachment`.
    pub kind: &'static str,
    /// Its digest; of an attachment, of what it is about; of a reference, of its name.
    pub digest: Digest,
    /// In which way.
    pub damage: Damage,
    /// Images that use it, each with one path for an object; `None` for the whole image. For an attachment, what it
    /// is about and its kind; for a reference, the same digest and its name.
    pub uses: Vec<(Digest, Option<String>)>,
    /// Layers that have an object.
    pub layers: Vec<Digest>,
    /// Size in bytes that an object should have, by the layers that have it.
    pub size: Option<u64>,
}

impl Finding {
    fn described(kind: &'static str, digest: Digest, damage: Damage) -> Self {
        Self { kind, digest, damage, uses: Vec::new(), layers: Vec::new(), size: None }
    }
}

impl Store {
    /// Hashes every object, layer, image and attachment anew, whatever is recorded, and names what is damaged, with
    /// the references that lead nowhere.
    ///
    /// What others store meanwhile is no damage; nobody deletes meanwhile.
    pub fn fsck(&self) -> Result<Vec<Finding>> {
        let _lease = self.lease_to_read()?;
        let mut findings = self.fsck_described()?;
        findings.extend(self.fsck_attachments()?);
        findings.extend(self.fsck_objects()?);
        Ok(findings)
    }

    /// Damage among layers, image manifests and references.
    pub(crate) fn fsck_described(&self) -> Result<Vec<Finding>> {
        let mut findings: BTreeMap<(&str, Digest), Finding> = BTreeMap::new();
        let mut find = |kind, digest, damage| {
            let made = || Finding::described(kind, digest, damage);
            findings.entry((kind, digest)).or_insert_with(made);
        };
        let mut uses = Vec::new();
        for layer in self.layers()? {
            if let Some(damage) = damage_of(self.layer(&layer))? {
                find("layer", layer, damage);
            }
        }
        for image in self.images()? {
            let manifest = self.image(&image);
            if let Ok(manifest) = &manifest {
                for layer in &manifest.layers {
                    if !self.has_layer(layer) {
                        find("layer", *layer, Damage::Missing);
                    }
                    uses.push((*layer, image));
                }
            } else if let Some(damage) = damage_of(manifest)? {
                find("image", image, damage);
                uses.push((image, image));
            }
        }
        let listing = self.ref_listing()?;
        for (_, digest) in listing.refs {
            if !self.has_image(&digest) && !self.has_layer(&digest) {
                find("image", digest, Damage::Missing);
                uses.push((digest, digest));
            }
        }
        let mut findings: Vec<Finding> = findings.into_values().collect();
        for finding in &mut findings {
            let users = uses.iter().filter(|(used, _)| *used == finding.digest);
            finding.uses = users.map(|(_, image)| (*image, None)).collect();
            finding.uses.sort();
            finding.uses.dedup();
        }
        // Last: to mend a pin its image has to be there.
        findings.extend(listing.damaged.into_iter().map(|name| {
            let digest = Digest::of(name.as_bytes());
            let uses = vec![(digest, Some(name))];
            Finding { uses, ..Finding::described("reference", digest, Damage::NoDigest) }
        }));
        Ok(findings)
    }

    fn fsck_attachments(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut find = |subject, kind, damage| {
            let uses = vec![(subject, kind)];
            findings.push(Finding { uses, ..Finding::described("attachment", subject, damage) });
        };
        for subject in self.attached_subjects()? {
            if self.is_attachments_place_taken(&subject) {
                find(subject, None, Damage::NotADirectory);
                continue;
            }
            for kind in self.attachments(&subject)? {
                match self.attachment(&subject, &kind) {
                    Ok(_) => {}
                    Err(StoreError::DamagedAttachment { .. }) => {
                        let damage = match is_plain_file(&self.attachment_path(&subject, &kind)) {
                            true => Damage::Content,
                            false => Damage::NotAFile,
                        };
                        find(subject, Some(kind), damage);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(findings)
    }

    fn fsck_objects(&self) -> Result<Vec<Finding>> {
        // Contents are stored before the layers that have them, and those before their images: what is described
        // now is there when the objects are listed, however much is stored meanwhile.
        let mut images_of: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for image in self.images()? {
            // One that can't be read was named above.
            let Ok(manifest) = self.image(&image) else { continue };
            manifest
                .layers
                .iter()
                .for_each(|layer| images_of.entry(*layer).or_default().push(image));
        }
        let layers = self.layers()?;
        let objects = self.objects().list(|_| {})?;
        let mut damaged = self.hash_anew(&objects)?;
        let present: HashSet<Digest> = objects.into_iter().collect();
        for layer in layers {
            let images = images_of.remove(&layer).unwrap_or_default();
            let scanned = self.scan_layer(&layer, |path, digest, size| {
                if !present.contains(&digest) {
                    let missing = || Finding::described("object", digest, Damage::Missing);
                    damaged.entry(digest).or_insert_with(missing);
                }
                let Some(finding) = damaged.get_mut(&digest) else { return };
                finding.size = Some(size);
                if finding.layers.last() != Some(&layer) {
                    finding.layers.push(layer);
                }
                for image in &images {
                    if !finding.uses.iter().any(|(known, _)| known == image) {
                        let path = TreePath::new(path).map(|path| path.to_string());
                        finding.uses.push((*image, path.ok()));
                    }
                }
            });
            match scanned {
                Err(error) if !is_damage(&error) => return Err(error),
                _ => {}
            }
        }
        // What is being mended may be away for a moment; what no layer has is not missed.
        let is_there = |digest: &Digest| matches!(self.objects().state(digest), Ok(Some(_)));
        damaged.retain(|digest, finding| {
            finding.damage != Damage::Missing || (finding.size.is_some() && !is_there(digest))
        });
        let mut findings: Vec<Finding> = damaged.into_values().collect();
        findings.sort_by_key(|finding| finding.digest);
        findings.iter_mut().for_each(|finding| finding.uses.sort());
        Ok(findings)
    }

    /// Hashes objects; gives those that are damaged, and sees to it that nobody trusts them any more.
    fn hash_anew(&self, objects: &[Digest]) -> Result<HashMap<Digest, Finding>> {
        let damaged = Mutex::new(HashMap::new());
        let states = Mutex::new(Vec::new());
        parallel::each(objects, 8, |_, digest| {
            let damage = match self.objects().hash(digest, || ()) {
                Ok((state, found)) if found == *digest => {
                    if let Some(state) = state {
                        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
                        states.push((*digest, state));
                    }
                    return Ok(());
                }
                Ok(_) => Damage::Content,
                Err(StoreError::Damaged { damage, .. }) => damage,
                Err(StoreError::Missing { .. }) => Damage::Missing,
                Err(error) => return Err(error),
            };
            let finding = Finding::described("object", *digest, damage);
            damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest, finding);
            Ok::<(), StoreError>(())
        })?;
        // What can't be recorded, as on a full disk, is hashed again: no reason to name no damage.
        let _ = self.records().append(&states.into_inner().unwrap_or_else(PoisonError::into_inner));
        let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !damaged.is_empty() {
            // Bytes may rot without a trace in stat(2), so that the record would still call them good.
            let mut records = self.records();
            let forgotten = records.retain(|digest| !damaged.contains_key(digest)).map(drop);
            // Where there is no room for the rest of the record, all of it goes.
            forgotten.or_else(|_| records.give_up())?;
        }
        Ok(damaged)
    }
}

/// The damage that an error tells of; none when all is well.
fn damage_of<T>(read: Result<T>) -> Result<Option<Damage>> {
    match read {
        Ok(_) => Ok(None),
        Err(StoreError::Damaged { damage, .. }) => Ok(Some(damage)),
        Err(StoreError::Missing { .. }) => Ok(Some(Damage::Missing)),
        Err(error) if is_damage(&error) => Ok(Some(Damage::Content)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    #[test]
    fn what_rots_without_a_trace_is_trusted_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let stored = store.put_object(&b"hello"[..]).unwrap();
        let path = store.objects().path(&stored.digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hellO").unwrap();
        // As if the record were of these bytes: what the disk itself does to them changes no time stamp.
        let begun = Instant::now();
        while store.records().get(&stored.digest).is_none() {
            assert!(begun.elapsed().as_secs() < 20, "the change settles");
            let state = store.objects().state(&stored.digest).unwrap().unwrap();
            store.records().append(&[(stored.digest, state)]).unwrap();
        }
        assert!(store.is_content_whole(stored).unwrap(), "nothing shows it");
        assert_eq!(store.fsck().unwrap()[0].damage, Damage::Content);
        assert!(!store.is_content_whole(stored).unwrap());
        store.put_object(&b"hello"[..]).unwrap();
        assert!(store.is_content_whole(stored).unwrap());
        assert_eq!(store.fsck().unwrap(), []);
    }
}
