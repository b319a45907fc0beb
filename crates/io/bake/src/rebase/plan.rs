//! What moving one image would write, before anything is written.

use std::sync::Arc;

use hornero_model::Digest;
use hornero_rebase::{LayerFacts, NewStatus, OwnLayer, RebaseRefusal};
use hornero_store::{EntryKind, ImageManifest, Ingest, Layer, Store, StoreError, Stored, TreePath};

use super::seed;
use crate::{
    BakeError, RebaseError,
    outcome::StepOutcome,
    record::{BakeRecord, Moved},
    source::LayerSource,
};

/// One image about to be moved.
pub(super) struct Plan {
    /// The image as it is.
    pub from: Digest,
    /// Its manifest as it is.
    pub manifest: ImageManifest,
    /// Its record as it is.
    pub record: BakeRecord,
    /// Whether this home wrote that record.
    pub is_own: bool,
    /// Its own layers.
    pub own: Vec<Arc<OwnLayer>>,
    /// What its own layers' statuses become.
    pub statuses: Vec<NewStatus>,
    /// Why it would be refused.
    pub refusals: Vec<RebaseRefusal>,
    /// What this home's cache says of its steps as they are.
    pub vouched: Vec<StepOutcome>,
}

/// An image that was moved, its layers on their way into the store.
pub(super) struct Made {
    pub manifest: ImageManifest,
    pub record: BakeRecord,
    /// Whether this home wrote the record that it follows from.
    pub is_own: bool,
    /// Facts of layers that were written.
    pub facts: Vec<(Digest, LayerFacts)>,
    /// What the cache is to say of its steps on the new base; nothing where the proof refused.
    pub vouched: Vec<StepOutcome>,
}

impl Plan {
    /// Writes the layers whose status changes; `base` is the new base with its layers.
    pub fn make(
        self,
        store: &Store,
        ingest: &Ingest<'_>,
        base: (&Digest, &[Digest]),
        forced: bool,
    ) -> Result<Made, RebaseError> {
        let (base, below) = base;
        let locked = self.record.locked.as_ref();
        let epoch = seed::epoch_on(store, base, locked)?;
        let mut own: Vec<Digest> = self.own.iter().map(|own| own.layer().digest).collect();
        let mut facts = Vec::with_capacity(self.statuses.len());
        for status in self.statuses {
            let old = self.own[status.layer].layer();
            let text = ingest.put_bytes(status.text.as_bytes())?;
            let layer = with_status(store, &old.digest, text, epoch)?;
            let digest = ingest.put_layer(&layer)?;
            // The entries stay in place, and with them the numbers that facts name them by.
            let mut changed = old.facts().clone();
            changed.status = Some(status.change);
            facts.push((digest, changed));
            own[status.layer] = digest;
        }
        let layers = [below, &own].concat();
        let manifest = ImageManifest { layers, ..self.manifest };
        let mut record = self.record;
        let mut rest = own.iter();
        for step in &mut record.steps {
            for layer in &mut step.layers {
                if let Some(digest) = rest.next() {
                    *layer = *digest;
                }
            }
        }
        let locked = record.locked.clone();
        seed::key_steps(&mut record.steps, below, epoch, locked.as_ref());
        record.image = manifest.digest();
        record.parent = Some(*base);
        record.epoch = epoch;
        let earlier = record.moved.take().filter(|earlier| earlier.forced);
        let vouched = if forced { Vec::new() } else { self.vouched };
        // What was forced once is lacking ever after: the next proof only compares with the base it was forced onto.
        let forced = forced || earlier.is_some();
        let mut refusals = self.refusals;
        refusals.extend(earlier.into_iter().flat_map(|earlier| earlier.refusals));
        refusals.sort();
        refusals.dedup();
        record.moved = Some(Moved { image: self.from, base: *base, forced, refusals });
        Ok(Made { manifest, record, is_own: self.is_own, facts, vouched })
    }
}

/// A layer of the store with another status in it.
fn with_status(
    store: &Store,
    layer: &Digest,
    status: Stored,
    epoch: u64,
) -> Result<Layer, RebaseError> {
    let path = TreePath::new(hornero_rebase::stanzas::STATUS_PATH).expect("the path is canonical");
    let mut entries = store.layer(layer)?.into_entries();
    for entry in &mut entries {
        if entry.path == path && matches!(entry.kind, EntryKind::File { .. }) {
            entry.kind = status.into();
            entry.metadata.mtime = epoch;
        }
    }
    Layer::from_sorted(entries).map_err(|source| {
        let name = format!("status on {}", layer.short());
        RebaseError::Bake(BakeError::store(StoreError::Layer { name, source }))
    })
}

/// Says of each refusal which of the image's layers it is about, for people.
pub(super) fn name_sources(refusals: &mut [RebaseRefusal], record: &BakeRecord) {
    for refusal in refusals {
        let source = refusal.layer.and_then(|layer| {
            record.sources().find(|(digest, _)| **digest == layer).map(|(_, source)| source)
        });
        refusal.source = source.map(words);
    }
}

fn words(source: &LayerSource) -> String {
    match source {
        LayerSource::Package(package) => format!("package {} {}", package.name, package.version),
        LayerSource::Database => "the packages' database".to_owned(),
        LayerSource::Configured => "configuring packages".to_owned(),
        LayerSource::Copy { from } => format!("copy of {from}"),
        LayerSource::Run { command } => {
            let short: String = command.chars().take(60).collect();
            let more = if short.len() < command.len() { "…" } else { "" };
            format!("run {short}{more}")
        }
        LayerSource::Provision { title } => title.clone(),
        LayerSource::Imported { from } => format!("import of {from}"),
    }
}
