//! What a step gave, as the cache remembers it: its layers, where each comes from, and what is to be said of them.

use hornero_model::Digest;
use hornero_store::Store;
use serde::{Deserialize, Serialize};

use crate::{BakeError, record::StepKind, source::LayerSource};

/// Changes whenever a step with the same inputs gives another result.
const STEP_EPOCH: u32 = 4;

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct StepOutcome {
    /// Its layers, from the bottom up.
    pub layers: Vec<Digest>,
    /// Where each layer comes from.
    pub sources: Vec<LayerSource>,
    /// Paths of files with secrets in them that the step made, absolute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether it was moved here from another base, not made by the step itself: it stands for an image that was moved
    /// as a whole, and for no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
}

impl StepOutcome {
    /// One layer at most, of one source.
    pub(crate) fn of(layer: Option<Digest>, source: LayerSource) -> Self {
        let sources = layer.iter().map(|_| source.clone()).collect();
        Self { layers: layer.into_iter().collect(), sources, ..Self::default() }
    }

    /// What the step with this key gave before; None where nothing is known, or not where each layer comes from.
    pub(crate) fn cached(store: &Store, key: &Digest) -> Result<Option<Self>, BakeError> {
        let bytes = store.cache_get(key).map_err(BakeError::store)?;
        let known = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Ok(known.filter(|known| known.layers.len() == known.sources.len()))
    }

    /// Remembers what the step with this key gave.
    pub(crate) fn cache(&self, store: &Store, key: &Digest) -> Result<(), BakeError> {
        let bytes = serde_json::to_vec(self).expect("plain data is always JSON");
        store.cache_put(key, &bytes).map_err(BakeError::store)
    }
}

/// The identity of everything that goes into a step: what lies below by [`chain`], the step's own inputs, and the
/// newest time that its files may have.
pub(crate) fn step_key(kind: StepKind, below: &Digest, own: &Digest, epoch: u64) -> Digest {
    let kind = kind.key_word();
    let text = format!("hornero step epoch {STEP_EPOCH}\n{kind}\n{below}\n{own}\n{epoch}");
    Digest::of(text.as_bytes())
}

/// The identity of layers, from the bottom up.
pub(crate) fn chain(layers: &[Digest]) -> Digest {
    let bytes: Vec<u8> = layers.iter().flat_map(|layer| *layer.as_bytes()).collect();
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_ever_were() {
        // A key that changes bakes every step of every home anew: raise `STEP_EPOCH` where that is meant.
        let (below, own) = (Digest::of(b"below"), Digest::of(b"own"));
        let key = |kind| step_key(kind, &below, &own, 1_700_000_000);
        for (kind, word) in [
            (StepKind::Packages, "Packages"),
            (StepKind::Copy, "Copy"),
            (StepKind::Run, "Run"),
            (StepKind::Provision, "Provision"),
        ] {
            let text = format!("hornero step epoch 4\n{word}\n{below}\n{own}\n1700000000");
            assert_eq!(key(kind), Digest::of(text.as_bytes()));
        }
        assert_eq!(
            key(StepKind::Copy).hex(),
            "494b42fc7cef66da49c9ebf0b19e93c9385105368e3cd3e2b48e3f960064eee2"
        );
        assert_eq!(
            chain(&[below, own]).hex(),
            "140e1ee53678657f406d674addc8cc49e81d3b9f635805128331d3c8f96c3251"
        );
    }
}
