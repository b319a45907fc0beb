//! The exact bytes that are hashed and signed.
//!
//! All numbers are 8 bytes, big-endian; a text is its length in bytes and then its bytes.
//!
//! - Hash of an event: SHA-256 over `hornero event 1\n`, the 32 bytes of the previous hash, the sequence, the time
//!   in milliseconds since the Unix epoch, `who`, `why`, then one byte 0 where there is no commit or one byte 1
//!   and the commit, then the body as the JSON text that is stored.
//! - Seal of an event: Ed25519 over `hornero seal 2\n`, its sequence and the 32 bytes of its hash.
//! - The head file: Ed25519 over `hornero head 2\n` and the same. Seals stand in the database for everybody to copy, so
//!   they must not pass for a head.
//! - In format 1 both were over `hornero head 1\n`. Such seals stay good; such a head does where the last seal is one.
//! - Signature of a receipt: Ed25519 over its body as the JSON that `serde_json` writes: fields in the order of
//!   `ReceiptBody`, no spaces, floating-point numbers in their shortest form. It begins with `{`, so it can't be
//!   taken for a seal.

use hornero_model::{Actor, Digest, Timestamp};
use sha2::{Digest as _, Sha256};

/// The hash before the first event: 64 zeros.
pub const fn genesis() -> Digest {
    Digest::from_bytes([0; 32])
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last event; 0 before the first.
    pub sequence: u64,
    /// Its hash; 64 zeros before the first.
    pub hash: Digest,
}

impl Head {
    /// The head of a ledger without events.
    pub const fn genesis() -> Self {
        Self { sequence: 0, hash: genesis() }
    }
}

/// The hash of an event from its parts; `body` is the JSON text as stored.
pub fn event_hash(
    previous: &Digest,
    sequence: u64,
    time: Timestamp,
    by: &Actor,
    body: &str,
) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(b"hornero event 1\n");
    hasher.update(previous.as_bytes());
    hasher.update(sequence.to_be_bytes());
    hasher.update(time.0.to_be_bytes());
    update_text(&mut hasher, &by.who);
    update_text(&mut hasher, &by.why);
    match &by.commit {
        None => hasher.update([0]),
        Some(commit) => {
            hasher.update([1]);
            update_text(&mut hasher, commit);
        }
    }
    update_text(&mut hasher, body);
    Digest::from_bytes(hasher.finalize().into())
}

fn update_text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

/// What a signature of an event's number and hash says of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Domain {
    /// Format 1: an event is sealed, or the ledger ends there; one could pass for the other.
    SealOrHead,
    /// The event and everything before it is as it was appended.
    Seal,
    /// The ledger went that far.
    Head,
}

impl Domain {
    const fn words(self) -> &'static [u8] {
        match self {
            Self::SealOrHead => b"hornero head 1\n",
            Self::Seal => b"hornero seal 2\n",
            Self::Head => b"hornero head 2\n",
        }
    }
}

/// What is signed in a domain.
pub(crate) fn signed_message(domain: Domain, sequence: u64, hash: &Digest) -> Vec<u8> {
    let mut message = domain.words().to_vec();
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(hash.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_documented_one() {
        // Pinned: a change of these bytes would break every ledger there is.
        let by = Actor { who: "root".into(), why: "first".into(), commit: Some("abc".into()) };
        let hash = event_hash(&genesis(), 1, Timestamp(1_700_000_000_000), &by, "{}");
        let mut bytes = b"hornero event 1\n".to_vec();
        bytes.extend([0; 32]);
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(1_700_000_000_000_u64.to_be_bytes());
        for (text, mark) in [("root", None), ("first", None), ("abc", Some(1_u8)), ("{}", None)] {
            bytes.extend(mark);
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        assert_eq!(hash, Digest::of(&bytes));
    }

    #[test]
    fn text_cannot_move_between_fields() {
        let hash = |who: &str, why: &str, commit: Option<&str>| {
            let by = Actor { who: who.into(), why: why.into(), commit: commit.map(str::to_owned) };
            event_hash(&genesis(), 1, Timestamp(0), &by, "{}")
        };
        assert_ne!(hash("ab", "c", None), hash("a", "bc", None));
        assert_ne!(hash("a", "b", None), hash("a", "b", Some("")));
    }
}
