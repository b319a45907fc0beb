//! Verifies clear-signed archive indexes against a keyring (RFC 9580, section 7).
//!
//! The text between header and signature is taken apart here, strictly: exactly the signed bytes are returned
//! and nothing before or after them is tolerated, so that no two readers can disagree about what was signed.

use std::{
    io::Cursor,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pgp::{
    composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
    types::KeyDetails,
};

use crate::{files, keyring::Keyring, limits};

/// Why a signed text is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("it is not signed")]
    None,
    /// It is not a clear-signed text.
    #[error("it is not a clear-signed text: {0}")]
    Malformed(&'static str),
    /// A signature packet cannot be read.
    #[error("its signature cannot be read")]
    Signature(#[source] Box<pgp::errors::Error>),
    /// The keyring cannot be read.
    #[error("keyring `{file}` cannot be read: {reason}")]
    Keyring {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The keyring holds no keys.
    #[error("the keyring {0} holds no key")]
    NoKeys(String),
    /// Nobody in the keyring signed it.
    #[error("it is signed by key {key}, which is not in the keyring {keyring}")]
    UnknownKey {
        /// Key ids or fingerprints named by the signatures.
        key: String,
        /// The keyring.
        keyring: String,
    },
    /// A key of the keyring is named, but the signature does not fit the text.
    #[error(
        "the signature by key {0} does not fit the text: it was changed, or signed by somebody else"
    )]
    Bad(String),
    /// The key was revoked or had expired.
    #[error("it is signed by key {key}, which {state}")]
    KeyNotValid {
        /// The key.
        key: String,
        /// What is wrong with it.
        state: &'static str,
    },
}

/// The keys of a keyring.
pub struct Keys {
    keys: Vec<SignedPublicKey>,
    description: String,
}

impl Keys {
    /// Reads every file of a keyring, binary or armoured, with any number of keys in each.
    pub fn read(keyring: &Keyring) -> Result<Self, SignatureError> {
        let mut keys = Vec::new();
        let description = match keyring {
            Keyring::Inline(text) => {
                keys.extend(parse_keys(text.as_bytes(), "Signed-By")?);
                "given in Signed-By".to_owned()
            }
            Keyring::Files { files, fingerprints } => {
                for file in files {
                    keys.extend(read_keys(file)?);
                }
                if !fingerprints.is_empty() {
                    keys.retain(|key| is_named(key, fingerprints));
                }
                match files.as_slice() {
                    [] => "of this host".to_owned(),
                    [one] => format!("`{}`", one.display()),
                    [first, rest @ ..] => format!("`{}` and {} more", first.display(), rest.len()),
                }
            }
        };
        if keys.is_empty() {
            return Err(SignatureError::NoKeys(description));
        }
        Ok(Self { keys, description })
    }

    /// The text that a key of this keyring signed, with `\n` line ends. `now` decides about expired keys.
    pub fn verify(&self, signed: &[u8], now: SystemTime) -> Result<String, SignatureError> {
        let (text, armoured) = split(signed)?;
        let canonical = text.replace('\n', "\r\n");
        self.verify_any(&read_signatures(armoured.as_bytes())?, now, |_| canonical.as_bytes())?;
        Ok(text)
    }

    /// The text beside which a key of this keyring laid a signature, armoured or not.
    pub fn verify_detached(
        &self,
        text: &[u8],
        signature: &[u8],
        now: SystemTime,
    ) -> Result<String, SignatureError> {
        let plain =
            std::str::from_utf8(text).map_err(|_| SignatureError::Malformed("not valid UTF-8"))?;
        // RFC 9580, section 5.2.4: a signature over a text is one over its lines.
        let canonical = plain.replace("\r\n", "\n").replace('\n', "\r\n");
        self.verify_any(&read_signatures(signature)?, now, |signature| match signature.typ() {
            Some(SignatureType::Text) => canonical.as_bytes(),
            _ => text,
        })?;
        Ok(plain.to_owned())
    }

    /// An archive in a change of keys signs with several; one that verifies is enough.
    fn verify_any<'t>(
        &self,
        signatures: &[Signature],
        now: SystemTime,
        signed_text: impl Fn(&Signature) -> &'t [u8],
    ) -> Result<(), SignatureError> {
        let mut problem = None;
        let mut named = Vec::new();
        for signature in signatures {
            named.push(issuer(signature));
            match self.verify_one(signature, signed_text(signature), now) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => problem = Some(error),
                None => {}
            }
        }
        named.sort();
        named.dedup();
        Err(problem.unwrap_or_else(|| SignatureError::UnknownKey {
            key: if named.is_empty() { "(none)".to_owned() } else { named.join(", ") },
            keyring: self.description.clone(),
        }))
    }

    /// None when no key of the ring is named by the signature.
    fn verify_one(
        &self,
        signature: &Signature,
        text: &[u8],
        now: SystemTime,
    ) -> Option<Result<(), SignatureError>> {
        let mut answer = None;
        for key in &self.keys {
            let checked = if names(signature, &key.primary_key) {
                check_key(signature, text, &key.primary_key, key, None, now)
            } else if let Some(subkey) =
                key.public_subkeys.iter().find(|subkey| names(signature, &subkey.key))
            {
                check_key(signature, text, &subkey.key, key, Some(subkey), now)
            } else {
                continue;
            };
            match checked {
                Ok(()) => return Some(Ok(())),
                Err(error) => answer = Some(Err(error)),
            }
        }
        answer
    }
}

