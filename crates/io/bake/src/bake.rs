//! Bakes the images of a directory: each step from the cache where its inputs are known, else for real.

use std::path::Path;

use hornero_apt::{Lock, access::Access};
use hornero_model::{Digest, ImageName};
use hornero_spec::{ImageDefinition, Spec};
use hornero_store::Store;

use crate::{
    BakeContext, BakeError,
    baker::{Baker, Below, ImageOutcome, parent_of},
    image::{place, secret_files::SecretFiles, step::Steps},
    install::Surroundings,
    locking::{self, Bringing, LockMode},
    making::Maker,
    placed, stored,
    workdir::WorkDir,
};

/// What may happen in a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BakeOptions {
    /// The lock must fit as it is.
    pub locked: bool,
    /// What the cache holds is looked at file by file, and what is damaged is baked anew.
    pub verify: bool,
    /// Images are placed on this base instead of the one they were baked on.
    pub base: Option<Digest>,
}

/// An image that was baked.
#[derive(Debug, Clone, PartialEq)]
pub struct BakedImage {
    /// Its name.
    pub name: ImageName,
    /// Its identity.
    pub digest: Digest,
    /// The image it is made on; None for a Debian base.
    pub base: Option<Digest>,
    /// Whether nothing had to be done.
    pub cached: bool,
    /// How long it took.
    pub seconds: f64,
    /// Its steps in order.
    pub steps: Vec<BakedStep>,
}

/// A step of an image that was baked.
#[derive(Debug, Clone, PartialEq)]
pub struct BakedStep {
    /// What it was, for people.
    pub title: String,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// Why it ran; empty where it did not.
    pub why: String,
    /// How long it took.
    pub seconds: f64,
}

/// What a bake would do with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Its name.
    pub name: ImageName,
    /// Its identity, where every step is in the cache.
    pub digest: Option<Digest>,
    /// Why it would be baked, where it would.
    pub why: Option<String>,
}

/// Bakes images of a directory, and whatever they are made from; gives those asked for, in the order asked.
pub fn bake(
    context: &BakeContext<'_>,
    store: &Store,
    spec: &Spec,
    dir: &Path,
    names: &[ImageName],
    options: BakeOptions,
) -> Result<Vec<BakedImage>, BakeError> {
    clean(context)?;
    let images = locking::with_ancestors(spec, names)?;
    let access = context.access()?;
    let old = Lock::read(dir)?;
    let mode = if options.locked { LockMode::Frozen } else { LockMode::Keep };
    let find = |name: &ImageName| stored::find(store, name);
    let progress = context.progress;
    let bringing = Bringing { spec, dir, mode, access: &access, find: &find, progress };
    let lock = bringing.up_to_date(&images, old.as_ref())?;
    if old.as_ref() != Some(&lock) && !options.locked {
        lock.write(dir)?;
    }
    // Nothing that this bake finds or makes is deleted before its references stand.
    let _lease = store.lease().map_err(BakeError::store)?;
    let (access, lock, images) = (&access, &lock, &images[..]);
    let line = Line { context, store, access, spec, dir, images, lock, verify: options.verify };
    let done = line.bake(&mut |_, _| Ok(()))?;
    let wanted = |name: &ImageName| done.iter().find(|baked| baked.name == *name);
    let wanted: Vec<BakedImage> = names.iter().filter_map(wanted).cloned().collect();
    match &options.base {
        None => Ok(wanted),
        Some(base) => placed::place(&line, &done, wanted, base),
    }
}

/// Removes what bakes that were killed left behind.
pub(crate) fn clean(context: &BakeContext<'_>) -> Result<(), BakeError> {
    let tmp = context.home.join("tmp");
    WorkDir::clean(&tmp).map_err(|error| BakeError::file(&tmp, error))?;
    place::clean_leftovers(&context.home);
    Ok(())
}

/// Images of a directory (ancestors first) with the lock to bake them by.
pub(crate) struct Line<'l> {
    /// The surroundings.
    pub context: &'l BakeContext<'l>,
    /// Where they go.
    pub store: &'l Store,
    /// Access to archives.
    pub access: &'l Access<'l>,
    /// What is declared.
    pub spec: &'l Spec,
    /// The directory it was read from.
    pub dir: &'l Path,
    /// The images.
    pub images: &'l [&'l ImageDefinition],
    /// Their packages.
    pub lock: &'l Lock,
    /// What the cache holds is looked at file by file.
    pub verify: bool,
}

/// Is told of an image before it is baked, with what it is made on.
pub(crate) type Before<'b> =
    dyn FnMut(&ImageDefinition, Option<&Digest>) -> Result<(), BakeError> + 'b;

