//! Pins: images that a person wants to keep whatever the rules say, as references `pin/HEX`.

use hornero_model::Digest;

use crate::{Result, Store, StoreError};

/// The directory of references that pins are.
pub(crate) const PIN: &str = "pin/";

impl Store {
    /// Keeps an image from being collected until it is unpinned, durably; says whether that is new.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when the image is not stored.
    pub fn pin(&self, image: &Digest) -> Result<bool> {
        let _lease = self.lease()?;
        if !self.has_image(image) {
            return Err(StoreError::Missing { kind: "image", digest: *image });
        }
        let name = name(image);
        if self.get_ref(&name)? == Some(*image) {
            return Ok(false);
        }
        self.set_ref(&name, image)?;
        Ok(true)
    }

    /// Takes a pin away, durably; says whether there was one.
    pub fn unpin(&self, image: &Digest) -> Result<bool> {
        self.remove_ref(&name(image))
    }

    /// The images that are pinned, sorted.
    pub fn pins(&self) -> Result<Vec<Digest>> {
        let mut pins: Vec<Digest> = self
            .refs()?
            .into_iter()
            .filter(|(name, _)| name.starts_with(PIN))
            .map(|(_, image)| image)
            .collect();
        pins.sort_unstable();
        pins.dedup();
        Ok(pins)
    }
}

fn name(image: &Digest) -> String {
    format!("{PIN}{}", image.hex())
}
