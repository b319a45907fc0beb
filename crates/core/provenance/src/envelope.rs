//! The envelope: DSSE v1.0.2 over a statement.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use hornero_model::PublicKey;
use serde::{Deserialize, Serialize};

use crate::{KeyId, Signer, Statement, key::signed};

/// The type of every payload (in-toto attestation, "envelope").
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// A statement has 200 bytes a package, and the largest images a few thousand packages; more is a mistake or an attack.
pub const ENVELOPE_BYTES_MAX: usize = 8 << 20;
/// One signature is usual, two or three while keys change; each costs a verification.
pub const SIGNATURE_COUNT_MAX: usize = 16;

/// An envelope as JSON carries it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// A whole envelope, decoded and not verified.
pub(crate) struct Envelope {
    pub payload: Vec<u8>,
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
pub(crate) struct Signature {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

/// The bytes that are signed for a payload (DSSE protocol, "signature definition"):
/// `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs a statement; gives the envelope's JSON.
pub fn sign(statement: &Statement, signer: &dyn Signer) -> Vec<u8> {
    let payload = statement.encode();
    let signature = signer.sign(&pae(PAYLOAD_TYPE, &payload));
    let wire = Wire {
        payload: STANDARD.encode(&payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![WireSignature {
            keyid: KeyId::of(&signer.public_key()).to_string(),
            sig: STANDARD.encode(signature),
        }],
    };
    serde_json::to_vec(&wire).expect("plain data is always JSON")
}

impl Envelope {
    /// Reads an envelope; none where it is too large, or none of a statement.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        // serde would take a list for the fields in their order as well.
        if bytes.len() > ENVELOPE_BYTES_MAX || bytes.first() != Some(&b'{') {
            return None;
        }
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        if wire.payload_type != PAYLOAD_TYPE || wire.signatures.len() > SIGNATURE_COUNT_MAX {
            return None;
        }
        let signatures = wire.signatures.into_iter().map(|signature| {
            Some(Signature { bytes: from_base64(&signature.sig)?, key_id: signature.keyid })
        });
        Some(Self {
            payload: from_base64(&wire.payload)?,
            signatures: signatures.collect::<Option<_>>()?,
        })
    }

    /// Whether `signature` is `key`'s over the payload.
    pub fn signed_by(&self, key: &PublicKey, signature: &Signature) -> bool {
        signed(key, &pae(PAYLOAD_TYPE, &self.payload), &signature.bytes)
    }
}

/// Either alphabet is allowed, and a verifier has to take both (DSSE, "envelope"); never a mixture.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the DSSE specification's protocol.
    #[test]
    fn signed_bytes_are_those_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        // Lengths are of bytes, not of letters.
        assert_eq!(pae("é", "ü".as_bytes()), "DSSEv1 2 é 2 ü".as_bytes());
    }
}
