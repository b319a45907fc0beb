//! What the last blob of an image hides: which Hornero image it is, exactly, and what is known about it.
//!
//! That blob is an archive of the root directory as it is, so it adds nothing to a root. Being listed like any layer, it goes
//! wherever the image is copied.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hornero_model::Digest;
use hornero_store::ImageManifest;
use serde::{Deserialize, Serialize};

use super::{frame, text};

/// Of this document and of tails: 2 has a part of a tail for each layer, digests as bytes and statements unpacked.
pub(crate) const FORMAT: u32 = 2;
/// What this Hornero still reads: one tail for all layers of a blob, and the document as one zstd frame.
const WHOLE_TAILS: u32 = 1;
/// Records of a bake and signed statements have some hundred KiB.
pub(crate) const PACKED_BYTES_MAX: u64 = 16 << 20;
const UNPACKED_BYTES_MAX: u64 = 128 << 20;
/// Shorter texts gain nothing by being unpacked.
const STATEMENT_LEN_MIN: usize = 128;

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
    /// The configuration beside it; none where that depends on this document's own bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made_with: Option<MadeWith>,
    /// Attachments of the image by kind.
    pub(crate) attachments: BTreeMap<String, Attachment>,
    /// Attachments of layers by kind, the layers by number: what is known of images that this one was made from. They
    /// are not in the layers' blobs, which would change with every image that is made from them.
    #[serde(default)]
    pub(crate) layers: BTreeMap<usize, BTreeMap<String, Attachment>>,
}

/// A configuration that need not be read to know what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeWith {
    /// Its digest: with another one, somebody changed what the image runs.
    pub(crate) configuration: Digest,
    /// The architecture that it says.
    pub(crate) architecture: String,
}

/// One blob of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PassportBlob {
    /// Before format 2: how many of the image's layers it stands for, from where the blob before ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) layers: u64,
    /// Before format 2: how many of its last bytes say where everything is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) tail: u64,
    /// Of the layers that it stands for, how many of its last bytes say where everything of each is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PassportBlob {
    /// How many layers it stands for.
    pub(crate) fn layer_count(&self) -> usize {
        match self.parts.len() {
            0 => usize::try_from(self.layers).unwrap_or(usize::MAX),
            count => count,
        }
    }

    /// How many of its last bytes say where everything is.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.parts.iter().fold(self.tail, |sum, part| sum.saturating_add(*part))
    }
}

/// Bytes as text where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attachment {
    Text(String),
    Base64(String),
    /// A text with a long word in it that is another text as base64, such as a signed statement: what comes before,
    /// the other text, and what comes after.
    Signed(String, String, String),
}

impl Attachment {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => signed(&text).unwrap_or(Self::Text(text)),
            Err(error) => Self::Base64(BASE64.encode(error.as_bytes())),
        }
    }

    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => BASE64.decode(text).ok(),
            Self::Signed(before, inner, after) => {
                Some([before, &*BASE64.encode(inner), after].concat().into_bytes())
            }
        }
    }
}

/// The text with its longest word unpacked, if that gives the same text again.
fn signed(text: &str) -> Option<Attachment> {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let words = text.split(|letter: char| !letter.is_ascii() || !is_inside(letter as u8));
    let word =
        words.max_by_key(|word| word.len()).filter(|word| word.len() >= STATEMENT_LEN_MIN)?;
    let inner = String::from_utf8(BASE64.decode(word).ok()?).ok()?;
    let (before, after) = text.split_once(word)?;
    let attachment = Attachment::Signed(before.to_owned(), inner, after.to_owned());
    (attachment.bytes()? == text.as_bytes()).then_some(attachment)
}

