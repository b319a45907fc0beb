//! The `age` file format, version 1 (<https://c2sp.org/age>), as far as a home needs it: one recipient that is an X25519 key,
//! and one chunk of payload. The `age` command opens what is written here.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{VALUE_BYTES_MAX, bech32};

const VERSION: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const END: &str = "---";
const IDENTITY_PREFIX: &str = "age-secret-key-";
const RECIPIENT_PREFIX: &str = "age";
const WRAP_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const TAG_LEN: usize = 16;
const FILE_KEY_LEN: usize = 16;
const PAYLOAD_NONCE_LEN: usize = 16;
/// Of the only chunk: it is the first and the last.
const CHUNK_NONCE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The private key of a home's secrets.
pub(crate) struct Identity(StaticSecret);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the identity of {}", self.recipient())
    }
}

impl Identity {
    /// A new one.
    pub fn generate() -> Self {
        let bytes = random::<32>();
        Self(StaticSecret::from(*bytes))
    }

    /// One as `age-keygen` writes it; none where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.iter().any(u8::is_ascii_lowercase) {
            return None;
        }
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let bytes = bech32::decode(IDENTITY_PREFIX, &lower)?;
        Some(Self(StaticSecret::from(*bytes)))
    }

    /// As `age-keygen` writes it.
    pub fn text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.0.to_bytes());
        let mut text = bech32::encode(IDENTITY_PREFIX, &bytes);
        text.make_ascii_uppercase();
        text
    }

    fn public(&self) -> PublicKey {
        PublicKey::from(&self.0)
    }

    /// The public half, as age writes it.
    pub fn recipient(&self) -> String {
        bech32::encode(RECIPIENT_PREFIX, self.public().as_bytes()).to_string()
    }
}

/// Encrypts a value of at most one chunk for an identity.
pub(crate) fn encrypt(identity: &Identity, value: &[u8]) -> Vec<u8> {
    debug_assert!(value.len() <= VALUE_BYTES_MAX);
    let file_key = random::<FILE_KEY_LEN>();
    let ephemeral = StaticSecret::from(*random::<32>());
    let share = PublicKey::from(&ephemeral);
    let recipient = identity.public();
    let shared = ephemeral.diffie_hellman(&recipient);
    let wrap_key = wrap_key(shared.as_bytes(), &share, &recipient);
    let mut wrapped = Vec::with_capacity(FILE_KEY_LEN + TAG_LEN);
    wrapped.extend_from_slice(&*file_key);
    seal(&wrap_key, [0; 12], &mut wrapped);
    let mut file = format!(
        "{VERSION}{STANZA}{}\n{}\n{END}",
        STANDARD_NO_PAD.encode(share.as_bytes()),
        STANDARD_NO_PAD.encode(&wrapped)
    )
    .into_bytes();
    let mac = hmac::sign(&mac_key(&file_key), &file);
    file.extend_from_slice(format!(" {}\n", STANDARD_NO_PAD.encode(mac.as_ref())).as_bytes());
    let nonce = random::<PAYLOAD_NONCE_LEN>();
    file.extend_from_slice(&*nonce);
    // Room for all of it, so that no half-encrypted copy stays behind.
    let mut payload = Zeroizing::new(Vec::with_capacity(value.len() + TAG_LEN));
    payload.extend_from_slice(value);
    seal(&derived(&*nonce, &*file_key, b"payload"), CHUNK_NONCE, &mut payload);
    file.extend_from_slice(&payload);
    file
}

/// The value that was encrypted for an identity; else why there is none.
pub(crate) fn decrypt(identity: &Identity, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let damaged = || "its header is not one of this home's".to_owned();
    let header = Header::read(file).ok_or_else(damaged)?;
    let share = PublicKey::from(header.share);
    let shared = identity.0.diffie_hellman(&share);
    if !shared.was_contributory() {
        return Err(damaged());
    }
    let wrap_key = wrap_key(shared.as_bytes(), &share, &identity.public());
    let mut wrapped = Zeroizing::new(header.wrapped.to_vec());
    open(&wrap_key, [0; 12], &mut wrapped).ok_or("it was encrypted for another key")?;
    let mut file_key = Zeroizing::new([0; FILE_KEY_LEN]);
    file_key.copy_from_slice(&wrapped);
    hmac::verify(&mac_key(&file_key), header.text, &header.mac)
        .map_err(|_| "its header was changed".to_owned())?;
    let (nonce, chunk) = header
        .payload
        .split_at_checked(PAYLOAD_NONCE_LEN)
        .ok_or_else(|| "it is cut off".to_owned())?;
    if !(TAG_LEN..=VALUE_BYTES_MAX + TAG_LEN).contains(&chunk.len()) {
        return Err("it is cut off, or larger than a secret may be".to_owned());
    }
    let mut value = Zeroizing::new(chunk.to_vec());
    open(&derived(nonce, &*file_key, b"payload"), CHUNK_NONCE, &mut value)
        .ok_or("it was changed or cut off")?;
    Ok(value)
}

/// What a file begins with.
struct Header<'f> {
    share: [u8; 32],
    wrapped: [u8; FILE_KEY_LEN + TAG_LEN],
    mac: [u8; 32],
    /// What the code covers: up to and with the dashes.
    text: &'f [u8],
    payload: &'f [u8],
}

