//! What is attached to an image of where it comes from, and kept with its topmost layer for images made on it.

use hornero_model::Digest;
use hornero_store::Store;

use crate::BakeError;

/// The attachment of an image that was baked or moved: its record.
pub(crate) const RECORD: &str = "bake";
/// The attachment of an image that was brought in from elsewhere.
pub(crate) const IMPORT: &str = "import";

/// Keeps what is known of an image with its topmost layer too, for images made from it: those keep the layer, but not
/// the image.
pub(crate) fn keep_for_children(store: &Store, image: &Digest) -> Result<(), BakeError> {
    let layers = store.image(image).map_err(BakeError::store)?.layers;
    let Some(top) = layers.last() else { return Ok(()) };
    for kind in [RECORD, IMPORT] {
        let Some(bytes) = store.attachment(image, kind).map_err(BakeError::store)? else {
            continue;
        };
        let kept_kind = kept_kind(kind, image);
        // What is there may have come with any image that has the layer, and one that can't be read is none.
        let kept = store.attachment(top, &kept_kind);
        if !matches!(kept, Ok(Some(kept)) if kept == bytes) {
            store.attach(top, &kept_kind, &bytes).map_err(BakeError::store)?;
        }
    }
    Ok(())
}

/// Half a digest tells the images on one layer apart, and fits a file name with room to spare.
pub(crate) fn kept_kind(kind: &str, image: &Digest) -> String {
    format!("{kind}.{}", &image.hex()[..32])
}