/// An archive signs with two or three keys; more are an attempt to make verification slow.
const MAX_SIGNATURES: usize = 32;
/// As above, for keys in one file.
const MAX_KEYS: usize = 1_000;

fn check_key(
    signature: &Signature,
    text: &[u8],
    verifier: &impl pgp::types::VerifyingKey,
    key: &SignedPublicKey,
    subkey: Option<&SignedPublicSubKey>,
    now: SystemTime,
) -> Result<(), SignatureError> {
    let name = verifier.fingerprint().to_string().to_uppercase();
    let invalid = |state| SignatureError::KeyNotValid { key: name.clone(), state };
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err(invalid("signed with a hash that is too weak"));
    }
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(invalid("made another kind of signature"));
    }
    signature.verify(&verifier, text).map_err(|_| SignatureError::Bad(name.clone()))?;
    if signature_expired(signature, now) {
        return Err(invalid("made a signature that has expired"));
    }
    if key.details.revocation_signatures.iter().any(|sig| sig.verify_key(&key.primary_key).is_ok())
    {
        return Err(invalid("was revoked"));
    }
    let self_signatures: Vec<&Signature> = key
        .details
        .users
        .iter()
        .flat_map(|user| {
            user.signatures.iter().filter(move |sig| {
                sig.verify_certification(&key.primary_key, pgp::types::Tag::UserId, &user.id)
                    .is_ok()
            })
        })
        .chain(
            key.details
                .direct_signatures
                .iter()
                .filter(|sig| sig.verify_key(&key.primary_key).is_ok()),
        )
        .collect();
    if expired(key.primary_key.created_at(), &self_signatures, now) {
        return Err(invalid("has expired"));
    }
    subkey.map_or(Ok(()), |subkey| check_subkey(key, subkey, now).map_err(invalid))
}

/// Whether a subkey may sign for its primary key; else what is wrong with it.
fn check_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: SystemTime,
) -> Result<(), &'static str> {
    let revoked = |sig: &&Signature| sig.typ() == Some(SignatureType::SubkeyRevocation);
    let bindings: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|sig| sig.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok())
        .collect();
    if bindings.iter().any(revoked) {
        return Err("was revoked");
    }
    // A signing subkey must sign its primary key back, or anybody could adopt somebody else's key.
    let may_sign = bindings.iter().any(|sig| {
        sig.key_flags().sign()
            && sig.embedded_signature().is_some_and(|back| {
                back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok()
            })
    });
    if !may_sign {
        return Err("is not meant for signing");
    }
    if expired(subkey.key.created_at(), &bindings, now) { Err("has expired") } else { Ok(()) }
}

/// Whether the newest self-signature gives an expiry that has passed.
fn expired(created: pgp::types::Timestamp, signatures: &[&Signature], now: SystemTime) -> bool {
    let newest = signatures.iter().max_by_key(|signature| signature.created());
    let Some(span) = newest.and_then(|signature| signature.key_expiration_time()) else {
        return false;
    };
    let span = u64::from(span.as_secs());
    span != 0 && UNIX_EPOCH + Duration::from_secs(u64::from(created.as_secs()) + span) < now
}

fn signature_expired(signature: &Signature, now: SystemTime) -> bool {
    let (Some(created), Some(span)) = (signature.created(), signature.signature_expiration_time())
    else {
        return false;
    };
    let span = u64::from(span.as_secs());
    span != 0 && UNIX_EPOCH + Duration::from_secs(u64::from(created.as_secs()) + span) < now
}

