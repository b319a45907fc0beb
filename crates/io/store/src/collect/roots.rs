//! What keeps images: names and pins of the store, and what the caller says; and the answer to why.

use std::{cmp::Reverse, collections::BTreeMap};

use hornero_model::Digest;

use super::report::{Protection, Reason, Root};
use crate::{Result, Store, pins::PIN};

/// All reasons of every image that has one, the firmest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) images: BTreeMap<Digest, Vec<Reason>>,
    pub(super) missing: Vec<Root>,
    /// Layers that a reference leads to.
    pub(super) layers: Vec<Digest>,
}

impl Kept {
    pub(super) fn new(store: &Store, roots: Vec<Root>) -> Result<Self> {
        let mut kept = Self::default();
        for root in roots {
            match store.has_image(&root.image) {
                true => kept.add(root.image, root.protection, root.reason),
                false => kept.missing.push(root),
            }
        }
        for (name, image) in store.refs()? {
            let reason = match name.starts_with(PIN) {
                true => "it is pinned".to_owned(),
                false => format!("the name `{name}` leads to it"),
            };
            let protection = Protection::Always;
            if store.has_image(&image) {
                kept.add(image, protection, reason);
            } else if store.has_layer(&image) {
                kept.layers.push(image);
            } else {
                // Nothing deletes what a reference leads to, so it was lost.
                kept.missing.push(Root { image, reason, protection });
            }
        }
        for reasons in kept.images.values_mut() {
            reasons.sort_by_key(|reason| Reverse(reason.protection));
            reasons.dedup();
        }
        Ok(kept)
    }

    fn add(&mut self, image: Digest, protection: Protection, text: String) {
        self.images.entry(image).or_default().push(Reason { protection, text });
    }

    /// Images that nothing may delete.
    pub(super) fn always(&self) -> Vec<Digest> {
        self.by(|protection| protection == Protection::Always)
    }

    /// Images that only rules keep, the most recent first.
    pub(super) fn by_rule(&self) -> Vec<Digest> {
        let mut images = self.by(|protection| protection != Protection::Always);
        // Stable: equally recent ones stay in the order of their digests.
        images.sort_by_key(|image| Reverse(self.images[image][0].protection));
        images
    }

    fn by(&self, wanted: impl Fn(Protection) -> bool) -> Vec<Digest> {
        let firmest = self.images.iter().filter(|(_, reasons)| wanted(reasons[0].protection));
        firmest.map(|(image, _)| *image).collect()
    }
}

impl Store {
    /// Why collecting would keep an image, or a layer (then the reasons of the images that have it); the
    /// firmest first. Empty when nothing keeps it. A ceiling may still take what only rules keep.
    ///
    /// # Errors
    /// [`StoreError::Missing`](crate::StoreError::Missing) when neither such an image nor such a layer is stored.
    pub fn why_kept(&self, digest: &Digest, roots: Vec<Root>) -> Result<Vec<Reason>> {
        let kept = Kept::new(self, roots)?;
        if self.has_image(digest) {
            return Ok(kept.images.get(digest).cloned().unwrap_or_default());
        }
        if !self.has_layer(digest) {
            return Err(crate::StoreError::Missing { kind: "image", digest: *digest });
        }
        let mut reasons = Vec::new();
        if kept.layers.contains(digest) {
            let text = "a name leads to it".to_owned();
            reasons.push(Reason { protection: Protection::Always, text });
        }
        for (image, of_image) in &kept.images {
            if self.image(image).is_ok_and(|manifest| manifest.layers.contains(digest)) {
                reasons.extend(of_image.iter().map(|reason| Reason {
                    protection: reason.protection,
                    text: format!("image `{image}` has it: {}", reason.text),
                }));
            }
        }
        reasons.sort_by_key(|reason| Reverse(reason.protection));
        Ok(reasons)
    }
}
