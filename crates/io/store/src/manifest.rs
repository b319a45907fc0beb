//! Image manifests: ordered layers and the run configuration, identified by their canonical bytes.

use hornero_model::{Digest, ImageConfig};
use serde::{Deserialize, Serialize};

/// Pins everything that affects a digest: layer encoding, clamping, merging and the EROFS layout.
pub const FORMAT_EPOCH: u32 = 1;
/// A rebase adds no layers and a bake one a step; overlays of the field stop at 128 as well.
pub const LAYER_COUNT_MAX: usize = 1024;
/// Commands, tests and environment together; the kernel itself takes at most 2 MiB of them.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// What an image is: everything that its digest covers, nothing about compression or transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// The epoch it was made in, [`FORMAT_EPOCH`] for new ones.
    pub format_epoch: u32,
    /// Layers from the bottom up.
    pub layers: Vec<Digest>,
    /// The run configuration.
    pub config: ImageConfig,
}

impl ImageManifest {
    /// A manifest of today's epoch.
    pub fn new(layers: Vec<Digest>, config: ImageConfig) -> Self {
        Self { format_epoch: FORMAT_EPOCH, layers, config }
    }

    /// The canonical bytes: JSON without spaces, fields in declared order, maps sorted by key.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has only string keys")
    }

    /// The identity: the SHA-256 of [`ImageManifest::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// Reads a manifest; says what is wrong with bytes that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.format_epoch == 0 || manifest.format_epoch > FORMAT_EPOCH {
            return Err(format!(
                "it has format epoch {}, this Hornero knows up to {FORMAT_EPOCH}",
                manifest.format_epoch
            ));
        }
        if manifest.layers.len() > LAYER_COUNT_MAX {
            return Err(format!("it has more than {LAYER_COUNT_MAX} layers"));
        }
        Ok(manifest)
    }
}

/// The key under which the merged tree of `layers` has its EROFS metadata image; images that differ only
/// in configuration share it.
pub(crate) fn tree_key(layers: &[Digest]) -> Digest {
    let mut bytes = format!("hornero-tree epoch {FORMAT_EPOCH}\n").into_bytes();
    for layer in layers {
        bytes.extend_from_slice(layer.as_bytes());
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_manifest_stay_as_they_are() {
        let manifest = ImageManifest::new(vec![Digest::of(b"layer")], ImageConfig::default());
        assert_eq!(
            String::from_utf8(manifest.encode()).unwrap(),
            format!(
                "{{\"format_epoch\":1,\"layers\":[\"{}\"],\"config\":{{\"user\":\"\",\"command\":[],\
                 \"env\":{{}},\"workdir\":\"\",\"scratch\":[],\"tests\":[]}}}}",
                Digest::of(b"layer")
            )
        );
        assert_eq!(ImageManifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn refuses_another_epoch_and_unknown_fields() {
        let mut manifest = ImageManifest::new(Vec::new(), ImageConfig::default());
        manifest.format_epoch = FORMAT_EPOCH + 1;
        assert!(ImageManifest::decode(&manifest.encode()).unwrap_err().contains("format epoch"));
        assert!(
            ImageManifest::decode(b"{\"format_epoch\":1,\"layers\":[],\"config\":{},\"x\":1}")
                .is_err()
        );
    }
}
