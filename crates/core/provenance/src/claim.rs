//! What an envelope says of itself, before anybody knows whether it is true.

use hornero_model::Digest;

use crate::{PREDICATE_TYPE, STATEMENT_TYPE, envelope::Envelope, key, statement::Head};

/// Whether these bytes are an envelope with a statement about `image` that names the key whose attachments are of the
/// kind `kind`. For those who carry envelopes and know no keys: what claims less is worth nothing to anybody, and what
/// claims it need not be true.
pub fn is_claimed(kind: &str, image: &Digest, envelope: &[u8]) -> bool {
    let Some(envelope) = Envelope::decode(envelope) else { return false };
    let Ok(head) = serde_json::from_slice::<Head>(&envelope.payload) else { return false };
    let hex = image.hex();
    let mut digests = head.subject.iter().filter_map(|subject| subject.digest.get("sha256"));
    let mut ids = envelope.signatures.iter().map(|signature| signature.key_id.as_str());
    head.kind == STATEMENT_TYPE
        && head.predicate_type == PREDICATE_TYPE
        && digests.any(|digest| *digest == hex)
        && ids.any(|id| key::attachment_of(id).as_deref() == Some(kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hornero_model::PublicKey;

    use super::*;
    use crate::{Attested, KeyId, Origin, Signer, attest, sign};

    struct Anybody;

    impl Signer for Anybody {
        fn public_key(&self) -> PublicKey {
            PublicKey::from_bytes([7; 32])
        }

        fn sign(&self, _: &[u8]) -> [u8; 64] {
            [0; 64]
        }
    }

    #[test]
    fn an_envelope_claims_its_key_and_its_image() {
        let (image, other) = (Digest::of(b"image"), Digest::of(b"other"));
        let about = Attested {
            name: "site".into(),
            image,
            origin: Origin::Bake,
            definition: BTreeMap::new(),
            format_epoch: 1,
            parents: Vec::new(),
            packages: Vec::new(),
            archives: Vec::new(),
            sources: Vec::new(),
            version: "0".into(),
            invocation: String::new(),
            started: None,
            finished: None,
        };
        let envelope = sign(&attest(&about), &Anybody);
        let kind = KeyId::of(&Anybody.public_key()).attachment();
        assert!(is_claimed(&kind, &image, &envelope));
        assert!(!is_claimed(&kind, &other, &envelope), "of another image");
        assert!(!is_claimed("provenance.0123456789abcdef", &image, &envelope), "of another key");
        assert!(!is_claimed("provenance.", &image, &envelope));
        assert!(!is_claimed(&kind, &image, b"{}"));
        assert!(!is_claimed(&kind, &image, &envelope[..envelope.len() - 1]));
        let unnamed =
            String::from_utf8(envelope).unwrap().replace(&kind["provenance.".len()..], "");
        assert!(!is_claimed(&kind, &image, unnamed.as_bytes()), "an id has 64 digits");
    }
}
