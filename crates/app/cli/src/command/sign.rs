//! Signs what this home bakes: a statement of how each image came to be, attached to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use hornero_bake::{BakeError, BakeRecord, BakedImage, Lock, StepKind};
use hornero_control::{Denied, ProvenanceCheck};
use hornero_ledger::Keys;
use hornero_model::{Digest, ImageName, PublicKey, Timestamp, TrustedKey};
use hornero_provenance::{
    Archive, Attested, KeyId, Origin, Package, Parent, Signer, Source, attest, sign,
};
use hornero_spec::{Base, Spec, StoredImage};
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
        // Whoever signs has made something, or is about to.
        hornero_control::format::claim(home)?;
        Keys::of_home(home).map(Self).map_err(|error| Failure::of(&error))
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

/// A home's key with what verifies statements against it.
struct Vouching<'v> {
    store: &'v Arc<Store>,
    key: HomeKey,
    provenance: ProvenanceCheck,
}

impl<'v> Vouching<'v> {
    fn of(home: &Path, store: &'v Arc<Store>) -> Result<Self, Failure> {
        let key = HomeKey::of(home)?;
        let provenance = ProvenanceCheck::new(Arc::clone(store), key.public_key());
        Ok(Self { store, key, provenance })
    }

    /// Whether this home signed an image: that there is something under its key is not enough, who sends an image may
    /// have put it there.
    fn check(&self, image: &Digest) -> Result<(), Denied> {
        self.provenance.check(image, &[])
    }

    /// Whether this home signed an image, beside another record of how it was made than the one that is there.
    fn is_beside_another(&self, image: &Digest) -> bool {
        self.check(image).is_err() && self.provenance.check_image(image, &[]).is_ok()
    }

    /// Whether this home signed an image, or a key that the project trusts. Of an image from elsewhere, a record of how
    /// it was made that is not the one that was signed is taken away, or it would keep the right one out when the image
    /// is pulled again; of one of this home, a bake may just have written it that did not sign yet.
    fn check_base(&self, project: &Project, image: &Digest) -> Result<(), Failure> {
        let trust = trusted(&project.spec);
        let Err(denied) = self.provenance.check(image, &trust) else { return Ok(()) };
        let is_ours = self.provenance.check_image(image, &[]).is_ok();
        if !is_ours && self.provenance.check_image(image, &trust).is_ok() {
            self.provenance.forget_record(image)?;
        }
        Err(denied.into())
    }

    /// The kind of the attachment that holds this home's envelope.
    fn kind(&self) -> String {
        KeyId::of(&self.key.public_key()).attachment()
    }

    /// The envelope with what is said of an image, beside the record that it has.
    fn envelope(&self, about: &Attested) -> Result<Vec<u8>, Failure> {
        let statement = attest(about);
        let statement = match self.provenance.record(&about.image)? {
            Some(record) => statement.beside(&record),
            None => statement,
        };
        Ok(sign(&statement, &self.key))
    }

    fn attach(&self, about: &Attested) -> Result<(), Failure> {
        Ok(self.store.attach(&about.image, &self.kind(), &self.envelope(about)?)?)
    }
}

/// Takes away what came with an image under this home's key and is not by it: it would keep this home from signing the
/// same image when it bakes it. Where this home signed the image, so is a record of how it was made that it did not sign.
pub fn disown(home: &Path, store: &Arc<Store>, image: &Digest) -> Result<(), Failure> {
    let vouching = Vouching::of(home, store)?;
    if vouching.is_beside_another(image) {
        vouching.provenance.forget_record(image)?;
    } else if store.attachments(image)?.contains(&vouching.kind()) && vouching.check(image).is_err()
    {
        store.detach(image, &vouching.kind())?;
    }
    Ok(())
}

/// Whether this home vouches for an image.
pub fn vouched(home: &Path, store: &Arc<Store>, image: &Digest) -> Result<(), Failure> {
    Ok(Vouching::of(home, store)?.check(image)?)
}

/// Whether images of a project may be made on these: this home signed each, or a key that the project trusts. Asked
/// before anything of them is executed.
pub fn check_bases(
    home: &Path,
    store: &Arc<Store>,
    project: &Project,
    bases: impl IntoIterator<Item = Digest>,
) -> Result<(), Failure> {
    let vouching = Vouching::of(home, store)?;
    let mut bases = bases.into_iter();
    bases.try_for_each(|base| vouching.check_base(project, &base))
}

