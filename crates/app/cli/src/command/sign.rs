//! Signs what this home bakes: a statement of how each image came to be, attached to it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hornero_bake::{BakeRecord, BakedImage, Lock, StepKind};
use hornero_control::{Denied, Provenance};
use hornero_ledger::Keys;
use hornero_model::{Digest, PublicKey, Timestamp, TrustedKey};
use hornero_provenance::{
    Archive, Attested, KeyId, Origin, Package, Parent, Signer, Source, attest, sign,
};
use hornero_spec::{Base, StoredImage};
use hornero_store::Store;
use serde_json::{Value, json};

use crate::{
    command::sbom,
    failure::{Failure, exit},
    project::Project,
};

/// A home's key as a signer of statements.
pub struct HomeKey(Keys);

impl HomeKey {
    /// The key of a home, made where there is none yet.
    pub fn of(home: &Path) -> Result<Self, Failure> {
        Keys::open_or_create(&home.join("keys")).map(Self).map_err(|error| Failure::of(&error))
    }
}

impl Signer for HomeKey {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(*self.0.public().as_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign_envelope(message)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(exit::REFUSED, &denied).word(denied.code).hint(denied.hint)
    }
}

/// Signs what was baked and has no statement by this home's key yet; one that has is not looked into. What is made from
/// an image that came from elsewhere is only signed where that one may be trusted, and that one never: a signature of
/// this home must not stand for what nobody here made.
pub fn baked(
    home: &Path,
    store: &Arc<Store>,
    project: &Project,
    images: &[BakedImage],
) -> Result<(), Failure> {
    let key = HomeKey::of(home)?;
    let kind = KeyId::of(&key.public_key()).attachment();
    let mut signed: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    for image in images {
        let digest = image.digest;
        if signed.contains_key(&digest) || store.attachments(&digest)?.contains(&kind) {
            continue;
        }
        if let Some(parent) = stored(store, project, image)? {
            let trust = project.spec.trust.iter();
            let trust: Vec<TrustedKey> = trust
                .map(|(name, key)| TrustedKey { name: name.clone(), public_key: *key })
                .collect();
            Provenance::new(Arc::clone(store), key.public_key()).check(&parent, &trust)?;
            if parent == digest {
                continue;
            }
        }
        let Some(record) = BakeRecord::of(store, &digest)? else { continue };
        let mut about = attested(store, &record)?;
        if !image.cached {
            let now = Timestamp::now();
            about.started = Some(Timestamp(now.0.saturating_sub((image.seconds * 1e3) as u64)));
            about.finished = Some(now);
        }
        signed.insert(digest, sign(&attest(&about), &key));
    }
    let attachments: Vec<(Digest, &str, &[u8])> = signed
        .iter()
        .map(|(digest, envelope)| (*digest, kind.as_str(), envelope.as_slice()))
        .collect();
    Ok(store.attach_all(&attachments)?)
}

/// The image of the store that an image is made from, where it is made from one; its bake left it in the lock.
fn stored(store: &Store, project: &Project, image: &BakedImage) -> Result<Option<Digest>, Failure> {
    let definition = project.spec.images.get(&image.name);
    match definition.map(|definition| &definition.base) {
        Some(Base::Stored(StoredImage::Digest(digest))) => Ok(Some(*digest)),
        Some(Base::Stored(StoredImage::Name(name))) => {
            let lock = Lock::read(&project.dir)?;
            match lock.and_then(|lock| lock.stored.get(name).copied()) {
                Some(digest) => Ok(Some(digest)),
                None => Ok(store.get_ref(&format!("image/{name}"))?),
            }
        }
        Some(Base::Debian { .. } | Base::Image(_)) | None => Ok(None),
    }
}

/// Signs an image that was made of others by a move, where this home vouches for those; else says that it does not.
pub fn moved(
    home: &Path,
    store: &Arc<Store>,
    of: &[Digest],
    image: &Digest,
) -> Result<(), Failure> {
    let provenance = Provenance::new(Arc::clone(store), HomeKey::of(home)?.public_key());
    for part in of {
        if let Err(denied) = provenance.check(part, &[]) {
            eprintln!("note     {} is not signed: {denied}", image.short());
            return Ok(());
        }
    }
    if vouched(home, store, image)? {
        return Ok(());
    }
    recorded(home, store, image)
}

