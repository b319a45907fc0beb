//! Patches a directory: resolves everything afresh, bakes the bases that changed, and moves the images on them.

use std::{collections::BTreeMap, path::Path, time::Instant};

use hornero_apt::{Lock, LockedImage};
use hornero_model::{Digest, ImageName};
use hornero_rebase::RebaseRefusal;
use hornero_spec::{ImageDefinition, Spec};
use hornero_store::Store;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    BakeContext, BakeError, RebaseError,
    baked::BakedImage,
    changes::{self, PackageChange},
    declared,
    image::place,
    line::Line,
    locking::{Bringing, LockMode},
    rebase::{RebaseOptions, Rebaser},
    stored,
};

/// What may happen in a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchOptions {
    /// Only what would change is found out; nothing is baked, and the lock stays.
    pub dry_run: bool,
}

/// What a patch changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PatchReport {
    /// Packages that changed, by image and name; none where everything was up to date.
    pub changes: Vec<PackageChange>,
    /// The images asked for, in the order asked; none in a dry run.
    pub images: Vec<PatchedImage>,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PatchedImage {
    /// Its name.
    pub name: ImageName,
    /// What it was; None where it was not baked as it is declared now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// What it is now.
    pub new: Digest,
    /// What it was made on; None for a Debian base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_old: Option<Digest>,
    /// What it is made on now; None for a Debian base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_new: Option<Digest>,
    /// How it came to be.
    pub how: PatchedHow,
    /// Why it could not be moved onto its new base and was baked on it instead; none where it was not tried.
    pub refusals: Vec<RebaseRefusal>,
    /// As the refusals, where the move failed before anything could be proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmovable: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// How an image was patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatchedHow {
    /// Its own layers were moved onto the new base.
    Rebased,
    /// It was baked.
    Baked,
    /// It is as it was.
    Unchanged,
}

/// Resolves every image of the directory afresh, then bakes or moves those asked for.
///
/// Images whose own packages changed are baked, and so are those that the proof refuses to move: a bake on the new
/// base is always safe. The lock is written at the end; where anything fails before, it stays as it was. Old images
/// stay, with their packages in their records. Testing the images is the caller's.
pub fn patch(
    context: &BakeContext<'_>,
    store: &Store,
    spec: &Spec,
    dir: &Path,
    names: &[ImageName],
    options: PatchOptions,
) -> Result<PatchReport, BakeError> {
    let all: Vec<ImageName> = spec.images.keys().cloned().collect();
    let everything = declared::with_ancestors(spec, &all)?;
    let images = declared::with_ancestors(spec, names)?;
    let access = context.access()?;
    let old = Lock::read(dir)?;
    let find = |name: &ImageName| stored::find(store, name);
    let (mode, progress) = (LockMode::Update, context.progress);
    let bringing = Bringing { spec, dir, mode, access: &access, find: &find, progress };
    let lock = bringing.up_to_date(&everything, old.as_ref())?;
    let old = old.unwrap_or_default();
    let changes = changes::package_changes(&old, &lock);
    if options.dry_run {
        return Ok(PatchReport { changes, images: Vec::new() });
    }
    place::clean(&context.home)?;
    let _lease = store.lease().map_err(BakeError::store)?;
    let (access, images) = (&access, &images[..]);
    let line = Line { context, store, access, spec, dir, images, lock: &old, verify: false };
    let before = line.known()?;
    let attempts = BTreeMap::new();
    let (old_lock, new_lock, before) = (&old, &lock, &before[..]);
    let mut moving = Moving { store, images, old: old_lock, new: new_lock, before, attempts };
    let line = Line { lock: &lock, ..line };
    let done = line.bake(&mut |image, base| moving.before(image, base))?;
    if old != lock {
        lock.write(dir)?;
    }
    let patched = |name: &ImageName| {
        done.iter().find(|baked| baked.name == *name).map(|baked| moving.patched(baked))
    };
    Ok(PatchReport { changes, images: names.iter().filter_map(patched).collect() })
}

/// What became of the attempt to move an image.
#[derive(Default)]
struct Attempt {
    moved: Option<Digest>,
    refusals: Vec<RebaseRefusal>,
    unmovable: Option<String>,
    milliseconds: u64,
}

/// Moves images before they are baked: the bake then finds the steps of the moved image in the cache.
struct Moving<'m> {
    store: &'m Store,
    images: &'m [&'m ImageDefinition],
    old: &'m Lock,
    new: &'m Lock,
    before: &'m [BakedImage],
    attempts: BTreeMap<ImageName, Attempt>,
}

impl Moving<'_> {
    fn was(&self, name: &ImageName) -> Option<&BakedImage> {
        self.before.iter().find(|baked| baked.name == *name)
    }

    /// Moves an image onto its base, where that is another one now, and with it all others that move the same way:
    /// both bases are compared once, and what is written is synced together.
    fn before(&mut self, image: &ImageDefinition, base: Option<&Digest>) -> Result<(), BakeError> {
        let from = self.was(&image.name).and_then(|was| was.base);
        let (Some(from), Some(to)) = (from, base) else { return Ok(()) };
        if from == *to || self.attempts.contains_key(&image.name) {
            return Ok(());
        }
        let started = Instant::now();
        let own = |lock: &Lock, name: &ImageName| lock.images.get(name).map(LockedImage::key);
        let alike: Vec<&BakedImage> = self
            .images
            .iter()
            .filter(|other| other.base == image.base)
            .filter(|other| own(self.old, &other.name) == own(self.new, &other.name))
            .filter_map(|other| self.was(&other.name))
            .filter(|was| was.base == Some(from))
            .collect();
        let digests: Vec<Digest> = alike.iter().map(|was| was.digest).collect();
        if digests.is_empty() {
            return Ok(());
        }
        let rebaser = Rebaser::new(self.store, &from, to)?;
        let moved = rebaser.images(&digests, RebaseOptions::default())?;
        let each = milliseconds(started.elapsed().as_secs_f64() / digests.len() as f64);
        let names: Vec<ImageName> = alike.iter().map(|was| was.name.clone()).collect();
        for (name, outcome) in names.into_iter().zip(moved) {
            let mut attempt = Attempt { milliseconds: each, ..Attempt::default() };
            match outcome {
                Ok(rebased) => attempt.moved = Some(rebased.image),
                Err(RebaseError::Refused { refusals, .. }) => attempt.refusals = refusals,
                Err(RebaseError::Bake(error)) => return Err(error),
                Err(error) => attempt.unmovable = Some(error.to_string()),
            }
            self.attempts.insert(name, attempt);
        }
        Ok(())
    }

    fn patched(&self, baked: &BakedImage) -> PatchedImage {
        let was = self.was(&baked.name);
        let none = Attempt::default();
        let attempt = self.attempts.get(&baked.name).unwrap_or(&none);
        let how = if was.is_some_and(|was| was.digest == baked.digest) {
            PatchedHow::Unchanged
        } else if attempt.moved == Some(baked.digest) {
            PatchedHow::Rebased
        } else {
            PatchedHow::Baked
        };
        PatchedImage {
            name: baked.name.clone(),
            old: was.map(|was| was.digest),
            new: baked.digest,
            base_old: was.and_then(|was| was.base),
            base_new: baked.base,
            how,
            refusals: attempt.refusals.clone(),
            unmovable: attempt.unmovable.clone(),
            milliseconds: attempt.milliseconds + milliseconds(baked.seconds),
        }
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}
