//! MD5 (RFC 1321), for the passwords that PostgreSQL keeps by it and for nothing else: it is no proof of anything.

/// What a message comes to.
pub(crate) type Md5Digest = [u8; 16];

/// By how many bits each step turns, four steps a round.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const BLOCK_BYTES: usize = 64;

/// The digest of a message.
pub(crate) fn md5(message: &[u8]) -> Md5Digest {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % BLOCK_BYTES != BLOCK_BYTES - 8 {
        padded.push(0);
    }
    padded.extend((message.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state = START;
    for block in padded.chunks_exact(BLOCK_BYTES) {
        state = step(state, block);
    }
    let mut digest = Md5Digest::default();
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// The digest in hexadecimal digits.
pub(crate) fn hexadecimal(digest: Md5Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn step(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let word = |index: usize| {
        let bytes = &block[index * 4..];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    let [mut a, mut b, mut c, mut d] = state;
    for index in 0..64 {
        let round = index / 16;
        let (mixed, place) = match round {
            0 => ((b & c) | (!b & d), index),
            1 => ((b & d) | (c & !d), (5 * index + 1) % 16),
            2 => (b ^ c ^ d, (3 * index + 5) % 16),
            _ => (c ^ (b | !d), (7 * index) % 16),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(word(place)).wrapping_add(sine(index));
        let turned = b.wrapping_add(sum.rotate_left(TURNS[round][index % 4]));
        (a, b, c, d) = (d, turned, b, c);
    }
    let [before_a, before_b, before_c, before_d] = state;
    [
        before_a.wrapping_add(a),
        before_b.wrapping_add(b),
        before_c.wrapping_add(c),
        before_d.wrapping_add(d),
    ]
}

/// The whole part of 2³² times the sine of a step's number, counted from 1.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "below 2³², not negative, and the number of a step is small"
)]
fn sine(index: usize) -> u32 {
    (((index + 1) as f64).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of RFC 1321, appendix A.5, and lengths around a block's.
    #[test]
    fn the_messages_of_the_standard() {
        let digits =
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        for (message, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (digits, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            assert_eq!(hexadecimal(md5(message.as_bytes())), digest, "{message}");
        }
    }
}
