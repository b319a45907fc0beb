//! The signing key of a home: made at first start, kept readable by its owner only, used for receipts and seals.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use hornero_home::Opening;
use hornero_model::{BundleBody, BundleSeal, Digest, Receipt, ReceiptBody};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use zeroize::Zeroizing;

use crate::{
    chain::{Domain, signed_message},
    error::{KeyError, ReceiptError},
};

/// The private key, PKCS#8 version 2 (RFC 5958), mode 600.
const PRIVATE_FILE: &str = "signing.pk8";
/// The public key, 64 hex digits and a newline.
const PUBLIC_FILE: &str = "signing.pub";
/// A PKCS#8 ed25519 key has under 100 bytes, a public key file 65; more is no key.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// A home's key pair. The private half never leaves it and never stands in debug output.
pub struct Keys {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Keys {
    /// Loads the key pair of `directory`, and makes both where there is none yet. Safe against a crash at any
    /// point and against a second process that does the same: both end with the same key.
    ///
    /// # Errors
    /// Where the files can't be read or written, hold no key, or the private one is readable by others.
    pub fn open_or_create(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(PRIVATE_FILE);
        if !path.try_exists().map_err(|source| file("look for", &path, source))? {
            create(directory, &path)?;
        }
        Self::open(directory)
    }

    /// The key pair of a home (`HOME/keys`), made where nothing was ever signed there.
    ///
    /// # Errors
    /// As [`Keys::open_or_create`], and [`KeyError::Lost`] where the home has a ledger: a new key would make every event
    /// and receipt of it look forged.
    pub fn of_home(home: &Path) -> Result<Self, KeyError> {
        let path = home.join("keys").join(PRIVATE_FILE);
        let ledger = home.join("ledger.db");
        let is_missing = |path: &Path| path.try_exists().is_ok_and(|exists| !exists);
        // Control makes the key before the ledger.
        if is_missing(&path) && fs::metadata(&ledger).is_ok_and(|found| found.len() > 0) {
            return Err(KeyError::Lost { path, ledger });
        }
        Self::open_or_create(&home.join("keys"))
    }

    /// Loads the key pair of `directory`.
    ///
    /// # Errors
    /// As [`Keys::open_or_create`], and where there is no key.
    pub fn open(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(PRIVATE_FILE);
        let mode =
            fs::metadata(&path).map_err(|source| file("read", &path, source))?.permissions().mode()
                & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path, mode });
        }
        let document = Zeroizing::new(read_limited(&path)?);
        let pair = Ed25519KeyPair::from_pkcs8(&document)
            .map_err(|_| KeyError::Invalid { path: path.clone() })?;
        let bytes = pair.public_key().as_ref().try_into();
        let public = VerifyingKey(bytes.map_err(|_| KeyError::Invalid { path })?);
        // Derived from the private key, so a missing or touched public file is simply written again.
        let public_path = directory.join(PUBLIC_FILE);
        if VerifyingKey::load(directory).ok() != Some(public) {
            write_atomic(&public_path, format!("{public}\n").as_bytes(), 0o644)?;
        }
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.public
    }

    /// Signs what a receipt says.
    ///
    /// # Errors
    /// Where a duration in it is no finite number.
    pub fn sign_receipt(&self, body: ReceiptBody) -> Result<Receipt, ReceiptError> {
        let message = receipt_message(&body)?;
        let signature = hex::encode(self.pair.sign(&message));
        Ok(Receipt { body, signature, key: self.public.to_string() })
    }

    /// Signs what a bundle is.
    pub fn seal_bundle(&self, body: BundleBody) -> BundleSeal {
        let signature = hex::encode(self.pair.sign(&bundle_message(&body)));
        BundleSeal { body, signature, key: self.public.to_string() }
    }

    /// Signs the bytes of a DSSE envelope, for a statement of where an image came from.
    ///
    /// # Panics
    /// For anything else: the beginning keeps such signatures apart from those of receipts and heads.
    pub fn sign_envelope(&self, message: &[u8]) -> [u8; 64] {
        assert!(message.starts_with(b"DSSEv1 "), "what is signed is an envelope's bytes");
        let mut signature = [0; 64];
        // Invariant: an ed25519 signature has 64 bytes (RFC 8032).
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// Seals an event of the ledger, or says that the ledger went as far as it.
    pub(crate) fn sign_event(&self, domain: Domain, sequence: u64, hash: &Digest) -> [u8; 64] {
        let mut signature = [0; 64];
        // Invariant: an ed25519 signature has 64 bytes (RFC 8032).
        signature.copy_from_slice(self.pair.sign(&signed_message(domain, sequence, hash)).as_ref());
        signature
    }
}

