//! Whether the guard lets through what it should, and nothing else.

use hornero_ledger::Keys;
use hornero_model::{Actor, ImageConfig, KeyName, Resources, Timestamp};
use hornero_provenance::{Attested, Origin, Signer, Statement, attest, sign};
use hornero_store::{FORMAT_EPOCH, ImageManifest};

use super::*;

struct Home {
    directory: tempfile::TempDir,
    store: Arc<Store>,
    guard: ProvenanceCheck,
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
        let guard = ProvenanceCheck::new(Arc::clone(&store), own);
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
    let forged = forged.replace(&KeyId::of(&stranger.public_key()).to_string(), &id.to_string());
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
        home.attach(&image, &sign(&statement(&image).beside(&Digest::of(text.as_bytes())), by), by);
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
    let resources = Resources { memory_bytes: 1 << 30, cpu_millis: 1_000, pids: 100 };
    let (name, image_name) = ("site".parse().unwrap(), "site".parse().unwrap());
    let spec = ServiceSpec { trust, ..ServiceSpec::of_image(name, image_name, *image, resources) };
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
