//! The policy: whose statements count, and what is accepted and refused by it.

use hornero_model::{Digest, PublicKey};
use serde::Deserialize;

use crate::{
    KeyId, Origin, PREDICATE_TYPE, STATEMENT_TYPE,
    envelope::{Envelope, Signature},
    statement::{Head, Subject},
};

/// Envelopes of one image that are looked at; an image is signed by its builder and a few that vouch for it.
pub const ENVELOPE_COUNT_MAX: usize = 64;

/// The keys whose statements count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Each key with its name, for people.
    pub keys: Vec<(String, PublicKey)>,
}

/// A statement that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The name of the key that signed it.
    pub key: String,
    /// The id of that key.
    pub key_id: KeyId,
    /// The statement's bytes as they were signed.
    pub statement: Vec<u8>,
    /// What it names as the record that lay beside the image, a SHA-256 in hex; none where it names none, as those of
    /// other programs and of older versions.
    pub record: Option<String>,
}

/// Why no statement is accepted, the least telling first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ProvenanceRefusal {
    /// Nobody signed it.
    #[error("image `{}` has no signed statement of where it came from", .image.short())]
    Unsigned {
        /// The image.
        image: Digest,
    },
    /// Only keys that the policy does not know signed it.
    #[error("image `{}` is signed by a key that is not trusted here: `{key_id}`", .image.short())]
    UnknownKey {
        /// The image.
        image: Digest,
        /// The id of one such key as the envelope gives it, shortened.
        key_id: String,
    },
    /// A trusted key signed something, but not a statement of provenance that this version reads.
    #[error("what a trusted key signed of image `{}` does not say where it came from: {reason}", .image.short())]
    Unsupported {
        /// The image.
        image: Digest,
        /// What it is, or lacks.
        reason: &'static str,
    },
    /// A trusted key signed it, but for another image.
    #[error("the statement of image `{}` is of another image: `{subject}`", .image.short())]
    Replayed {
        /// The image.
        image: Digest,
        /// What the statement is about, shortened.
        subject: String,
    },
    /// The envelope is damaged, or is not what was signed.
    #[error("the statement of image `{}` is not as it was signed: {reason}", .image.short())]
    Changed {
        /// The image.
        image: Digest,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A trusted key signed the image, but beside another record of how it was made.
    #[error("the record of how image `{}` was made is not the one that was signed", .image.short())]
    OtherRecord {
        /// The image.
        image: Digest,
    },
}

impl ProvenanceRefusal {
    /// Its stable code, for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "provenance_unsigned",
            Self::UnknownKey { .. } => "provenance_unknown_key",
            Self::Unsupported { .. } => "provenance_unsupported",
            Self::Replayed { .. } => "provenance_replayed",
            Self::Changed { .. } | Self::OtherRecord { .. } => "provenance_changed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => {
                "bake it here with `hornero build`, or get it again with its statements"
            }
            Self::UnknownKey { .. } => {
                "where that key is one you trust, add it to `hornero.hcl` in a `trust` block"
            }
            Self::Unsupported { .. } => {
                "who signed it has to sign an in-toto statement v1 with SLSA v1 provenance of the image as well"
            }
            Self::Replayed { .. } | Self::Changed { .. } => {
                "somebody or something altered the store; get the image again from where it came from"
            }
            Self::OtherRecord { .. } => {
                "somebody altered the record on its way or in the store; pull the image again from where it came from, \
                 or bake it again with `hornero build`"
            }
        }
    }
}

