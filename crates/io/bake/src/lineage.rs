//! The line of images that one is made from, with the record of each: also of those that are no longer there.

use std::{collections::BTreeSet, ops::Range};

use hornero_model::{Digest, ImageName};
use hornero_store::Store;
use serde::Deserialize;

use crate::{
    BakeError,
    kept::{self, IMPORT, kept_kind},
    record::{BakeRecord, KnownRecord},
    source::LayerSource,
};

/// An image is made on a handful of others; each of a longer line costs a record to read.
const STAGES_MAX: usize = 64;
/// The records of a line in all, encoded: two of the largest that can be stored.
const LINE_BYTES_MAX: usize = 128 << 20;
/// Images whose records lead to one another by moves: decades of a patch every day.
const MOVES_MAX: usize = 16_384;

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
    /// It was baked or moved, and has a record.
    Record(Recorded),
    /// It was brought in from here.
    Import(String),
    /// Nothing, for this reason.
    Nothing(String),
}

/// What a record says of an image, without what it was made with.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Its name.
    pub name: ImageName,
    /// What it was made on.
    pub parent: Option<Digest>,
    /// The image whose layers were moved, for one that came of a move.
    pub moved: Option<Digest>,
    /// Its own layers, from the bottom up.
    pub layers: Vec<Digest>,
    /// Where each of them comes from; None for what nobody knows.
    pub sources: Vec<Option<LayerSource>>,
    /// Whether this home wrote the record.
    pub is_own: bool,
}

impl Recorded {
    fn of(known: KnownRecord) -> Self {
        let KnownRecord { record, is_own, .. } = known;
        let (mut layers, mut sources) = (Vec::new(), Vec::new());
        for step in record.steps {
            let count = step.layers.len();
            let missing = count.saturating_sub(step.sources.len());
            sources.extend(step.sources.into_iter().take(count).map(Some));
            sources.extend(std::iter::repeat_n(None, missing));
            layers.extend(step.layers);
        }
        let moved = record.moved.map(|moved| moved.image);
        Self { name: record.name, parent: record.parent, moved, layers, sources, is_own }
    }
}

impl Stage {
    /// Where each of its layers comes from, from the bottom up; None for what nobody knows.
    pub(crate) fn sources(&self) -> Vec<Option<LayerSource>> {
        match &self.known {
            Known::Record(record) => record.sources.clone(),
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
    let mut stages: Vec<Stage> = Vec::new();
    let mut end = layers.len();
    let mut at = Some(*image);
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    while let Some(image) = at.take() {
        let short = image.short();
        let mut nothing = |reason: String, end: &mut usize| {
            let layers = 0..std::mem::take(end);
            stages.push(Stage { image, layers, known: Known::Nothing(reason) });
        };
        if !seen.insert(image) {
            nothing(format!("by its records image `{short}` is made from itself"), &mut end);
            break;
        }
        if seen.len() > STAGES_MAX {
            nothing(format!("more than {STAGES_MAX} images are above image `{short}`"), &mut end);
            break;
        }
        let (known, len) = known(store, &image, &layers[..end])?;
        bytes += len;
        if bytes > LINE_BYTES_MAX {
            let reason = format!(
                "the records down to image `{short}` are over {} MiB",
                LINE_BYTES_MAX >> 20
            );
            nothing(reason, &mut end);
            break;
        }
        let mut begin = 0;
        if let Known::Record(record) = &known {
            if !layers[..end].ends_with(&record.layers) {
                nothing(format!("the record of image `{short}` does not fit its layers"), &mut end);
                break;
            }
            begin = end - record.layers.len();
            at = record.parent;
        }
        stages.push(Stage { image, layers: begin..end, known });
        end = begin;
    }
    if end > 0 {
        let image = *image;
        let reason =
            format!("the record of image `{}` does not tell of all its layers", image.short());
        stages.push(Stage { image, layers: 0..end, known: Known::Nothing(reason) });
    }
    Ok(stages)
}

/// What is known of an image with these layers, and the size of its record.
fn known(store: &Store, image: &Digest, layers: &[Digest]) -> Result<(Known, usize), BakeError> {
    if let Some(known) = BakeRecord::known(store, image)? {
        let len = known.len;
        return Ok((Known::Record(Recorded::of(known)), len));
    }
    let read =
        |subject: &Digest, kind: &str| store.attachment(subject, kind).map_err(BakeError::store);
    if let Some(bytes) = read(image, IMPORT)? {
        return Ok((Known::Import(import_text(&bytes)), 0));
    }
    if let Some(known) = kept_record(store, image, layers)? {
        let len = known.len;
        return Ok((Known::Record(Recorded::of(known)), len));
    }
    if let Some(top) = layers.last()
        && let Some(bytes) = read(top, &kept_kind(IMPORT, image))?
    {
        return Ok((Known::Import(import_text(&bytes)), 0));
    }
    let short = image.short();
    Ok((Known::Nothing(format!("image `{short}` has no record of its bake or import")), 0))
}

/// The record that is kept of an image with its topmost layer.
fn kept_record(
    store: &Store,
    image: &Digest,
    layers: &[Digest],
) -> Result<Option<KnownRecord>, BakeError> {
    let Some(top) = layers.last() else { return Ok(None) };
    let kind = kept_kind(kept::RECORD, image);
    match store.attachment(top, &kind).map_err(BakeError::store)? {
        Some(bytes) => BakeRecord::read(store, image, &bytes),
        None => Ok(None),
    }
}

/// The whole record of an image with these layers, which may no longer be there itself.
pub(crate) fn record(
    store: &Store,
    image: &Digest,
    layers: &[Digest],
) -> Result<Option<KnownRecord>, BakeError> {
    match BakeRecord::known(store, image)? {
        Some(known) => Ok(Some(known)),
        None => kept_record(store, image, layers),
    }
}

/// The images that [`reproduce`](crate::reproduce()) would make again as a record says that this home did not write:
/// whoever sends an image may send any record with it.
pub fn recorded_elsewhere(store: &Store, image: &Digest) -> Result<BTreeSet<Digest>, BakeError> {
    let mut waiting = vec![*image];
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    while let Some(image) = waiting.pop() {
        // What is gone is not made again, and told of then.
        if !seen.insert(image) || !store.has_image(&image) {
            continue;
        }
        if seen.len() > MOVES_MAX {
            let reason = format!("it came of more than {MOVES_MAX} moves");
            return Err(BakeError::NotReproducible { image, reason });
        }
        let layers = store.image(&image).map_err(BakeError::store)?.layers;
        for stage in of(store, &image, &layers)? {
            if let Known::Record(record) = stage.known {
                if !record.is_own {
                    found.insert(stage.image);
                }
                waiting.extend(record.moved);
            }
        }
    }
    Ok(found)
}

/// Where an import came from, for people.
fn import_text(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Import {
        from: String,
    }
    serde_json::from_slice::<Import>(bytes).map_or_else(|_| "elsewhere".to_owned(), |one| one.from)
}
