//! Keys that sign and verify statements.

use std::fmt;

use hornero_model::{Digest, PublicKey};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Where the attachments of envelopes begin; what follows is the beginning of the key's id.
const ATTACHMENT_PREFIX: &str = "provenance.";
/// Hex digits of a key's id in the name of an attachment: 64 bits tell the keys of one image apart.
const ATTACHMENT_DIGITS: usize = 16;

/// Envelopes that name the same key and differ, beside the first: who has not got the key can't tell which are forged,
/// and keeps these too. A key signs an image once; more come only from those who forge.
pub const BESIDE_MAX: u8 = 4;

/// Something that signs with an ed25519 key which never leaves it.
pub trait Signer {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// The signature of `message` (RFC 8032, pure ed25519).
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// The SHA-256 of a public key's 32 bytes; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The id of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(Digest::of(key.as_bytes()))
    }

    /// The kind of the attachment that holds an image's envelope by this key.
    pub fn attachment(&self) -> String {
        attachment_of(&self.to_string()).expect("an id has 64 digits")
    }

    /// The kinds of all attachments that may hold envelopes by this key, the usual one first.
    pub fn attachments(&self) -> impl Iterator<Item = String> {
        places(self.attachment())
    }

    /// Whether an attachment of this kind holds an envelope.
    pub fn is_attachment(kind: &str) -> bool {
        kind.starts_with(ATTACHMENT_PREFIX)
    }
}

/// Where envelopes by one key may be: the usual kind, and those beside it.
pub fn places(first: String) -> impl Iterator<Item = String> {
    let of = first.clone();
    let beside = (1..=BESIDE_MAX).map(move |number| format!("{of}.{number}"));
    std::iter::once(first).chain(beside)
}

/// The kind of the attachments by the key with this id; none for a text that is no id.
pub(crate) fn attachment_of(id: &str) -> Option<String> {
    let is_id = Digest::from_hex(id).is_ok();
    is_id.then(|| format!("{ATTACHMENT_PREFIX}{}", &id[..ATTACHMENT_DIGITS]))
}

/// Whether `signature` is `key`'s over `message`.
pub(crate) fn signed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).is_ok()
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_attachment() {
        let id = KeyId::of(&PublicKey::from_bytes([7; 32]));
        let kind = id.attachment();
        assert!(KeyId::is_attachment(&kind) && !KeyId::is_attachment("bake"));
        assert_eq!(kind, format!("provenance.{}", &id.to_string()[..16]));
        assert_eq!(id.to_string(), Digest::of(&[7; 32]).hex());
        let all: Vec<String> = id.attachments().collect();
        assert_eq!((all.len(), &all[0], &all[4]), (5, &kind, &format!("{kind}.4")));
        assert!(all.iter().all(|kind| KeyId::is_attachment(kind)));
    }
}