/// What images of a project name of the store to be made on, as far as it is there. A name leads where the lock says;
/// for a lock that is renewed, where the store says.
pub fn stored_bases(
    store: &Store,
    project: &Project,
    names: &[ImageName],
    renewed: bool,
) -> Result<BTreeSet<Digest>, Failure> {
    let lock = if renewed { None } else { Lock::read(&project.dir).map_err(BakeError::from)? };
    let mut bases = BTreeSet::new();
    for image in names.iter().filter_map(|name| project.spec.images.get(name)) {
        let digest = match &image.base {
            Base::Stored(StoredImage::Digest(digest)) => Some(*digest),
            Base::Stored(StoredImage::Name(name)) => {
                match lock.as_ref().and_then(|lock| lock.stored.get(name)) {
                    Some(digest) => Some(*digest),
                    None => store.get_ref(&format!("image/{name}"))?,
                }
            }
            Base::Debian { .. } | Base::Image(_) => None,
        };
        bases.extend(digest.filter(|digest| store.has_image(digest)));
    }
    Ok(bases)
}

/// The keys of the `trust` blocks.
pub fn trusted(spec: &Spec) -> Vec<TrustedKey> {
    let trust = spec.trust.iter();
    trust.map(|(name, key)| TrustedKey { name: name.clone(), public_key: *key }).collect()
}

/// Signs what was baked and what this home did not sign yet, or signed beside another record of how it was made; what an
/// image is made on comes before it. An image is only signed where that is Debian, or was signed, or may be trusted by
/// the project; one that came from elsewhere is not: a signature of this home must not stand for what nobody here made.
pub fn baked(
    home: &Path,
    store: &Arc<Store>,
    project: &Project,
    images: &[BakedImage],
) -> Result<(), Failure> {
    let vouching = Vouching::of(home, store)?;
    let kind = vouching.kind();
    let mut sound: BTreeSet<Digest> = BTreeSet::new();
    let mut signed: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    for image in images {
        let digest = image.digest;
        if let Some(base) = image.base.filter(|base| !sound.contains(base)) {
            vouching.check_base(project, &base)?;
        }
        let denied = vouching.check(&digest).err().filter(|_| !sound.contains(&digest));
        let Some(denied) = denied else {
            sound.insert(digest);
            continue;
        };
        if image.base == Some(digest) {
            continue;
        }
        // The very same image was made again by other steps, by this run or by one that failed before it signed: no pull
        // puts a record in the place of one that is there.
        let is_ours = vouching.provenance.check_image(&digest, &[]).is_ok();
        // What was this home's and is altered is not signed over; what others left under its key is.
        let of_others = matches!(denied.code, "provenance_unsigned" | "provenance_unknown_key");
        if !is_ours && !of_others && store.attachments(&digest)?.contains(&kind) {
            vouching.check_base(project, &digest)?;
            continue;
        }
        let Some(record) = BakeRecord::of(store, &digest)? else { continue };
        let mut about = attested(store, &record)?;
        if !image.cached {
            let now = Timestamp::now();
            about.started = Some(Timestamp(now.0.saturating_sub((image.seconds * 1e3) as u64)));
            about.finished = Some(now);
        }
        signed.insert(digest, vouching.envelope(&about)?);
        sound.insert(digest);
    }
    let attachments: Vec<(Digest, &str, &[u8])> = signed
        .iter()
        .map(|(digest, envelope)| (*digest, kind.as_str(), envelope.as_slice()))
        .collect();
    Ok(store.attach_all(&attachments)?)
}

/// Signs an image that was made of others by a move, where this home vouches for those; else says that it does not.
pub fn moved(
    home: &Path,
    store: &Arc<Store>,
    of: &[Digest],
    image: &Digest,
) -> Result<(), Failure> {
    let vouching = Vouching::of(home, store)?;
    if let Some(denied) = of.iter().find_map(|part| vouching.check(part).err()) {
        tell!("note     {} is not signed: {denied}", image.short());
        return Ok(());
    }
    // Its first statement says how it came to be, and stays as long as the record that it names.
    match vouching.check(image) {
        Ok(()) => Ok(()),
        Err(_) => recorded(&vouching, image),
    }
}

/// Signs an image that the home has a record of.
fn recorded(vouching: &Vouching<'_>, image: &Digest) -> Result<(), Failure> {
    let Some(record) = BakeRecord::of(vouching.store, image)? else {
        let text = format!("nothing is recorded of how image `{}` came to be", image.short());
        return Err(Failure::new(exit::FAILED, text));
    };
    vouching.attach(&attested(vouching.store, &record)?)
}

/// Signs an image that this home's operator brought in from `from`: a path or a reference.
pub fn imported(
    home: &Path,
    store: &Arc<Store>,
    name: &str,
    image: &Digest,
    from: &str,
) -> Result<(), Failure> {
    let vouching = Vouching::of(home, store)?;
    // What this home signed comes back with the record that it signed, or with none; where it is from elsewhere, the
    // record is of this import.
    if vouching.is_beside_another(image) && BakeRecord::of(store, image)?.is_some() {
        vouching.provenance.forget_record(image)?;
    }
    if vouching.check(image).is_ok() {
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
        version: hornero_model::program_version().to_owned(),
        invocation: image.hex(),
        started: None,
        finished: Some(Timestamp::now()),
    };
    vouching.attach(&about)
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
