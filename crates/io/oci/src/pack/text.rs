//! Text with many digests, made small: each of them is kept once, as the bytes it stands for.
//!
//! Four bits of each letter of a digest are no information, and what is left no compression makes smaller. So a zstd
//! frame has the text with marks in the places of digests, and the digests follow it. Bytes below 4 do not occur in
//! JSON and are the marks: 1 for a digest that comes for the first time, 2 for the one after that which was named
//! last, 3 and a number (unsigned LEB128) for any other, counted from 0.

use std::{collections::HashMap, sync::LazyLock};

use super::frame::{self, Reader, put_number};

const NEW: u8 = 1;
const NEXT: u8 = 2;
const KNOWN: u8 = 3;
/// Letters of a digest.
const HEX_LEN: usize = 64;

/// What every passport says, line by line; packed texts refer to it, so that it never changes.
static WORDS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words: String = include_str!("passport.words").lines().collect();
    marked(words.as_bytes()).0
});

/// Packs text without control characters.
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    let (marked, digests) = marked(text);
    let mut packed = frame::compress(&marked, &WORDS);
    packed.extend(digests.iter().flatten());
    packed
}

/// The text with marks, and its digests.
fn marked(text: &[u8]) -> (Vec<u8>, Vec<[u8; 32]>) {
    let (mut out, mut digests) = (Vec::with_capacity(text.len()), Vec::new());
    let mut numbers: HashMap<[u8; 32], usize> = HashMap::new();
    let (mut rest, mut next) = (text, 0);
    while !rest.is_empty() {
        let letters = rest.iter().take_while(|byte| is_hex(**byte)).count();
        // A longer run is something else.
        match (letters == HEX_LEN).then(|| bytes_of(&rest[..HEX_LEN])).flatten() {
            Some(digest) => {
                let number = *numbers.entry(digest).or_insert(digests.len());
                if number == digests.len() {
                    out.push(NEW);
                    digests.push(digest);
                } else if number == next {
                    out.push(NEXT);
                } else {
                    out.push(KNOWN);
                    put_number(&mut out, number as u64);
                }
                next = number + 1;
                rest = &rest[HEX_LEN..];
            }
            // With the byte that ends the run.
            None => {
                let (taken, after) = rest.split_at(rest.len().min(letters + 1));
                out.extend_from_slice(taken);
                rest = after;
            }
        }
    }
    (out, digests)
}

/// The text that [`pack`] was given, if it has at most `max` bytes; or what is wrong.
pub(super) fn unpack(packed: &[u8], max: u64) -> Result<Vec<u8>, String> {
    let too_long = || format!("it has more than {max} bytes");
    let (marked, digests) = frame::unpack(packed, &WORDS, max)?.ok_or_else(too_long)?;
    let (digests, []) = digests.as_chunks::<32>() else {
        return Err("a digest ends early".into());
    };
    let (mut out, mut known, mut next) = (Vec::with_capacity(marked.len()), 0, 0);
    let mut reader = Reader { bytes: &marked };
    while !reader.bytes.is_empty() {
        let plain = reader.bytes.iter().take_while(|byte| **byte > KNOWN).count();
        out.extend_from_slice(reader.take(plain as u64)?);
        if let Some(mark) = reader.bytes.first().copied() {
            reader.take(1)?;
            let number = match mark {
                NEW => known,
                NEXT => next,
                KNOWN => usize::try_from(reader.number()?).unwrap_or(usize::MAX),
                _ => return Err("an unknown mark".into()),
            };
            let digest = digests.get(number).ok_or("a digest is missing")?;
            known += usize::from(mark == NEW);
            next = number + 1;
            out.extend(digest.iter().flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]));
        }
        if out.len() as u64 > max {
            return Err(too_long());
        }
    }
    match known == digests.len() {
        true => Ok(out),
        false => Err("digests follow its end".into()),
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn letter(half: u8) -> u8 {
    b"0123456789abcdef"[usize::from(half)]
}

fn bytes_of(letters: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(letters.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn text_is_unpacked_as_it_was(parts in vec((any::<u8>(), "[ -~é]{0,9}", 0..70_usize), 0..30)) {
            let mut text = String::new();
            for (seed, between, letters) in parts {
                text.push_str(&between);
                text.push_str(&Digest::of(&[seed % 8]).hex()[..letters.min(HEX_LEN)]);
            }
            let packed = pack(text.as_bytes());
            prop_assert_eq!(unpack(&packed, text.len() as u64).unwrap(), text.as_bytes());
            if !text.is_empty() {
                prop_assert!(unpack(&packed, text.len() as u64 - 1).is_err());
            }
        }

        #[test]
        fn other_bytes_bring_nothing_down(
            marked in vec(0..6_u8, 0..50), digests in vec(any::<u8>(), 0..100),
        ) {
            let packed = [frame::compress(&marked, &WORDS), digests].concat();
            if let Ok(text) = unpack(&packed, 1000) {
                prop_assert!(text.len() <= 1000);
            }
        }
    }

    #[test]
    fn words_never_change() {
        let tails = include_bytes!("tail.words");
        assert_eq!(Digest::of(&WORDS).hex()[..16], *"be755791d68cf050");
        assert_eq!(Digest::of(tails).hex()[..16], *"ac8e912adda14ef0");
    }

    #[test]
    fn a_digest_costs_its_bytes_once() {
        let list: Vec<String> = (0..100_u8).map(|seed| Digest::of(&[seed]).hex()).collect();
        let text = format!("{list:?}{list:?}");
        let packed = pack(text.as_bytes());
        assert!(packed.len() < 100 * 32 + 50, "{}", packed.len());
        // Seven digits more and it would be a number.
        let longer = pack("a".repeat(71).as_bytes());
        assert_eq!(unpack(&longer, 71).unwrap(), "a".repeat(71).as_bytes());
    }
}
