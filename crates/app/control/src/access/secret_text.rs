//! Texts that are guessed by nobody, and how they are compared.

use std::hint::black_box;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hornero_model::Digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Random bytes of one: 256 bits.
const BYTES: usize = 32;

/// A new one, which fits into a header and a URL.
pub fn new_secret() -> String {
    let mut bytes = [0_u8; BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
pub fn same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    black_box(pairs.fold(0_u8, |differs, (a, b)| differs | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_told_apart_by_every_bit() {
        let secret = new_secret();
        assert_ne!(secret, new_secret());
        assert_eq!(secret.len(), 43);
        let digest = Digest::of(secret.as_bytes());
        assert!(same(&digest, &Digest::of(secret.as_bytes())));
        for bit in 0..256 {
            let mut bytes = *digest.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&digest, &Digest::from_bytes(bytes)), "bit {bit}");
        }
    }
}