impl<'f> Header<'f> {
    /// Reads it to the letter as it is written here; none where it differs.
    fn read(file: &'f [u8]) -> Option<Self> {
        let rest = file.strip_prefix(VERSION.as_bytes())?.strip_prefix(STANZA.as_bytes())?;
        let (share, rest) = line(rest)?;
        let (wrapped, rest) = line(rest)?;
        let rest = rest.strip_prefix(END.as_bytes())?;
        let text = &file[..file.len() - rest.len()];
        let (mac, payload) = line(rest.strip_prefix(b" ")?)?;
        let (share, wrapped, mac) = (decoded(share)?, decoded(wrapped)?, decoded(mac)?);
        Some(Self { share, wrapped, mac, text, payload })
    }
}

/// What stands before the first line break, and what behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Canonical base64 of exactly so many bytes.
fn decoded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    // Invariant: the kernel's generator does not fail once it is seeded.
    SystemRandom::new().fill(&mut *bytes).expect("the kernel gives random numbers");
    bytes
}

/// HKDF-SHA-256 (RFC 5869), 32 bytes.
fn derived(salt: &[u8], key: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    // Invariant: as many bytes as SHA-256 has are never too many.
    let filled = extracted.expand(&[info], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *out));
    filled.expect("HKDF gives 32 bytes");
    out
}

fn wrap_key(shared: &[u8; 32], share: &PublicKey, recipient: &PublicKey) -> Zeroizing<[u8; 32]> {
    let salt = [share.as_bytes().as_slice(), recipient.as_bytes()].concat();
    derived(&salt, shared, WRAP_INFO)
}

fn mac_key(file_key: &[u8; FILE_KEY_LEN]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derived(&[], file_key, b"header"))
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    // Invariant: the key has as many bytes as the algorithm asks for.
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"))
}

/// Encrypts in place and adds the tag. Each key is used for one nonce only.
fn seal(key: &[u8; 32], nonce: [u8; 12], bytes: &mut Vec<u8>) {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = cipher(key).seal_in_place_append_tag(nonce, Aad::empty(), bytes);
    // Invariant: it fails only for more bytes than an address space has.
    sealed.expect("a value is small");
}

/// Decrypts in place and takes the tag away; none where it is not what was encrypted.
fn open(key: &[u8; 32], nonce: [u8; 12], bytes: &mut Vec<u8>) -> Option<()> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key).open_in_place(nonce, Aad::empty(), bytes).ok()?.len();
    bytes.truncate(length);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    /// What a program of Debian's `age` prints for some input.
    fn ask(program: &mut Command, input: &[u8]) -> Vec<u8> {
        let mut child =
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`age` is there");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program:?}: {}", output.status);
        output.stdout
    }

    /// Its key of a line, from the file that `age-keygen` writes.
    fn key_of_age() -> (Identity, String) {
        let file = String::from_utf8(ask(&mut Command::new("age-keygen"), b"")).unwrap();
        let line = file.lines().find(|line| !line.starts_with('#')).unwrap();
        (Identity::parse(line.as_bytes()).unwrap(), file)
    }

    fn values() -> [Vec<u8>; 4] {
        [vec![], b"x".to_vec(), b"two\nlines\0".to_vec(), vec![0xa5; VALUE_BYTES_MAX]]
    }

    #[test]
    fn the_age_command_and_this_read_what_the_other_writes() {
        let (identity, file) = key_of_age();
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, &file).unwrap();
        let recipient = ask(Command::new("age-keygen").arg("-y").arg(&key), b"");
        assert_eq!(String::from_utf8(recipient).unwrap().trim(), identity.recipient());
        for value in values() {
            let theirs = ask(Command::new("age").args(["-e", "-r", &identity.recipient()]), &value);
            assert_eq!(*decrypt(&identity, &theirs).unwrap(), value);
            let ours = encrypt(&identity, &value);
            assert_eq!(ask(Command::new("age").arg("-d").arg("-i").arg(&key), &ours), value);
        }
        let (other, _) = key_of_age();
        let foreign = encrypt(&other, b"value");
        assert!(decrypt(&identity, &foreign).is_err_and(|why| why.contains("another key")));
    }

    #[test]
    fn what_was_changed_anywhere_or_cut_off_is_refused() {
        let identity = Identity::generate();
        let file = encrypt(&identity, b"a value");
        assert!(decrypt(&identity, &file).is_ok());
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(decrypt(&identity, &changed).is_err(), "byte {at}");
            assert!(decrypt(&identity, &file[..at]).is_err(), "cut off at {at}");
        }
        let longer = [file.as_slice(), b"x"].concat();
        assert!(decrypt(&identity, &longer).is_err());
    }

    #[test]
    fn each_encryption_is_another_and_keys_are_written_as_they_are_read() {
        let identity = Identity::generate();
        let text = identity.text();
        assert!(text.starts_with("AGE-SECRET-KEY-1"), "it is");
        let again = Identity::parse(text.as_bytes()).unwrap();
        assert_eq!(again.recipient(), identity.recipient());
        assert!(again.recipient().starts_with("age1"), "{}", again.recipient());
        let (one, two) = (encrypt(&identity, b"value"), encrypt(&identity, b"value"));
        assert_ne!(one, two);
        assert_eq!(**decrypt(&again, &one).unwrap(), *b"value");
        let shown = format!("{identity:?}");
        assert!(!shown.to_uppercase().contains(&text[16..]), "{shown}");
        assert!(Identity::parse(text.to_lowercase().as_bytes()).is_none());
    }
}
