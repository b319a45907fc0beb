//! The guard before every start: an image runs only with a statement by a trusted key of where it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use hornero_model::{
    Digest, PublicKey, Release, ReleaseNumber, ServiceName, ServiceSpec, TrustedKey, error_chain,
};
use hornero_provenance::{
    ENVELOPE_BYTES_MAX, ENVELOPE_COUNT_MAX, KeyId, Policy, ProvenanceRefusal, verify_any,
};
use hornero_store::{Store, StoreError};

/// What the home's own key is called in a policy.
const OWN: &str = "this home";
/// The attachments that tell of an image how it was made, or where it was brought in from; the first one counts.
const RECORDS: [&str; 2] = ["bake", "import"];
/// Accepted combinations that are remembered: a home has a few hundred images; beyond it they are verified again.
const REMEMBERED_MAX: usize = 4096;

/// Why an image may not run.
#[derive(Debug, Clone)]
pub struct Denied {
    /// A stable code, for scripts.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// Verifies statements against a home's key and a service's policy, without asking anybody.
pub struct ProvenanceCheck {
    store: Arc<Store>,
    own: PublicKey,
    /// Digests over image, record, envelopes and policy that were accepted; nothing else goes into a verdict.
    accepted: Mutex<BTreeSet<Digest>>,
    /// What each service's newest release trusts: a key that it leaves out is trusted for no older one any more.
    newest: Mutex<BTreeMap<ServiceName, (ReleaseNumber, Vec<TrustedKey>)>>,
}

impl ProvenanceCheck {
    /// A guard over a store, for the home whose key this is.
    pub fn new(store: Arc<Store>, own: PublicKey) -> Self {
        Self { store, own, accepted: Mutex::default(), newest: Mutex::default() }
    }

    /// Learns of a release that was made, in any order.
    pub(crate) fn learn(&self, release: &Release) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.get(&release.spec.name);
        if known.is_none_or(|(number, _)| *number <= release.number) {
            let trust = release.spec.trust.clone();
            newest.insert(release.spec.name.clone(), (release.number, trust));
        }
    }

    /// Whether the image of a release may run now: by a key that it trusts and that its service's newest release trusts
    /// still, or by the home's own. Only what was recorded counts: an `up` that was refused takes no key away. The record of
    /// how it was made was looked at when it was promoted; a bake that has the same outcome puts another one in its place,
    /// long before it signs, and must not keep what serves from starting again.
    pub(crate) fn check_release(&self, spec: &ServiceSpec) -> Result<(), Denied> {
        let revoked: Vec<&TrustedKey> = {
            let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            let trust = newest.get(&spec.name).map_or(&spec.trust, |(_, trust)| trust);
            let trusts =
                |key: &TrustedKey| trust.iter().any(|one| one.public_key == key.public_key);
            spec.trust.iter().filter(|key| !trusts(key)).collect()
        };
        let trust: Vec<TrustedKey> =
            spec.trust.iter().filter(|key| !revoked.contains(key)).cloned().collect();
        let image = &spec.image;
        match self.check_image(image, &trust) {
            Err(_) if !revoked.is_empty() && self.check_image(image, &spec.trust).is_ok() => {
                Err(Denied::revoked(spec, &revoked))
            }
            verdict => verdict,
        }
    }

    /// Whether an image may run for a service that trusts these keys besides the home's own, and what is recorded of how
    /// it was made is what its signer had.
    pub fn check(&self, image: &Digest, trust: &[TrustedKey]) -> Result<(), Denied> {
        self.check_beside(image, self.record(image)?.as_ref(), trust)
    }

    /// As [`ProvenanceCheck::check`], whatever is recorded of how the image was made.
    pub fn check_image(&self, image: &Digest, trust: &[TrustedKey]) -> Result<(), Denied> {
        self.check_beside(image, None, trust)
    }

    /// The digest of the record of how an image was made; None where it has none.
    pub fn record(&self, image: &Digest) -> Result<Option<Digest>, Denied> {
        for kind in RECORDS {
            match self.store.attachment(image, kind) {
                Ok(None) => {}
                Ok(Some(record)) => return Ok(Some(Digest::of(&record))),
                // Nobody gets to read it, and so it says nothing.
                Err(StoreError::DamagedAttachment { .. }) => return Ok(None),
                Err(error) => return Err(Denied::unreadable(&error)),
            }
        }
        Ok(None)
    }

    /// Takes the record of how an image was made away.
    pub fn forget_record(&self, image: &Digest) -> Result<(), StoreError> {
        RECORDS.iter().try_for_each(|kind| self.store.detach(image, kind).map(drop))
    }

