//! The line of images that one is made from, with the record of each: also of those that are no longer there.

use std::ops::Range;

use hornero_model::Digest;
use hornero_store::Store;
use serde::Deserialize;

use crate::{BakeError, record::BakeRecord, source::LayerSource};

/// The attachment of an image that was brought in from elsewhere.
const IMPORT: &str = "import";
/// Longer lines than this are loops: an image has at most a few hundred layers.
const STAGES_MAX: usize = 4096;

/// One image of the line.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The image.
    pub image: Digest,
    /// Which of the last image's layers are its own.
    pub layers: Range<usize>,
    /// What is known of it.
    pub known: Known,
}

/// What is known of an image.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// It was baked or moved, and this is the record.
    Record(Box<BakeRecord>),
    /// It was brought in from here.
    Import(String),
    /// Nothing, for this reason.
    Nothing(String),
}

impl Stage {
    /// Where each of its layers comes from, from the bottom up; None for what nobody knows.
    pub(crate) fn sources(&self) -> Vec<Option<LayerSource>> {
        match &self.known {
            Known::Record(record) => {
                let of_step = |step: &crate::record::StepRecord| {
                    let missing = step.layers.len().saturating_sub(step.sources.len());
                    let known: Vec<_> =
                        step.sources.iter().take(step.layers.len()).cloned().map(Some).collect();
                    known.into_iter().chain(std::iter::repeat_n(None, missing))
                };
                record.steps.iter().flat_map(of_step).collect()
            }
            Known::Import(from) => self
                .layers
                .clone()
                .map(|_| Some(LayerSource::Imported { from: from.clone() }))
                .collect(),
            Known::Nothing(_) => vec![None; self.layers.len()],
        }
    }
}

/// The line of an image with these layers, itself first.
pub(crate) fn of(
    store: &Store,
    image: &Digest,
    layers: &[Digest],
) -> Result<Vec<Stage>, BakeError> {
    let mut stages = Vec::new();
    let mut end = layers.len();
    let mut at = Some(*image);
    while let Some(image) = at.take() {
        let mut stage =
            Stage { image, layers: 0..end, known: known(store, &image, &layers[..end])? };
        if let Known::Record(record) = &stage.known {
            let own: Vec<Digest> =
                record.steps.iter().flat_map(|step| step.layers.iter().copied()).collect();
            if !layers[..end].ends_with(&own) || stages.len() > STAGES_MAX {
                let reason =
                    format!("the record of image `{}` does not fit its layers", image.short());
                stage.known = Known::Nothing(reason);
            } else {
                let begin = end - own.len();
                (stage.layers, at) = (begin..end, record.parent);
                end = begin;
            }
        } else {
            end = 0;
        }
        stages.push(stage);
    }
    if end > 0 {
        let image = *image;
        let reason =
            format!("the record of image `{}` does not tell of all its layers", image.short());
        stages.push(Stage { image, layers: 0..end, known: Known::Nothing(reason) });
    }
    Ok(stages)
}

fn known(store: &Store, image: &Digest, layers: &[Digest]) -> Result<Known, BakeError> {
    if let Some(record) = BakeRecord::of(store, image)? {
        return Ok(Known::Record(Box::new(record)));
    }
    let read =
        |subject: &Digest, kind: &str| store.attachment(subject, kind).map_err(BakeError::store);
    if let Some(bytes) = read(image, IMPORT)? {
        return Ok(Known::Import(import_text(&bytes)));
    }
    if let Some(top) = layers.last() {
        let record = read(top, &kept_kind(BakeRecord::ATTACHMENT, image))?;
        if let Some(record) = record.and_then(|bytes| BakeRecord::parse(&bytes, image)) {
            return Ok(Known::Record(Box::new(record)));
        }
        if let Some(bytes) = read(top, &kept_kind(IMPORT, image))? {
            return Ok(Known::Import(import_text(&bytes)));
        }
    }
    let short = image.short();
    Ok(Known::Nothing(format!("image `{short}` has no record of its bake or import")))
}

/// Where an import came from, for people.
fn import_text(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Import {
        from: String,
    }
    serde_json::from_slice::<Import>(bytes).map_or_else(|_| "elsewhere".to_owned(), |one| one.from)
}

/// Keeps what is known of an image with its topmost layer too, for images made from it: those keep the layer, but not
/// the image.
pub(crate) fn keep_for_children(store: &Store, image: &Digest) -> Result<(), BakeError> {
    let layers = store.image(image).map_err(BakeError::store)?.layers;
    let Some(top) = layers.last() else { return Ok(()) };
    let kept = store.attachments(top).map_err(BakeError::store)?;
    for kind in [BakeRecord::ATTACHMENT, IMPORT] {
        let kept_kind = kept_kind(kind, image);
        if kept.contains(&kept_kind) {
            continue;
        }
        if let Some(bytes) = store.attachment(image, kind).map_err(BakeError::store)? {
            store.attach(top, &kept_kind, &bytes).map_err(BakeError::store)?;
        }
    }
    Ok(())
}

/// Half a digest tells the images on one layer apart, and fits a file name with room to spare.
fn kept_kind(kind: &str, image: &Digest) -> String {
    format!("{kind}.{}", &image.hex()[..32])
}
