//! Layers of the store as the proof wants them: entries, and the facts recorded of them.

use std::sync::Arc;

use hornero_model::Digest;
use hornero_rebase::{Base, Entry, Kind, Layer, StaleFacts};
use hornero_store::{EntryKind, Metadata, Store};

use crate::{BakeError, RebaseError, facts};

/// A layer with its facts; `below` is only looked at where there are none.
pub(super) fn layer(
    store: &Store,
    digest: &Digest,
    below: &[Digest],
) -> Result<Arc<Layer>, BakeError> {
    let facts = facts::of_layer(store, digest, below)?;
    let layer = store.layer(digest).map_err(BakeError::store)?;
    Ok(Arc::new(Layer::new(*digest, entries(layer), facts)))
}

/// A base with the facts of all its layers.
pub(super) fn base(store: &Store, layers: &[Digest]) -> Result<Base, RebaseError> {
    let mut loaded: Vec<Arc<Layer>> = Vec::with_capacity(layers.len());
    for (number, digest) in layers.iter().enumerate() {
        loaded.push(layer(store, digest, &layers[..number])?);
    }
    // Each layer is read again once at most: what was made a moment ago fits.
    for _ in 0..layers.len() {
        match Base::new(loaded.clone()) {
            Ok(base) => return Ok(base),
            Err(StaleFacts(stale)) => {
                let Some(number) = layers.iter().position(|digest| *digest == stale) else { break };
                facts::make(store, &stale, &layers[..number])?;
                loaded[number] = layer(store, &stale, &layers[..number])?;
            }
        }
    }
    Ok(Base::new(loaded)?)
}

fn entries(layer: hornero_store::Layer) -> Vec<Entry> {
    let entries = layer.into_entries().into_iter();
    entries
        .map(|entry| Entry {
            path: entry.path.as_bytes().into(),
            attributes: attributes(&entry.metadata),
            kind: kind(entry.kind),
            mode: entry.metadata.mode,
            uid: entry.metadata.uid,
            gid: entry.metadata.gid,
        })
        .collect()
}

fn kind(kind: EntryKind) -> Kind {
    let special = |word: String| Kind::Special { word: word.into() };
    match kind {
        EntryKind::Directory { opaque } => Kind::Directory { opaque },
        EntryKind::File { digest, .. } => Kind::File { digest },
        EntryKind::Symlink { target } => Kind::Symlink { target },
        EntryKind::Fifo => special("pipe".to_owned()),
        EntryKind::CharDevice { major, minor } => {
            special(format!("character device {major}:{minor}"))
        }
        EntryKind::BlockDevice { major, minor } => special(format!("block device {major}:{minor}")),
        EntryKind::Whiteout => Kind::Whiteout,
    }
}

fn attributes(metadata: &Metadata) -> Option<Digest> {
    if metadata.xattrs.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for part in metadata.xattrs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    Some(Digest::of(&bytes))
}