/// Whether this home vouches for an image already: its first statement says how the image came to be, and stays.
fn vouched(home: &Path, store: &Arc<Store>, image: &Digest) -> Result<bool, Failure> {
    let provenance = Provenance::new(Arc::clone(store), HomeKey::of(home)?.public_key());
    Ok(provenance.check(image, &[]).is_ok())
}

/// Signs an image that the home has a record of.
fn recorded(home: &Path, store: &Store, image: &Digest) -> Result<(), Failure> {
    let Some(record) = BakeRecord::of(store, image)? else {
        let text = format!("nothing is recorded of how image `{}` came to be", image.short());
        return Err(Failure::new(exit::FAILED, text));
    };
    attach(home, store, &attested(store, &record)?)
}

/// Signs an image that this home's operator brought in from `from`: a path or a reference.
pub fn imported(
    home: &Path,
    store: &Arc<Store>,
    name: &str,
    image: &Digest,
    from: &str,
) -> Result<(), Failure> {
    if vouched(home, store, image)? {
        return Ok(());
    }
    let manifest = store.image(image)?;
    let about = Attested {
        name: name.to_owned(),
        image: *image,
        origin: Origin::Import,
        definition: BTreeMap::from([("from".to_owned(), json!(from))]),
        format_epoch: manifest.format_epoch,
        parents: Vec::new(),
        packages: Vec::new(),
        archives: Vec::new(),
        sources: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        invocation: image.hex(),
        started: None,
        finished: Some(Timestamp::now()),
    };
    attach(home, store, &about)
}

fn attach(home: &Path, store: &Store, about: &Attested) -> Result<(), Failure> {
    let key = HomeKey::of(home)?;
    let kind = KeyId::of(&key.public_key()).attachment();
    Ok(store.attach(&about.image, &kind, &sign(&attest(about), &key))?)
}

/// What a record says, in the words of a statement.
fn attested(store: &Store, record: &BakeRecord) -> Result<Attested, Failure> {
    let distribution = sbom::distribution(store, &record.image)?;
    let distribution = distribution.map_or_else(String::new, |found| found.text());
    let mut parents = Vec::new();
    let mut parent = |role: &str, image| parents.push(Parent { role: role.to_owned(), image });
    record.parent.into_iter().for_each(|image| parent("base", image));
    record.moved.iter().for_each(|moved| parent("moved", moved.image));
    let locked = record.locked.as_ref();
    Ok(Attested {
        name: record.name.to_string(),
        image: record.image,
        origin: if record.moved.is_some() { Origin::Rebase } else { Origin::Bake },
        definition: definition(record),
        format_epoch: record.format_epoch,
        parents,
        packages: locked
            .iter()
            .flat_map(|locked| &locked.packages)
            .map(|package| Package {
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                distribution: distribution.clone(),
                digest: package.digest(),
            })
            .collect(),
        archives: locked
            .iter()
            .flat_map(|locked| &locked.archives)
            .map(|archive| Archive {
                uri: archive.uri.clone(),
                suite: archive.suite.clone(),
                digest: archive.digest,
            })
            .collect(),
        sources: record
            .steps
            .iter()
            .filter(|step| step.kind != StepKind::Packages)
            .flat_map(|step| step.layers.iter().map(move |layer| (step, layer)))
            .map(|(step, layer)| Source { title: step.title.clone(), digest: *layer })
            .collect(),
        version: record.program.trim_start_matches("hornero ").to_owned(),
        invocation: record.steps.last().map_or(record.image, |step| step.key).hex(),
        started: None,
        finished: None,
    })
}

/// What the operator asked for.
fn definition(record: &BakeRecord) -> BTreeMap<String, Value> {
    let steps: Vec<Value> = record
        .steps
        .iter()
        .map(|step| json!({ "title": step.title, "inputs": step.key }))
        .collect();
    let mut definition = BTreeMap::from([("steps".to_owned(), json!(steps))]);
    if let Some(locked) = &record.locked {
        definition.insert("suite".to_owned(), json!(locked.suite));
        definition.insert("architecture".to_owned(), json!(locked.architecture));
        definition.insert("packages".to_owned(), json!(locked.requested));
    }
    if let Some(moved) = &record.moved {
        definition.insert("image".to_owned(), json!(moved.image));
        definition.insert("base".to_owned(), json!(moved.base));
        definition.insert("forced".to_owned(), json!(moved.forced));
    }
    definition
}
