//! The guard before every start: an image runs only with a statement by a trusted key of where it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use hornero_model::{
    Digest, PublicKey, Release, ReleaseNumber, ServiceName, ServiceSpec, TrustedKey,
};
use hornero_provenance::{
    ENVELOPE_BYTES_MAX, ENVELOPE_COUNT_MAX, KeyId, Policy, Refusal, verify_any,
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
pub struct Provenance {
    store: Arc<Store>,
    own: PublicKey,
    /// Digests over image, record, envelopes and policy that were accepted; nothing else goes into a verdict.
    accepted: Mutex<BTreeSet<Digest>>,
    /// What each service's newest release trusts: a key that it leaves out is trusted for no older one any more.
    newest: Mutex<BTreeMap<ServiceName, (ReleaseNumber, Vec<TrustedKey>)>>,
}

impl Provenance {
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

    /// As [`Provenance::check`], whatever is recorded of how the image was made.
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
        let mut refusal = Refusal::Unsigned { image: *image };
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
    ) -> Result<Result<(), Refusal>, Denied> {
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

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
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
            message: crate::ports::chain(error),
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
mod tests {
    use hornero_ledger::Keys;
    use hornero_model::{
        Actor, ImageConfig, Keep, KeyName, Millis, Resources, RolloutPolicy, ServiceKind, Strategy,
        Timestamp,
    };
    use hornero_provenance::{Attested, Origin, Signer, Statement, attest, sign};
    use hornero_store::{FORMAT_EPOCH, ImageManifest};

    use super::*;

    struct Home {
        directory: tempfile::TempDir,
        store: Arc<Store>,
        guard: Provenance,
    }

    struct HomeKey(Keys);

    impl Signer for HomeKey {
        fn public_key(&self) -> PublicKey {
            PublicKey::from_bytes(*self.0.public().as_bytes())
        }

        fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign_envelope(message)
        }
    }

    impl Home {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::open(directory.path().join("store")).unwrap());
            let own = key(&directory, "own").public_key();
            let guard = Provenance::new(Arc::clone(&store), own);
            Self { directory, store, guard }
        }

        fn key(&self, name: &str) -> HomeKey {
            key(&self.directory, name)
        }

        fn image(&self, workdir: &str) -> Digest {
            let config = ImageConfig { workdir: workdir.to_owned(), ..ImageConfig::default() };
            let manifest = ImageManifest { format_epoch: FORMAT_EPOCH, layers: Vec::new(), config };
            self.store.put_image(&manifest).unwrap()
        }

        fn attach(&self, image: &Digest, envelope: &[u8], by: &HomeKey) {
            let kind = KeyId::of(&by.public_key()).attachment();
            self.store.attach(image, &kind, envelope).unwrap();
        }

        #[track_caller]
        fn check(&self, image: &Digest, trust: &[TrustedKey], expected: Result<(), &str>) {
            assert_eq!(self.guard.check(image, trust).map_err(|denied| denied.code), expected);
        }
    }

    fn key(directory: &tempfile::TempDir, name: &str) -> HomeKey {
        HomeKey(Keys::open_or_create(&directory.path().join(name)).unwrap())
    }

    fn envelope(image: &Digest, by: &HomeKey) -> Vec<u8> {
        sign(&statement(image), by)
    }

    fn statement(image: &Digest) -> Statement {
        let about = Attested {
            name: "site".to_owned(),
            image: *image,
            origin: Origin::Bake,
            definition: BTreeMap::new(),
            format_epoch: FORMAT_EPOCH,
            parents: Vec::new(),
            packages: Vec::new(),
            archives: Vec::new(),
            sources: Vec::new(),
            version: "0".to_owned(),
            invocation: String::new(),
            started: None,
            finished: None,
        };
        attest(&about)
    }

    fn trusted(key: &HomeKey) -> Vec<TrustedKey> {
        let name = KeyName::new("friend").unwrap();
        vec![TrustedKey { name, public_key: key.public_key() }]
    }

    #[test]
    fn every_refusal_is_told_by_its_code() {
        let home = Home::new();
        let (own, stranger) = (home.key("own"), home.key("stranger"));
        let (image, other) = (home.image("/a"), home.image("/b"));
        home.check(&image, &[], Err("provenance_unsigned"));
        home.attach(&image, &envelope(&image, &stranger), &stranger);
        home.check(&image, &[], Err("provenance_unknown_key"));
        home.check(&image, &trusted(&stranger), Ok(()));
        home.attach(&image, &envelope(&other, &own), &own);
        home.check(&image, &[], Err("provenance_replayed"));
        home.attach(&image, b"{}", &own);
        home.check(&image, &[], Err("provenance_changed"));
        home.attach(&image, &envelope(&image, &own), &own);
        home.check(&image, &[], Ok(()));
    }

    #[test]
    fn what_was_accepted_once_is_looked_at_again() {
        let home = Home::new();
        let (own, friend) = (home.key("own"), home.key("friend"));
        let image = home.image("/a");
        home.attach(&image, &envelope(&image, &friend), &friend);
        home.check(&image, &trusted(&friend), Ok(()));
        home.check(&image, &[], Err("provenance_unknown_key"));
        home.attach(&image, &envelope(&image, &own), &own);
        home.check(&image, &[], Ok(()));
        let kind = KeyId::of(&own.public_key()).attachment();
        let path = home.directory.path().join("store/attachments").join(image.hex()).join(&kind);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        home.check(&image, &[], Err("provenance_changed"));
        home.store.detach(&image, &kind).unwrap();
        home.check(&image, &[], Err("provenance_unknown_key"));
    }

    /// What others put beside a good statement, and in its place, does not keep it out.
    #[test]
    fn forged_statements_do_not_keep_a_good_one_out() {
        let home = Home::new();
        let (own, friend, stranger) = (home.key("own"), home.key("friend"), home.key("stranger"));
        let image = home.image("/a");
        let id = KeyId::of(&friend.public_key());
        let forged = String::from_utf8(envelope(&image, &stranger)).unwrap();
        let forged =
            forged.replace(&KeyId::of(&stranger.public_key()).to_string(), &id.to_string());
        for number in 0..100 {
            let kind = format!("provenance.{number:016x}");
            home.store.attach(&image, &kind, forged.as_bytes()).unwrap();
        }
        home.attach(&image, forged.as_bytes(), &friend);
        home.check(&image, &trusted(&friend), Err("provenance_changed"));
        for kind in id.attachments() {
            let before = home.store.attachment(&image, &kind).unwrap();
            home.store.attach(&image, &kind, &envelope(&image, &friend)).unwrap();
            home.check(&image, &trusted(&friend), Ok(()));
            home.check(&image, &[], Err("provenance_unknown_key"));
            match before {
                Some(before) => home.store.attach(&image, &kind, &before).unwrap(),
                None => drop(home.store.detach(&image, &kind).unwrap()),
            }
        }
        let beside = KeyId::of(&own.public_key()).attachments().nth(4).unwrap();
        home.store.attach(&image, &beside, &envelope(&image, &own)).unwrap();
        home.check(&image, &[], Ok(()));
    }

    #[test]
    fn a_statement_vouches_for_the_record_beside_it() {
        let home = Home::new();
        let (own, friend) = (home.key("own"), home.key("friend"));
        let image = home.image("/a");
        let record = |kind: &str, text: &str| {
            home.store.attach(&image, kind, text.as_bytes()).unwrap();
        };
        let named = |text: &str, by: &HomeKey| {
            home.attach(
                &image,
                &sign(&statement(&image).beside(&Digest::of(text.as_bytes())), by),
                by,
            );
        };
        named("signed", &friend);
        home.check(&image, &trusted(&friend), Ok(()));
        record("bake", "signed");
        home.check(&image, &trusted(&friend), Ok(()));
        record("import", "says nothing beside the other");
        home.check(&image, &trusted(&friend), Ok(()));
        record("bake", "altered");
        home.check(&image, &trusted(&friend), Err("provenance_changed"));
        home.check(&image, &[], Err("provenance_unknown_key"));
        assert!(home.guard.check_image(&image, &trusted(&friend)).is_ok());
        // What was promoted starts again: what runs is what was signed.
        let release = release(1, &image, trusted(&friend));
        assert!(home.guard.check_release(&release.spec).is_ok());
        named("altered", &own);
        home.check(&image, &trusted(&friend), Ok(()));
        record("bake", "altered once more");
        home.check(&image, &trusted(&friend), Err("provenance_changed"));
        home.guard.forget_record(&image).unwrap();
        home.check(&image, &trusted(&friend), Ok(()));
        record("import", "signed");
        home.check(&image, &trusted(&friend), Ok(()));
        home.check(&image, &[], Err("provenance_changed"));
    }

    fn release(number: u32, image: &Digest, trust: Vec<TrustedKey>) -> Release {
        let spec = ServiceSpec {
            name: "site".parse().unwrap(),
            image_name: "site".parse().unwrap(),
            image: *image,
            base: None,
            kind: ServiceKind::Stateless,
            instances: 1,
            ports: Vec::new(),
            health: None,
            routes: Vec::new(),
            rollout: RolloutPolicy {
                strategy: Strategy::BlueGreen,
                drain_timeout: Millis(0),
                keep_warm: Millis(0),
                watch: Millis(0),
            },
            resources: Resources { memory_bytes: 1 << 30, cpu_millis: 1_000, pids: 100 },
            egress: false,
            depends_on: Vec::new(),
            max_age: None,
            trust,
            keep: Keep::default(),
            stop_signal: None,
            stop_grace: None,
            env: Default::default(),
            config: Vec::new(),
            configuration: None,
            secrets: Vec::new(),
            budget: None,
        };
        let (number, spec_digest) = (ReleaseNumber(number), Release::digest_of(&spec));
        let by = Actor { who: "root".to_owned(), why: String::new(), commit: None };
        Release { number, spec, spec_digest, created: Timestamp(0), by }
    }

    #[test]
    fn a_key_that_the_newest_release_leaves_out_counts_for_no_older_one() {
        let home = Home::new();
        let (own, friend, other) = (home.key("own"), home.key("friend"), home.key("other"));
        let (theirs, ours) = (home.image("/a"), home.image("/b"));
        home.attach(&theirs, &envelope(&theirs, &friend), &friend);
        home.attach(&ours, &envelope(&ours, &own), &own);
        let check = |release: &Release| {
            home.guard.check_release(&release.spec).map_err(|denied| (denied.code, denied.message))
        };
        let first = release(1, &theirs, trusted(&friend));
        let second = release(2, &ours, trusted(&friend));
        assert_eq!(check(&first), Ok(()), "what is about to become a release is checked by itself");
        home.guard.learn(&first);
        home.guard.learn(&second);
        assert_eq!(check(&first), Ok(()));

        home.guard.learn(&release(3, &ours, trusted(&other)));
        let (code, message) = check(&first).unwrap_err();
        assert_eq!(code, "provenance_unknown_key");
        assert!(message.contains("does not trust any more: `friend`"), "{message}");
        assert_eq!(check(&second), Ok(()), "what the home signed needs no other key");
        // An older release that is told of later takes nothing back, and another service's is its own matter.
        home.guard.learn(&first);
        assert_eq!(check(&first).map_err(|(code, _)| code), Err("provenance_unknown_key"));
        let mut elsewhere = release(9, &theirs, trusted(&friend));
        elsewhere.spec.name = "shop".parse().unwrap();
        home.guard.learn(&elsewhere);
        assert_eq!(check(&first).map_err(|(code, _)| code), Err("provenance_unknown_key"));
        assert_eq!(check(&elsewhere), Ok(()));

        home.guard.learn(&release(4, &ours, trusted(&friend)));
        assert_eq!(check(&first), Ok(()), "with its trust it comes back");
        // What the newest one trusts besides is not lent to an older one.
        let untrusting = release(1, &theirs, Vec::new());
        assert_eq!(check(&untrusting).map_err(|(code, _)| code), Err("provenance_unknown_key"));
    }
}