/// Where statements of Hornero name the record; those of others may have anything there.
#[derive(Deserialize)]
struct Made {
    predicate: MadePredicate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MadePredicate {
    build_definition: MadeDefinition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MadeDefinition {
    build_type: String,
    internal_parameters: MadeParameters,
}

#[derive(Deserialize)]
struct MadeParameters {
    record: Option<String>,
}

impl Verified {
    /// Whether it is about an image with this record beside it; none for one that has none, or whose record does not
    /// matter.
    fn is_beside(&self, record: Option<&Digest>) -> bool {
        match (&self.record, record) {
            (Some(named), Some(record)) => *named == record.hex(),
            (None, _) | (_, None) => true,
        }
    }
}

/// Whether the policy accepts this envelope for this image.
///
/// # Errors
/// A [`ProvenanceRefusal`] otherwise.
pub fn verify(
    envelope: &[u8],
    image: &Digest,
    policy: &Policy,
) -> Result<Verified, ProvenanceRefusal> {
    let changed = |reason| ProvenanceRefusal::Changed { image: *image, reason };
    let envelope = Envelope::decode(envelope).ok_or(changed("it is no envelope of a statement"))?;
    let mut refusal = ProvenanceRefusal::Unsigned { image: *image };
    for signature in &envelope.signatures {
        let seen = match key_of(policy, signature) {
            None => ProvenanceRefusal::UnknownKey {
                image: *image,
                key_id: shortened(&signature.key_id),
            },
            Some((_, key)) if !envelope.signed_by(key, signature) => {
                changed("its signature does not fit")
            }
            Some((name, key)) => {
                check(&envelope.payload, image)?;
                let (key, key_id) = (name.clone(), KeyId::of(key));
                let record = record(&envelope.payload);
                return Ok(Verified { key, key_id, statement: envelope.payload, record });
            }
        };
        refusal = refusal.max(seen);
    }
    Err(refusal)
}

/// Whether the policy accepts any of an image's envelopes, beside this record of how the image was made; none where it
/// has none, or where the record does not matter.
///
/// # Errors
/// The most telling [`ProvenanceRefusal`] otherwise.
pub fn verify_any<B: AsRef<[u8]>>(
    envelopes: impl IntoIterator<Item = B>,
    image: &Digest,
    record: Option<&Digest>,
    policy: &Policy,
) -> Result<Verified, ProvenanceRefusal> {
    let mut refusal = ProvenanceRefusal::Unsigned { image: *image };
    for envelope in envelopes.into_iter().take(ENVELOPE_COUNT_MAX) {
        match verify(envelope.as_ref(), image, policy) {
            Ok(verified) if verified.is_beside(record) => return Ok(verified),
            Ok(_) => refusal = refusal.max(ProvenanceRefusal::OtherRecord { image: *image }),
            Err(seen) => refusal = refusal.max(seen),
        }
    }
    Err(refusal)
}

/// The policy's key that a signature names. One that names none is nobody's: an id is no proof, but without it every
/// key would have to be tried.
fn key_of<'p>(policy: &'p Policy, signature: &Signature) -> Option<&'p (String, PublicKey)> {
    policy.keys.iter().find(|(_, key)| KeyId::of(key).to_string() == signature.key_id)
}

/// What a statement names as the record of how its image was made.
fn record(payload: &[u8]) -> Option<String> {
    let made = serde_json::from_slice::<Made>(payload).ok()?.predicate.build_definition;
    Origin::is_build_type(&made.build_type).then_some(made.internal_parameters.record)?
}

/// Whether what was signed is a statement of this image.
fn check(payload: &[u8], image: &Digest) -> Result<(), ProvenanceRefusal> {
    let unsupported = |reason| ProvenanceRefusal::Unsupported { image: *image, reason };
    let head: Head =
        serde_json::from_slice(payload).map_err(|_| unsupported("it is no in-toto statement"))?;
    if head.kind != STATEMENT_TYPE {
        return Err(unsupported("it is no in-toto statement v1"));
    }
    if head.predicate_type != PREDICATE_TYPE {
        return Err(unsupported("it is a statement of something else than SLSA v1 provenance"));
    }
    let hex = image.hex();
    let digest_of = |subject: &Subject| subject.digest.get("sha256").cloned();
    let mut digests = head.subject.iter().filter_map(digest_of);
    if digests.any(|digest| digest == hex) {
        return Ok(());
    }
    let other = head.subject.first().and_then(digest_of).unwrap_or_default();
    Err(ProvenanceRefusal::Replayed { image: *image, subject: shortened(&other) })
}

/// Text from an envelope for a message: a key's id or a digest has 64 letters.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
