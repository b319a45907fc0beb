//! Tells by its bytes whether a file is a key: the binary forms that programs keep private keys in, and random bytes or
//! letters that not everyone may read, which are keys whatever program made them.

/// Fewer bytes are guessed too soon to be a key, and may be anything.
const RANDOM_BYTES_MIN: usize = 16;
/// The longest key of random bytes in use; more are data that was compressed, say.
const RANDOM_BYTES_MAX: usize = 4096;
/// Entries of a Java key store that are looked at; one of all authorities has some hundred.
const ENTRIES_MAX: usize = 100_000;

/// Whether a file holds a private key in a binary form: PKCS #8, PKCS #1, SEC 1, PKCS #12, a key store of Java, a keytab of
/// Kerberos, a key of Tor.
pub(crate) fn is_binary_key(bytes: &[u8]) -> bool {
    is_der_key(bytes)
        || has_shrouded_key(bytes)
        || java_store_has_key(bytes)
        // The version of a keytab (MIT's krb5, keytab file format), and the length of its first entry.
        || (bytes.starts_with(b"\x05\x02") && bytes.get(2..6).is_some_and(|length| length != [0; 4]))
        || bytes.starts_with(b"== ed25519v1-secret: ")
}

/// Whether a file has nothing but random bytes in it, or one word of random letters: one that not everyone may read is a
/// key then.
pub(crate) fn is_random(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(text) => is_random_word(text.trim()),
        Err(_) => has_length(bytes) && is_spread(bytes, 256.0),
    }
}

fn has_length(bytes: &[u8]) -> bool {
    (RANDOM_BYTES_MIN..=RANDOM_BYTES_MAX).contains(&bytes.len())
}

/// Letters of base64 or hexadecimal digits: of several kinds, or capitals alone, as no word of a language and no path is.
fn is_random_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte);
    let all = |is: fn(&u8) -> bool| bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).all(is);
    let has_digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3;
    // With the dashes of a UUID.
    let is_hex = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let kinds = has_digits || !all(u8::is_ascii_lowercase);
    has_length(bytes)
        && bytes.iter().all(is_letter)
        && !word.starts_with('/')
        && kinds
        && is_spread(bytes, if is_hex { 16.0 } else { 26.0 })
}

/// Whether there are about as many different bytes as in random ones of an alphabet: three quarters of those expected.
fn is_spread(bytes: &[u8], alphabet: f64) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let expected = alphabet * (1.0 - (-f64::from(length) / alphabet).exp());
    f64::from(u32::try_from(different).unwrap_or_default()) >= 0.75 * expected
}

/// A value of DER (X.690): its tag, its contents and what follows.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(short), rest),
        // Without a length, as only BER has it.
        0x80 => return None,
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// One sequence that begins with the version of a private key and what follows it there (RFC 5208, 8017, 5915).
fn is_der_key(bytes: &[u8]) -> bool {
    const INTEGER: u8 = 0x02;
    const OCTETS: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let Some((SEQUENCE, all, [])) = der(bytes) else { return false };
    let Some((INTEGER, [version], rest)) = der(all) else { return false };
    let Some((tag, contents, rest)) = der(rest) else { return false };
    match (version, tag) {
        (0 | 1, SEQUENCE) => matches!(der(rest), Some((OCTETS, _, _))),
        (1, OCTETS) => matches!(contents.len(), 28 | 32 | 48 | 66),
        // A modulus of 512 bits at least, and all that follows it.
        (0, INTEGER) => contents.len() >= 64 && matches!(der(rest), Some((INTEGER, _, [_, ..]))),
        _ => false,
    }
}

/// A PKCS #12 file with a key in it (RFC 7292): one with certificates alone is no secret.
fn has_shrouded_key(bytes: &[u8]) -> bool {
    // 1.2.840.113549.1.12.10.1.1 and .2: a key, and an encrypted one.
    const BAGS: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
    let is_store = matches!(der(bytes), Some((0x30, [0x02, 0x01, 0x03, ..], _)));
    is_store
        && memchr::memmem::find_iter(bytes, BAGS)
            .any(|at| matches!(bytes.get(at + BAGS.len()), Some(1 | 2)))
}

