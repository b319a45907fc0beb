//! What the handshake of a WebSocket by HTTP/1.1 asks for, where the other side speaks HTTP/2.

use std::hash::{BuildHasher, RandomState};

use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};

/// A key for the handshake with the server (RFC 6455, 4.1): 16 bytes that differ each time, in base64.
pub(crate) fn key() -> String {
    let random = [RandomState::new().hash_one(1), RandomState::new().hash_one(2)];
    base64(random.map(u64::to_be_bytes).as_flattened())
}

/// What a client of HTTP/1.1 checks in the answer to its key (RFC 6455, 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(hash.finish().as_ref())
}

/// Bytes in base64 (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(super::accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| super::base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn keys_are_sixteen_bytes_and_differ() {
        let keys = [super::key(), super::key()];
        assert_ne!(keys[0], keys[1]);
        for key in keys {
            let digits = key.strip_suffix("==").unwrap();
            assert_eq!(digits.len(), 22);
            assert!("AQgw".contains(digits.chars().last().unwrap()), "{key}");
        }
    }
}
