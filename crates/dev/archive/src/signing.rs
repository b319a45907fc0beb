//! OpenPGP keys made for one test, and what they sign.

use std::path::Path;

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder,
        SignedPublicKey, SignedSecretKey,
    },
    crypto::hash::HashAlgorithm,
    types::{KeyDetails as _, Password},
};

/// A key.
pub struct Signer {
    key: SignedSecretKey,
}

impl Signer {
    /// A new key of `NAME <NAME@example.test>`.
    pub fn new(name: &str) -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(format!("{name} <{name}@example.test>"));
        let key = parameters.build().unwrap().generate(rand::thread_rng()).unwrap();
        Self { key }
    }

    /// A text, clear-signed.
    pub fn sign(&self, text: &str) -> String {
        let signed = CleartextSignedMessage::sign(
            rand::thread_rng(),
            text,
            &self.key.primary_key,
            &Password::empty(),
        );
        signed.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// A signature over bytes that lies beside them, armoured.
    pub fn sign_detached(&self, bytes: &[u8]) -> String {
        let signature = DetachedSignature::sign_binary_data(
            rand::thread_rng(),
            &self.key.primary_key,
            &Password::empty(),
            HashAlgorithm::Sha256,
            bytes,
        );
        signature.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// The fingerprint of its key, in upper case.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint().to_string().to_uppercase()
    }

    /// The public key, armoured.
    pub fn public(&self) -> String {
        SignedPublicKey::from(self.key.clone()).to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// Writes the public key, armoured.
    pub fn write_armoured(&self, path: &Path) {
        std::fs::write(path, self.public()).unwrap();
    }

    /// Writes the public key as it is.
    pub fn write_binary(&self, path: &Path) {
        use pgp::ser::Serialize as _;
        let bytes = SignedPublicKey::from(self.key.clone()).to_bytes().unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
