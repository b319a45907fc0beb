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
        match self.get_ref(&name) {
            Ok(led) if led == Some(*image) => return Ok(false),
            Ok(_) | Err(StoreError::DamagedRef { .. }) => {}
            Err(error) => return Err(error),
        }
        self.set_ref(&name, image)?;
        Ok(true)
    }

    /// Takes a pin away, durably; says whether there was one.
    pub fn unpin(&self, image: &Digest) -> Result<bool> {
        self.remove_ref(&name(image))
    }
}

/// The image that a pin is of, by its name alone; none for other references.
pub(crate) fn image_of(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix(PIN)?).ok()
}

fn name(image: &Digest) -> String {
    format!("{PIN}{}", image.hex())
}
