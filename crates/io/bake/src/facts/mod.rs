//! Facts of layers: recorded beside a layer when it is made, or made anew from its contents where none are.

mod contents;

use hornero_model::Digest;
use hornero_rebase::{
    FACTS_KIND, LayerFacts,
    stanzas::{self, STATUS_PATH, Stanzas, StatusChange},
};
use hornero_store::{ATTACHMENT_BYTES_MAX, EntryKind, Layer, Store, TreePath};

use crate::BakeError;

/// The facts of a layer that lies on `below`: those recorded, else from its contents, recorded for the next time.
pub fn of_layer(store: &Store, layer: &Digest, below: &[Digest]) -> Result<LayerFacts, BakeError> {
    match recorded(store, layer)? {
        Some(facts) => Ok(facts),
        None => make(store, layer, below),
    }
}

/// The facts that were recorded of a layer; None where there are none that can be used.
pub(crate) fn recorded(store: &Store, layer: &Digest) -> Result<Option<LayerFacts>, BakeError> {
    let bytes = match store.attachment(layer, FACTS_KIND) {
        Ok(bytes) => bytes,
        // They can be made again.
        Err(hornero_store::StoreError::DamagedAttachment { .. }) => None,
        Err(error) => return Err(BakeError::store(error)),
    };
    Ok(bytes.and_then(|bytes| LayerFacts::decode(&bytes)))
}

/// Makes the facts of a layer from its contents and records them in the place of others.
pub(crate) fn make(
    store: &Store,
    layer: &Digest,
    below: &[Digest],
) -> Result<LayerFacts, BakeError> {
    let facts = read(store, &store.layer(layer).map_err(BakeError::store)?, below, &[])?;
    attach(store, &[(*layer, &facts)])?;
    Ok(facts)
}

/// Records the facts of layers that a step made on `below`, where they have none yet: one package once for ever.
pub(crate) fn record(store: &Store, below: &[Digest], layers: &[Digest]) -> Result<(), BakeError> {
    let mut made = Vec::new();
    for (number, digest) in layers.iter().enumerate() {
        let kinds = store.attachments(digest).map_err(BakeError::store)?;
        if kinds.iter().any(|kind| kind == FACTS_KIND) {
            continue;
        }
        let layer = store.layer(digest).map_err(BakeError::store)?;
        made.push((*digest, read(store, &layer, below, &layers[..number])?));
    }
    let made: Vec<(Digest, &LayerFacts)> =
        made.iter().map(|(digest, facts)| (*digest, facts)).collect();
    attach(store, &made)
}

/// Attaches facts to their layers; those too large to be kept are made again whenever they are needed.
fn attach(store: &Store, facts: &[(Digest, &LayerFacts)]) -> Result<(), BakeError> {
    let encoded: Vec<(Digest, Vec<u8>)> =
        facts.iter().map(|(layer, facts)| (*layer, facts.encode())).collect();
    let small = encoded.iter().filter(|(_, bytes)| bytes.len() as u64 <= ATTACHMENT_BYTES_MAX);
    let all: Vec<(Digest, &str, &[u8])> =
        small.map(|(layer, bytes)| (*layer, FACTS_KIND, bytes.as_slice())).collect();
    store.attach_all(&all).map_err(BakeError::store)
}

/// Reads the facts of a layer from its contents; it lies on `below` and, above that, layers of its own step.
fn read(
    store: &Store,
    layer: &Layer,
    below: &[Digest],
    step: &[Digest],
) -> Result<LayerFacts, BakeError> {
    let mut facts = contents::read(store, layer)?;
    if let Some(digest) = content_at(layer, STATUS_PATH) {
        let against = status_of(store, below, step)?;
        let lower = match &against {
            Some(digest) => stanzas::parse(&text_of(store, digest)?),
            None => Stanzas::new(),
        };
        facts.status = Some(StatusChange::between(against, &lower, &text_of(store, &digest)?));
    }
    Ok(facts)
}

/// dpkg's status as layers of a step, on others, have it.
fn status_of(
    store: &Store,
    below: &[Digest],
    step: &[Digest],
) -> Result<Option<Digest>, BakeError> {
    // The tree of what lies below a step is at hand; those in between would have to be merged.
    for layer in step.iter().rev() {
        let layer = store.layer(layer).map_err(BakeError::store)?;
        if let Some(digest) = content_at(&layer, STATUS_PATH) {
            return Ok(Some(digest));
        }
    }
    if below.is_empty() {
        return Ok(None);
    }
    let tree = store.tree_of_layers(below).map_err(BakeError::store)?;
    let path = TreePath::new(STATUS_PATH).expect("the path is canonical");
    Ok(match tree.get(&path).map(|entry| &entry.kind) {
        Some(EntryKind::File { digest, .. }) => Some(*digest),
        _ => None,
    })
}

fn text_of(store: &Store, digest: &Digest) -> Result<String, BakeError> {
    let bytes = store.read_object(digest).map_err(BakeError::store)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The content of a file that a layer has at a path.
fn content_at(layer: &Layer, path: &str) -> Option<Digest> {
    let entries = layer.entries();
    let path = TreePath::new(path).ok()?;
    let at = entries.binary_search_by(|entry| entry.path.cmp(&path)).ok()?;
    match entries[at].kind {
        EntryKind::File { digest, .. } => Some(digest),
        _ => None,
    }
}