/// The public half of a home's key; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Its 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Loads the public key of `directory`.
    ///
    /// # Errors
    /// Where the file can't be read or holds no key.
    pub fn load(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(PUBLIC_FILE);
        let bytes = read_limited(&path)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        text.parse().map_err(|_| KeyError::Invalid { path })
    }

    /// Whether `signature` is this key's of an event in a domain.
    pub(crate) fn signed_event(
        &self,
        domain: Domain,
        sequence: u64,
        hash: &Digest,
        signature: &[u8],
    ) -> bool {
        self.signed(&signed_message(domain, sequence, hash), signature)
    }

    /// In which of its domains an event is sealed by this key; none where it is not.
    pub(crate) fn seals(&self, sequence: u64, hash: &Digest, seal: &[u8]) -> Option<Domain> {
        [Domain::Seal, Domain::SealOrHead]
            .into_iter()
            .find(|domain| self.signed_event(*domain, sequence, hash, seal))
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifyingKey {
    type Err = hornero_model::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A digest and a key are both 32 bytes in lower-case hex.
        Ok(Self(*Digest::from_hex(text)?.as_bytes()))
    }
}

/// Checks that `receipt` was signed with `key` and says what it said then.
///
/// # Errors
/// Where it names another key or the signature does not fit.
pub fn verify_receipt(receipt: &Receipt, key: &VerifyingKey) -> Result<(), ReceiptError> {
    let id = receipt.body.id.0;
    if receipt.key != key.to_string() {
        return Err(ReceiptError::OtherKey { id, key: receipt.key.chars().take(80).collect() });
    }
    let message = receipt_message(&receipt.body)?;
    match hex::decode(&receipt.signature) {
        Ok(signature) if key.signed(&message, &signature) => Ok(()),
        _ => Err(ReceiptError::BadSignature { id }),
    }
}

/// Whether `seal` was signed with the key that it names, and says what it said then; whose key that is, is another question.
pub fn is_sealed(seal: &BundleSeal) -> bool {
    let key: Result<VerifyingKey, _> = seal.key.parse();
    let signature = hex::decode(&seal.signature);
    let (Ok(key), Ok(signature)) = (key, signature) else { return false };
    key.signed(&bundle_message(&seal.body), &signature)
}

/// What keeps the signature of a bundle apart from every other one is its beginning.
fn bundle_message(body: &BundleBody) -> Vec<u8> {
    let mut message = b"hornero bundle 1\n".to_vec();
    // Invariant: it has only string keys and whole numbers, so that JSON can carry it.
    message.extend(serde_json::to_vec(body).expect("what is said of a bundle is JSON"));
    message
}

fn receipt_message(body: &ReceiptBody) -> Result<Vec<u8>, ReceiptError> {
    if !body.switch_ms.is_finite() || !body.total_ms.is_finite() {
        return Err(ReceiptError::NotFinite { id: body.id.0 });
    }
    // Invariant: a receipt has only string keys and finite numbers, so that JSON can carry it.
    Ok(serde_json::to_vec(body).expect("a receipt is JSON"))
}

fn create(directory: &Path, path: &Path) -> Result<(), KeyError> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Randomness)?;
    let document = Zeroizing::new(document.as_ref().to_vec());
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|source| file("create", parent, source))?;
    }
    hornero_home::directory(directory).map_err(|error| file("create", directory, error.into()))?;
    let temporary = temporary_beside(path);
    write_new(&temporary, &document, 0o600)?;
    // A hard link does not replace: the first of two processes wins, the second takes the first's key.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(|source| file("remove", &temporary, source))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(file("create", path, error))
        }
        _ => sync_directory(directory),
    }
}

fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let temporary = temporary_beside(path);
    write_new(&temporary, bytes, mode)?;
    fs::rename(&temporary, path).map_err(|source| file("replace", path, source))?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let write = || {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        out.write_all(bytes)?;
        out.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(path);
        file("write", path, source)
    })
}

fn temporary_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{}-{number}.new", std::process::id()))
}

fn sync_directory(directory: &Path) -> Result<(), KeyError> {
    fs::File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| file("sync", directory, source))
}

fn read_limited(path: &Path) -> Result<Vec<u8>, KeyError> {
    // Reserved up front so that growing never leaves copies of the key behind on the heap.
    let mut bytes = Vec::with_capacity(MAX_KEY_FILE_BYTES as usize + 1);
    hornero_home::open(path, Opening::Read)
        .and_then(|opened| opened.take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|source| file("read", path, source))?;
    Ok(bytes)
}

fn file(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::File { action, path: path.to_owned(), source }
}