    fn check_beside(
        &self,
        image: &Digest,
        record: Option<&Digest>,
        trust: &[TrustedKey],
    ) -> Result<(), Denied> {
        let policy = self.policy(trust);
        let mut refusal = ProvenanceRefusal::Unsigned { image: *image };
        // Those of the policy's own keys first, each with all that it may have: an image may carry statements of many
        // that do not matter here, and forged ones in a good one's place.
        for (_, key) in &policy.keys {
            match self.verify(image, record, KeyId::of(key).attachments(), &policy)? {
                Ok(()) => return Ok(()),
                Err(seen) => refusal = refusal.max(seen),
            }
        }
        let kinds = self.store.attachments(image).map_err(|error| Denied::unreadable(&error))?;
        let kinds = kinds.into_iter().filter(|kind| KeyId::is_attachment(kind));
        self.verify(image, record, kinds, &policy)?.map_err(|seen| refusal.max(seen).into())
    }

    fn policy(&self, trust: &[TrustedKey]) -> Policy {
        let own = (OWN.to_owned(), self.own);
        let others = trust.iter().map(|key| (key.name.to_string(), key.public_key));
        Policy { keys: std::iter::once(own).chain(others).collect() }
    }

    /// Verifies the envelopes of these kinds; the error is that they can't be read.
    fn verify(
        &self,
        image: &Digest,
        record: Option<&Digest>,
        kinds: impl Iterator<Item = String>,
        policy: &Policy,
    ) -> Result<Result<(), ProvenanceRefusal>, Denied> {
        let mut envelopes = Vec::new();
        for kind in kinds.take(ENVELOPE_COUNT_MAX) {
            match self.store.attachment(image, &kind) {
                Ok(Some(envelope)) if envelope.len() <= ENVELOPE_BYTES_MAX => {
                    envelopes.push(envelope);
                }
                Ok(None) => {}
                // What the store itself finds altered, or is too large, is no envelope; it is told as one that isn't.
                Ok(Some(_)) | Err(StoreError::DamagedAttachment { .. }) => {
                    envelopes.push(Vec::new());
                }
                Err(error) => return Err(Denied::unreadable(&error)),
            }
        }
        let combination = combination(image, record, &envelopes, policy);
        let accepted = || self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted().contains(&combination) {
            return Ok(Ok(()));
        }
        if let Err(refusal) = verify_any(&envelopes, image, record, policy) {
            return Ok(Err(refusal));
        }
        let mut accepted = accepted();
        if accepted.len() >= REMEMBERED_MAX {
            accepted.clear();
        }
        accepted.insert(combination);
        Ok(Ok(()))
    }
}

/// The identity of everything that a verdict follows from. Each part has a fixed length or is a digest, so that no two
/// combinations look alike.
fn combination(
    image: &Digest,
    record: Option<&Digest>,
    envelopes: &[Vec<u8>],
    policy: &Policy,
) -> Digest {
    let mut bytes = image.as_bytes().to_vec();
    bytes.push(u8::from(record.is_some()));
    bytes.extend(record.iter().flat_map(|record| *record.as_bytes()));
    bytes.extend((policy.keys.len() as u64).to_be_bytes());
    bytes.extend(policy.keys.iter().flat_map(|(_, key)| *key.as_bytes()));
    bytes.extend(envelopes.iter().flat_map(|envelope| *Digest::of(envelope).as_bytes()));
    Digest::of(&bytes)
}

impl From<ProvenanceRefusal> for Denied {
    fn from(refusal: ProvenanceRefusal) -> Self {
        Self { code: refusal.code(), message: refusal.to_string(), hint: refusal.hint() }
    }
}

impl Denied {
    /// Trusted once, and not any more.
    fn revoked(spec: &ServiceSpec, keys: &[&TrustedKey]) -> Self {
        let names: Vec<String> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
        Self {
            code: "provenance_unknown_key",
            message: format!(
                "image `{}` is signed only by a key that service `{}` does not trust any more: {}",
                spec.image.short(),
                spec.name,
                names.join(" or ")
            ),
            hint: "where that key is one you trust still, bring its `trust` block back into `hornero.hcl` and run \
                   `hornero up`; then go back",
        }
    }

    /// A store that can't be read says nothing, and nothing is no proof.
    fn unreadable(error: &StoreError) -> Self {
        Self {
            code: "provenance_unreadable",
            message: error_chain(error),
            hint: "`hornero image fsck` says what is wrong with the store",
        }
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests;