impl Passport {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("it has only string keys");
        [&FORMAT.to_le_bytes()[..], &text::pack(&json)].concat()
    }

    /// Reads a passport and what it says of the image's layers; says what is wrong with one that is none.
    pub(crate) fn decode(packed: &[u8]) -> Result<(Self, ImageManifest), String> {
        let json = match packed.strip_prefix(&FORMAT.to_le_bytes()) {
            Some(packed) => text::unpack(packed, UNPACKED_BYTES_MAX)?,
            // A zstd frame begins with other bytes.
            None => match frame::unpack(packed, &[], UNPACKED_BYTES_MAX)? {
                Some((json, [])) => json,
                _ => return Err(format!("it is not one frame of {UNPACKED_BYTES_MAX} bytes")),
            },
        };
        let passport: Self = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let is_fitting = |blob: &PassportBlob| match passport.format {
            WHOLE_TAILS => blob.parts.is_empty(),
            _ => !blob.parts.is_empty() && blob.tail == 0 && blob.layers == 0,
        };
        if !(WHOLE_TAILS..=FORMAT).contains(&passport.format) {
            return Err(format!("it has format {}, this Hornero knows {FORMAT}", passport.format));
        }
        if !passport.blobs.iter().all(is_fitting) {
            return Err("its blobs are not said in the words of its format".into());
        }
        let manifest = ImageManifest::decode(passport.image.as_bytes())?;
        if manifest.encode() != passport.image.as_bytes() {
            return Err("its manifest is not in canonical form".into());
        }
        let counts = passport.blobs.iter().map(PassportBlob::layer_count);
        let total = counts.into_iter().try_fold(0_usize, usize::checked_add);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_signed: bool) {
        let attachment = Attachment::new(text.as_bytes().to_vec());
        assert_eq!(matches!(attachment, Attachment::Signed(..)), is_signed, "{text}");
        assert_eq!(attachment.bytes().unwrap(), text.as_bytes());
        let json = serde_json::to_string(&attachment).unwrap();
        assert_eq!(serde_json::from_str::<Attachment>(&json).unwrap(), attachment);
    }

    #[test]
    fn a_statement_is_unpacked_and_comes_back_as_it_was() {
        let statement = "{\"subject\":[{\"name\":\"über\"}]}".repeat(9);
        let payload = BASE64.encode(&statement);
        let envelope = |payload: &str| {
            format!("{{\"payload\":\"{payload}\",\"signatures\":[{{\"sig\":\"QUJD\"}}]}}\n")
        };
        check(&envelope(&payload), true);
        check(&payload, true);
        // Another alphabet, another padding, bytes that are no text, too short, cut off, none at all.
        check(&envelope(&payload.replacen(|letter| letter != '_', "_", 1)), false);
        check(&envelope(&format!("{payload}==")), false);
        check(&envelope(&BASE64.encode([0xff; 300])), false);
        check(&envelope(&BASE64.encode("short")), false);
        check(&envelope(&payload[..payload.len() - 3]), false);
        check("", false);
        check("{\"record\":1}", false);
    }

    #[test]
    fn digests_of_a_statement_and_a_record_are_packed_once() {
        let hex: Vec<String> = (0..70_u8).map(|seed| Digest::of(&[seed]).hex()).collect();
        let record = serde_json::to_string(&hex).unwrap();
        let sealed = format!("{{\"payload\":\"{}\"}}", BASE64.encode(&record));
        let image = ImageManifest::new(Vec::new(), hornero_model::ImageConfig::default());
        let attachments = [("bake", record), ("provenance.a", sealed)];
        let passport = Passport {
            format: FORMAT,
            image: String::from_utf8(image.encode()).unwrap(),
            blobs: Vec::new(),
            blobs_digest: Digest::of(b""),
            made_with: None,
            attachments: attachments
                .map(|(kind, text)| (kind.to_owned(), Attachment::new(text.into_bytes())))
                .into(),
            layers: BTreeMap::new(),
        };
        let packed = passport.encode();
        assert!(packed.len() < 71 * 32 + 400, "{}", packed.len());
        assert_eq!(Passport::decode(&packed).unwrap(), (passport, image));
    }
}
