//! Bech32 (BIP 173), in which age writes its keys.

use zeroize::Zeroizing;

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// A key has 32 bytes, which are 52 letters; those of the checksum are six.
const DATA_LETTERS: usize = 52;
const CHECKSUM_LETTERS: usize = 6;

/// The checksum's polynomial over the values of all letters.
fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let shifted = ((sum & 0x1ff_ffff) << 5) ^ u32::from(value);
        let top = sum >> 25;
        (0..5).filter(|bit| (top >> bit) & 1 == 1).fold(shifted, |sum, bit| sum ^ GENERATOR[bit])
    })
}

/// The part before the data, as the checksum counts it.
fn expanded(prefix: &str) -> impl Iterator<Item = u8> {
    let high = prefix.bytes().map(|letter| letter >> 5);
    high.chain([0]).chain(prefix.bytes().map(|letter| letter & 31))
}

/// 32 bytes in lower case, behind `prefix` and `1`.
pub(crate) fn encode(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut values = Zeroizing::new([0_u8; DATA_LETTERS]);
    for (index, value) in values.iter_mut().enumerate() {
        for bit in index * 5..index * 5 + 5 {
            let byte = bytes.get(bit / 8).copied().unwrap_or(0);
            *value = (*value << 1) | ((byte >> (7 - bit % 8)) & 1);
        }
    }
    let with_room = expanded(prefix).chain(values.iter().copied()).chain([0; CHECKSUM_LETTERS]);
    let sum = polymod(with_room) ^ 1;
    let checksum = (0..CHECKSUM_LETTERS).map(|at| ((sum >> (5 * (5 - at))) & 31) as u8);
    let length = prefix.len() + 1 + DATA_LETTERS + CHECKSUM_LETTERS;
    // As long as it will be: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.push_str(prefix);
    text.push('1');
    for value in values.iter().copied().chain(checksum) {
        text.push(char::from(LETTERS[usize::from(value)]));
    }
    text
}

/// The 32 bytes that a text in lower case has behind `prefix` and `1`; none where it is no such text.
pub(crate) fn decode(prefix: &str, text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let data = text.strip_prefix(prefix.as_bytes())?.strip_prefix(b"1")?;
    if data.len() != DATA_LETTERS + CHECKSUM_LETTERS {
        return None;
    }
    let mut values = Zeroizing::new([0_u8; DATA_LETTERS + CHECKSUM_LETTERS]);
    for (value, letter) in values.iter_mut().zip(data) {
        *value = u8::try_from(LETTERS.iter().position(|known| known == letter)?).ok()?;
    }
    if polymod(expanded(prefix).chain(values.iter().copied())) != 1 {
        return None;
    }
    let mut bytes = Zeroizing::new([0_u8; 32]);
    for (index, value) in values[..DATA_LETTERS].iter().enumerate() {
        for bit in 0..5 {
            let (at, set) = (index * 5 + bit, (value >> (4 - bit)) & 1);
            match bytes.get_mut(at / 8) {
                Some(byte) => *byte |= set << (7 - at % 8),
                // The last letter has room for four bits more, which are none.
                None if set == 1 => return None,
                None => {}
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that `age-keygen` made, and that is used for nothing.
    const SECRET: &str =
        "age-secret-key-1w7z2cq449lxlcw278mzj5f78hdqyxcav23hvyaxytegsks4dqarsp3zvms";

    #[test]
    fn what_age_writes_is_read_and_written_alike() {
        let bytes = decode("age-secret-key-", SECRET.as_bytes()).unwrap();
        assert_eq!(*encode("age-secret-key-", &bytes), SECRET);
    }

    #[test]
    fn what_differs_in_a_letter_is_refused() {
        for at in 0..SECRET.len() {
            for letter in [b'q', b'p', b'1', b'-', 0xff] {
                let mut text = SECRET.as_bytes().to_vec();
                if text[at] != letter {
                    text[at] = letter;
                    assert!(decode("age-secret-key-", &text).is_none(), "{at} {letter}");
                }
            }
            assert!(decode("age-secret-key-", &SECRET.as_bytes()[..at]).is_none());
        }
        assert!(decode("age", SECRET.as_bytes()).is_none());
    }
}