/// The signatures of a block, armoured or not.
fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let unreadable = |error| SignatureError::Signature(Box::new(error));
    let read: Vec<_> = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        let found = DetachedSignature::from_bytes_many(Cursor::new(bytes)).map_err(unreadable)?;
        found.take(MAX_SIGNATURES).collect()
    } else {
        let (found, _) =
            DetachedSignature::from_armor_many(Cursor::new(bytes)).map_err(unreadable)?;
        found.take(MAX_SIGNATURES).collect()
    };
    read.into_iter().map(|one| one.map(|one| one.signature).map_err(unreadable)).collect()
}

/// Whether a key or one of its subkeys has one of these fingerprints.
fn is_named(key: &SignedPublicKey, fingerprints: &[String]) -> bool {
    let shown = |fingerprint: String| fingerprints.contains(&fingerprint.to_uppercase());
    shown(key.fingerprint().to_string())
        || key.public_subkeys.iter().any(|subkey| shown(subkey.fingerprint().to_string()))
}

fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.contains(&&key.fingerprint());
    }
    signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(ToString::to_string))
        .unwrap_or_else(|| "(unnamed)".to_owned())
        .to_uppercase()
}

fn read_keys(file: &Path) -> Result<Vec<SignedPublicKey>, SignatureError> {
    let bytes = files::read_file(file, limits::KEYRING_BYTES).map_err(|error| {
        SignatureError::Keyring { file: file.display().to_string(), reason: error.to_string() }
    })?;
    parse_keys(&bytes, &file.display().to_string())
}

/// Reads keys in any form; a key of a kind that is not understood is left out, as others may do.
fn parse_keys(bytes: &[u8], name: &str) -> Result<Vec<SignedPublicKey>, SignatureError> {
    let error = |error: pgp::errors::Error| SignatureError::Keyring {
        file: name.to_owned(),
        reason: error.to_string(),
    };
    let mut keys = Vec::new();
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        let found = SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(error)?;
        keys.extend(found.take(MAX_KEYS).filter_map(Result::ok));
        return Ok(keys);
    }
    // One file may hold several armoured blocks.
    let text = String::from_utf8_lossy(bytes);
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    for block in text.split(BEGIN).skip(1).take(MAX_KEYS) {
        let block = format!("{BEGIN}{block}");
        let (found, _) =
            SignedPublicKey::from_armor_many(Cursor::new(block.as_bytes())).map_err(error)?;
        keys.extend(found.take(MAX_KEYS).filter_map(Result::ok));
    }
    Ok(keys)
}

/// The signed text (canonical form with `\n`, without its last line end) and the armoured signature.
fn split(signed: &[u8]) -> Result<(String, &str), SignatureError> {
    let malformed = SignatureError::Malformed;
    let text = std::str::from_utf8(signed).map_err(|_| malformed("not valid UTF-8"))?;
    let rest = text
        .strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----")
        .and_then(|rest| rest.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n'))
        .ok_or(malformed("it does not begin as one"))?;
    let mut lines = rest.split_inclusive('\n');
    loop {
        let line = lines.next().ok_or(malformed("it ends in its header"))?.trim_end();
        if line.is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return Err(malformed("unexpected header"));
        }
    }
    let mut body = String::with_capacity(signed.len());
    let mut consumed = 0;
    let start = lines.clone().map(str::len).sum::<usize>();
    let remainder = &rest[rest.len() - start..];
    for line in lines {
        if line.starts_with('-') && !line.starts_with("- ") {
            if line.trim_end() != "-----BEGIN PGP SIGNATURE-----" {
                return Err(malformed("an unescaped dash in the text"));
            }
            let armoured = &remainder[consumed..];
            let end = "-----END PGP SIGNATURE-----";
            let tail = armoured.find(end).ok_or(malformed("the signature has no end"))?;
            if !armoured[tail + end.len()..].trim().is_empty() {
                return Err(malformed("something follows the signature"));
            }
            // The line end before the signature is not part of the signed text.
            body.pop();
            return Ok((body, armoured));
        }
        consumed += line.len();
        let content = line.strip_prefix("- ").unwrap_or(line);
        body.push_str(content.trim_end_matches([' ', '\t', '\r', '\n']));
        body.push('\n');
    }
    Err(malformed("it has no signature"))
}
