//! The random ends of ids.

use ring::rand::{SecureRandom as _, SystemRandom};

/// Letters and digits of an instance id's tail; 8 of them make a repeat within a home's life unlikely enough.
const TAIL_LETTERS: usize = 8;

/// A new tail for an instance's id.
pub fn new_tail() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; TAIL_LETTERS];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
