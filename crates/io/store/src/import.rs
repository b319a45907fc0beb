//! Taking in what comes with its digest from elsewhere: checked first, refused when it is something else.

use std::io::Read;

use hornero_model::Digest;

use crate::{
    ImageManifest, Ingest, LAYER_BYTES_MAX, Layer, MANIFEST_BYTES_MAX, Result, Store, StoreError,
    Stored, graph::is_damage,
};

impl Ingest<'_> {
    /// Takes a content that is to have this digest and size; reads no more than that.
    ///
    /// `name` says in errors what is read.
    ///
    /// # Errors
    /// [`StoreError::OtherContent`] when it is something else; of such nothing is stored.
    pub fn put_expected(&self, expected: Stored, name: &str, reader: impl Read) -> Result<()> {
        let reader = reader.take(expected.size.saturating_add(1));
        self.put_checked(name, reader, Some(expected)).map(drop)
    }

    /// Takes a layer by its canonical bytes; all its contents have to be stored or in this batch.
    ///
    /// # Errors
    /// [`StoreError::OtherContent`] for other bytes, [`StoreError::Layer`] for bytes that are no layer,
    /// [`StoreError::Damaged`] when a content is not there.
    pub fn put_layer_bytes(&self, expected: &Digest, bytes: &[u8]) -> Result<Layer> {
        let layer = decode_layer(expected, bytes)?;
        self.put_layer(&layer)?;
        Ok(layer)
    }
}

impl Store {
    /// Stores an image durably by its canonical bytes; all its layers have to be stored.
    ///
    /// # Errors
    /// [`StoreError::OtherContent`] for other bytes, [`StoreError::BadManifest`] for bytes that are no manifest,
    /// [`StoreError::Missing`] when a layer is not there.
    pub fn put_image_bytes(&self, expected: &Digest, bytes: &[u8]) -> Result<ImageManifest> {
        let image = decode_image(expected, bytes)?;
        self.put_image(&image)?;
        Ok(image)
    }

    /// The canonical bytes of an image's manifest, checked against its digest.
    pub fn image_bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_checked("image", digest, &self.image_path(digest), MANIFEST_BYTES_MAX)
    }

    /// The contents among `wanted` that are not stored, or damaged; sorted, equal ones once.
    pub fn missing_contents(&self, mut wanted: Vec<Stored>) -> Result<Vec<Stored>> {
        self.records().refresh()?;
        wanted.sort_unstable_by_key(|stored| stored.digest);
        wanted.dedup();
        let mut missing = Vec::new();
        for stored in wanted {
            // Mostly answered by one stat(2) each; only what changed since it was hashed is read.
            match self.are_contents_whole(&[stored]) {
                Ok(true) => {}
                Ok(false) => missing.push(stored),
                Err(error) if is_damage(&error) => missing.push(stored),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }
}

/// Layer bytes that have this digest.
pub(crate) fn decode_layer(expected: &Digest, bytes: &[u8]) -> Result<Layer> {
    check("layer", expected, bytes, LAYER_BYTES_MAX)?;
    let layer = Layer::decode(bytes)
        .map_err(|source| StoreError::Layer { name: expected.to_string(), source })?;
    debug_assert_eq!(layer.digest(), *expected);
    Ok(layer)
}

/// A manifest that has this digest, whose canonical bytes it is.
pub(crate) fn decode_image(expected: &Digest, bytes: &[u8]) -> Result<ImageManifest> {
    check("image manifest", expected, bytes, MANIFEST_BYTES_MAX)?;
    let refused = |reason| StoreError::BadManifest { digest: *expected, reason };
    let image = ImageManifest::decode(bytes).map_err(refused)?;
    match image.encode() == bytes {
        true => Ok(image),
        false => Err(refused("its bytes are not canonical".to_owned())),
    }
}

fn check(kind: &str, expected: &Digest, bytes: &[u8], max_bytes: u64) -> Result<()> {
    let name = || format!("{kind} `{expected}`");
    if bytes.len() as u64 > max_bytes {
        return Err(StoreError::TooLarge { name: name(), limit_bytes: max_bytes });
    }
    let found = Digest::of(bytes);
    match found == *expected {
        true => Ok(()),
        false => Err(StoreError::OtherContent { name: name(), expected: *expected, found }),
    }
}

/// What `found` should have been.
pub(crate) fn other_content(name: &str, expected: Stored, found: Stored) -> StoreError {
    if found.size > expected.size {
        return StoreError::TooLarge { name: name.to_owned(), limit_bytes: expected.size };
    }
    StoreError::OtherContent {
        name: name.to_owned(),
        expected: expected.digest,
        found: found.digest,
    }
}
