//! What the last blob of an image hides: which Hornero image it is, exactly, and what is known about it.
//!
//! That blob is an archive without entries, so it adds nothing to a root. Being listed like any layer, it goes
//! wherever the image is copied.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hornero_model::Digest;
use hornero_store::ImageManifest;
use serde::{Deserialize, Serialize};

use super::tail;

/// Of this document and of tails.
pub(crate) const FORMAT: u32 = 1;
/// Records of a bake and signed statements have some hundred KiB.
pub(crate) const PACKED_BYTES_MAX: u64 = 16 << 20;
const UNPACKED_BYTES_MAX: u64 = 128 << 20;
/// It is written at every export and read at every pull.
const LEVEL: i32 = 12;

/// Says what an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passport {
    pub(crate) format: u32,
    /// The canonical manifest, whose digest is the image's.
    pub(crate) image: String,
    /// The blobs before this one, in order.
    pub(crate) blobs: Vec<PassportBlob>,
    /// Of the blobs' digests, one after the other: blobs that somebody compressed anew are noticed.
    pub(crate) blobs_digest: Digest,
    /// Attachments of the image by kind.
    pub(crate) attachments: BTreeMap<String, Attachment>,
    /// Attachments of layers by kind, the layers by number: what is known of images that this one was made from. They
    /// are not in the layers' blobs, which would change with every image that is made from them.
    #[serde(default)]
    pub(crate) layers: BTreeMap<usize, BTreeMap<String, Attachment>>,
}

/// One blob of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PassportBlob {
    /// How many of the image's layers it stands for, from where the blob before ended.
    pub(crate) layers: usize,
    /// How many of its last bytes say where everything is.
    pub(crate) tail: u64,
}

/// Bytes as text where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attachment {
    Text(String),
    Base64(String),
}

impl Attachment {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(BASE64.encode(error.as_bytes())),
        }
    }

    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => BASE64.decode(text).ok(),
        }
    }
}

impl Passport {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("it has only string keys");
        zstd::bulk::compress(&json, LEVEL).expect("writing to memory does not fail")
    }

    /// Reads a passport and what it says of the image's layers; says what is wrong with one that is none.
    pub(crate) fn decode(packed: &[u8]) -> Result<(Self, ImageManifest), String> {
        let json = tail::unpack(packed, UNPACKED_BYTES_MAX)?
            .ok_or_else(|| format!("it has more than {UNPACKED_BYTES_MAX} bytes"))?;
        let passport: Self = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        if passport.format != FORMAT {
            return Err(format!("it has format {}, this Hornero knows {FORMAT}", passport.format));
        }
        let manifest = ImageManifest::decode(passport.image.as_bytes())?;
        if manifest.encode() != passport.image.as_bytes() {
            return Err("its manifest is not in canonical form".into());
        }
        let total =
            passport.blobs.iter().try_fold(0_usize, |sum, blob| sum.checked_add(blob.layers));
        if total != Some(manifest.layers.len()) {
            return Err("its blobs do not have as many layers as the image".into());
        }
        Ok((passport, manifest))
    }
}

/// The digest of digests in order.
pub(crate) fn digest_of(blobs: impl IntoIterator<Item = Digest>) -> Digest {
    let bytes: Vec<u8> = blobs.into_iter().flat_map(|digest| *digest.as_bytes()).collect();
    Digest::of(&bytes)
}