impl Line<'_> {
    pub(crate) fn baker<'s>(&'s self, tmp: &'s Path, forecast: bool) -> Baker<'s> {
        let surroundings = Surroundings {
            store: self.store,
            access: self.access,
            steps: Steps { home: &self.context.home, progress: self.context.progress },
            tmp,
            progress: self.context.progress,
        };
        let maker = Maker { surroundings, forecast, verify: self.verify };
        let (context, spec, dir, lock) = (self.context, self.spec, self.dir, self.lock);
        Baker { context, maker, spec, dir, lock, secrets: SecretFiles::of(spec, dir) }
    }

    /// Bakes every image.
    pub(crate) fn bake(&self, before: &mut Before<'_>) -> Result<Vec<BakedImage>, BakeError> {
        let tmp = self.context.home.join("tmp");
        let baker = self.baker(&tmp, false);
        let mut done: Vec<(BakedImage, Below)> = Vec::new();
        let one =
            |image: &ImageDefinition, done: &[(BakedImage, Below)], before: &mut Before<'_>| {
                let parent = parent_of(self.store, self.lock, image, done)?;
                before(image, parent.as_ref().map(|parent| &parent.image))?;
                baker.image(image, parent.as_ref())
            };
        let mut failure = None;
        for image in self.images {
            match one(image, &done, before) {
                Ok(ImageOutcome::Baked(baked)) => done.push(*baked),
                Ok(ImageOutcome::Needed(_)) => unreachable!("only a forecast stops before a step"),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        hornero_sandbox::remove_parent(&place::cgroup_parent(&self.context.home));
        match failure {
            Some(error) => Err(error),
            None => Ok(done.into_iter().map(|(baked, _)| baked).collect()),
        }
    }

    /// The images that were baked by this lock before and need nothing done; nothing is.
    pub(crate) fn known(&self) -> Result<Vec<BakedImage>, BakeError> {
        let tmp = self.context.home.join("tmp");
        let baker = self.baker(&tmp, true);
        let mut done: Vec<(BakedImage, Below)> = Vec::new();
        for image in self.images {
            let parent = match parent_of(self.store, self.lock, image, &done) {
                Err(BakeError::NoStoredImage { .. }) => continue,
                parent => parent?,
            };
            let waits = image.base.image().is_some() && parent.is_none();
            let misfit = self.lock.images.get(&image.name);
            if waits || locking::misfit_of(misfit, self.spec, image, self.dir)?.is_some() {
                continue;
            }
            if let ImageOutcome::Baked(baked) = baker.image(image, parent.as_ref())? {
                done.push(*baked);
            }
        }
        Ok(done.into_iter().map(|(baked, _)| baked).collect())
    }
}

/// Says what a bake would do, without doing it: nothing is fetched, resolved or run.
pub fn forecast(
    context: &BakeContext<'_>,
    store: &Store,
    spec: &Spec,
    dir: &Path,
    names: &[ImageName],
) -> Result<Vec<Forecast>, BakeError> {
    let images = locking::with_ancestors(spec, names)?;
    let access = context.access()?;
    let lock = Lock::read(dir)?.unwrap_or_default();
    let tmp = context.home.join("tmp");
    let (access, lock, lines) = (&access, &lock, &images[..]);
    let line = Line { context, store, access, spec, dir, images: lines, lock, verify: false };
    let baker = line.baker(&tmp, true);
    let mut done: Vec<(BakedImage, Below)> = Vec::new();
    let mut forecasts: Vec<Forecast> = Vec::new();
    for image in &images {
        let name = image.name.clone();
        let parent_waits = image.base.image().is_some_and(|parent| {
            forecasts.iter().any(|one| one.name == *parent && one.digest.is_none())
        });
        let reason = locking::misfit_of(lock.images.get(&image.name), spec, image, dir)?;
        let forecast = if parent_waits {
            let why = Some("the image it is made from is baked".to_owned());
            Forecast { name, digest: None, why }
        } else if let Some(reason) = reason {
            Forecast { name, digest: None, why: Some(reason) }
        } else {
            match baker.image(image, parent_of(store, lock, image, &done)?.as_ref())? {
                ImageOutcome::Baked(baked) => {
                    let digest = Some(baked.0.digest);
                    done.push(*baked);
                    Forecast { name, digest, why: None }
                }
                ImageOutcome::Needed(why) => Forecast { name, digest: None, why: Some(why) },
            }
        };
        forecasts.push(forecast);
    }
    forecasts.retain(|one| names.contains(&one.name));
    Ok(forecasts)
}