/// A key store of Java (JKS, JCEKS): of its entries one is a key. That of all authorities has none.
fn java_store_has_key(bytes: &[u8]) -> bool {
    const CERTIFICATE: u32 = 2;
    let Some(mut rest) = [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"]
        .iter()
        .find_map(|magic| bytes.strip_prefix(*magic))
    else {
        return false;
    };
    let mut walk = || -> Option<bool> {
        let version = number(&mut rest, 4)?;
        let count = number(&mut rest, 4)?;
        for _ in 0..count.min(u32::try_from(ENTRIES_MAX).ok()?) {
            if number(&mut rest, 4)? != CERTIFICATE {
                return Some(true);
            }
            // Its name, the time, the kind of certificate and the certificate.
            let name = number(&mut rest, 2)?;
            skip(&mut rest, name)?;
            skip(&mut rest, 8)?;
            if version == 2 {
                let kind = number(&mut rest, 2)?;
                skip(&mut rest, kind)?;
            }
            let certificate = number(&mut rest, 4)?;
            skip(&mut rest, certificate)?;
        }
        Some(false)
    };
    walk().unwrap_or(false)
}

/// Takes a number of two or four bytes, the highest first.
fn number(rest: &mut &[u8], length: usize) -> Option<u32> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn skip(rest: &mut &[u8], length: u32) -> Option<()> {
    (_, *rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], contents].concat()
    }

    /// As random as a key, and the same at every run.
    fn random(length: usize) -> Vec<u8> {
        let blocks = (0..=length / 32).flat_map(|block| Sha256::digest(block.to_be_bytes()));
        blocks.take(length).collect()
    }

    #[test]
    fn keys_are_told_by_their_form() {
        let version = |version: u8| value(2, &[version]);
        let algorithm = value(0x30, &value(6, &[42]));
        let pkcs8 = value(0x30, &[version(0), algorithm.clone(), value(4, &random(40))].concat());
        let modulus = value(2, &random(128));
        let pkcs1 =
            value(0x30, &[version(0), modulus.clone(), version(3), modulus.clone()].concat());
        let sec1 = value(0x30, &[version(1), value(4, &random(32))].concat());
        for key in [pkcs8.clone(), pkcs1, sec1] {
            assert!(is_binary_key(&key), "{key:x?}");
            assert!(!is_binary_key(&key[..key.len() - 1]), "cut short");
            assert!(!is_binary_key(&[key, vec![0]].concat()), "with more behind it");
        }
        // A public key and a certificate.
        assert!(!is_binary_key(&value(0x30, &[modulus, version(3)].concat())));
        assert!(!is_binary_key(&value(0x30, &[algorithm.clone(), value(3, &random(40))].concat())));

        let bag =
            |kind: u8| [&b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01"[..], &[kind]].concat();
        let store =
            |kind: u8| [&b"\x30\x82\x00\x20\x02\x01\x03"[..], &bag(kind), &[0; 32]].concat();
        assert!(is_binary_key(&store(2)) && is_binary_key(&store(1)));
        assert!(!is_binary_key(&store(3)), "certificates alone");

        assert!(is_binary_key(b"\x05\x02\x00\x00\x00\x3fmore"));
        assert!(is_binary_key(b"== ed25519v1-secret: type0 ==\0\0\0"));
    }

    #[test]
    fn a_store_of_authorities_has_no_key() {
        let entry = |kind: u8, more: &[u8]| {
            let name = b"\x00\x02ca\x00\x00\x01\x02\x03\x04\x05\x06";
            [&[0, 0, 0, kind], &name[..], more].concat()
        };
        let certificate = entry(2, b"\x00\x05X.509\x00\x00\x00\x03abc");
        let key = entry(1, b"\x00\x00\x00\x03abc");
        let store = |entries: &[&[u8]]| {
            let count = u8::try_from(entries.len()).unwrap();
            [b"\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00", &[count][..], &entries.concat()]
                .concat()
        };
        assert!(!is_binary_key(&store(&[&certificate, &certificate])));
        assert!(is_binary_key(&store(&[&certificate, &key])));
        assert!(!is_binary_key(&store(&[&certificate[..9]])), "cut short");
    }

    #[test]
    fn what_is_random_is_a_key_and_nothing_else_is() {
        for length in [16, 32, 128, 1024, 4096] {
            assert!(is_random(&random(length)), "{length}");
        }
        let hex: String = random(32).iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = "82333f89-30fc-4260-925d-35b03b216299";
        for word in ["JQWNYDLVKRXMZTUCBPAE\n", "q1sXv0P/8t4KdZ+u3Lr9aA==", uuid, &hex] {
            assert!(is_random(word.as_bytes()), "{word}");
        }
        let table: Vec<u8> =
            (0..64_u32).flat_map(|number| (1 << 20 | number).to_le_bytes()).collect();
        for other in [
            &random(15)[..],
            &random(5000),
            &table,
            &[0xff; 64],
            b"localhost.localdomain",
            b"/usr/lib/postgresql/15/bin",
            b"some-words-with-dashes",
            b"1111111111111111111111",
            b"a line of words in 2 lines\nand more of them\n",
        ] {
            assert!(!is_random(other), "{other:?}");
        }
    }
}
