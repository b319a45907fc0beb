//! Taking in what comes with its digest from elsewhere: checked first, refused when it is something else.

use std::io::Read;

use hornero_model::Digest;

use crate::{
    ImageManifest, Ingest, LAYER_BYTES_MAX, Layer, MANIFEST_BYTES_MAX, Result, StoreError, Stored,
};

impl Ingest<'_> {
    /// Takes a content that is to have this digest and size; reads no more than that.
    ///
    /// `name` says in errors what is read.
    ///
    /// # Errors
    /// [`StoreError::OtherContent`] when it is something else; of such nothing is stored.
    pub(crate) fn put_expected(
        &self,
        expected: Stored,
        name: &str,
        reader: impl Read,
    ) -> Result<()> {
        let reader = reader.take(expected.size.saturating_add(1));
        self.put_checked(name, reader, Some(expected)).map(drop)
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
