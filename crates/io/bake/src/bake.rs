//! Bakes the images of a directory: each step from the cache where its inputs are known, else for real.

use std::{path::Path, time::Instant};

use hornero_model::{Digest, ImageConfig, ImageName};
use hornero_spec::{Base, ImageDefinition, Spec, StoredImage};
use hornero_store::{ImageManifest, Store};

use crate::{
    BakeContext, BakeError,
    accounts::Accounts,
    archive::access::Access,
    image::{
        copy,
        step::{self, Steps},
    },
    install::Surroundings,
    lock::{Lock, LockedImage},
    locking::{self, Bringing, LockMode},
    making::{Maker, Making, Work},
    outcome, ownership, placed,
    provision::Provisioning,
    record::{BakeRecord, LastBake, StepKind},
    stored,
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
    step::clean_cgroups(&context.home);
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
        Baker { context: self.context, maker, spec: self.spec, dir: self.dir, lock: self.lock }
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
                Ok(Outcome::Baked(baked)) => done.push(*baked),
                Ok(Outcome::Needed(_)) => unreachable!("only a forecast stops before a step"),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        hornero_sandbox::remove_parent(&step::cgroup_parent(&self.context.home));
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
            if let Outcome::Baked(baked) = baker.image(image, parent.as_ref())? {
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
                Outcome::Baked(baked) => {
                    let digest = Some(baked.0.digest);
                    done.push(*baked);
                    Forecast { name, digest, why: None }
                }
                Outcome::Needed(why) => Forecast { name, digest: None, why: Some(why) },
            }
        };
        forecasts.push(forecast);
    }
    forecasts.retain(|one| names.contains(&one.name));
    Ok(forecasts)
}

/// What an image is made on, and leaves to those made from it.
#[derive(Debug, Clone)]
pub(crate) struct Below {
    /// The image itself.
    pub image: Digest,
    /// Its layers, from the bottom up.
    pub layers: Vec<Digest>,
    /// The newest time of its files, in seconds since the Unix epoch.
    pub epoch: u64,
    /// The configuration of the image of the store that it is made on in the end, which no file tells.
    pub inherits: Option<ImageConfig>,
}

fn parent_of(
    store: &Store,
    lock: &Lock,
    image: &ImageDefinition,
    done: &[(BakedImage, Below)],
) -> Result<Option<Below>, BakeError> {
    Ok(match &image.base {
        Base::Debian { .. } => None,
        Base::Image(parent) => {
            done.iter().find(|(baked, _)| baked.name == *parent).map(|(_, below)| below.clone())
        }
        Base::Stored(stored) => Some(stored_image(store, lock, &image.name, stored)?),
    })
}

/// An image that is in the store already.
fn stored_image(
    store: &Store,
    lock: &Lock,
    name: &ImageName,
    stored: &StoredImage,
) -> Result<Below, BakeError> {
    let missing = || BakeError::NoStoredImage { image: name.clone(), from: stored.to_string() };
    let image = stored::digest(store, stored, lock)?;
    let image = image.filter(|image| store.has_image(image)).ok_or_else(missing)?;
    let ImageManifest { layers, config, .. } = store.image(&image).map_err(BakeError::store)?;
    let epoch = stored::epoch(store, &image)?;
    Ok(Below { image, layers, epoch, inherits: Some(config) })
}

/// What came of an image.
pub(crate) enum Outcome {
    /// It is there.
    Baked(Box<(BakedImage, Below)>),
    /// It would be baked, for this reason.
    Needed(String),
}

/// Bakes one image after the other.
pub(crate) struct Baker<'b> {
    context: &'b BakeContext<'b>,
    maker: Maker<'b>,
    spec: &'b Spec,
    dir: &'b Path,
    lock: &'b Lock,
}

impl Baker<'_> {
    /// Whether an image has no packages of its own, or is known with them on what it would lie on.
    pub(crate) fn has_packages(
        &self,
        image: &ImageDefinition,
        below: &Below,
    ) -> Result<bool, BakeError> {
        let locked = self.lock.images.get(&image.name).filter(|_| locking::has_entry(image));
        let Some(locked) = locked else { return Ok(true) };
        let (chain, epoch) = (outcome::chain(&below.layers), below.epoch.max(locked.date()));
        let key = outcome::step_key(StepKind::Packages, &chain, &locked.key(), epoch);
        let store = self.maker.surroundings.store;
        let known = outcome::Outcome::cached(store, &key)?;
        Ok(known.is_some_and(|known| known.layers.iter().all(|layer| store.has_layer(layer))))
    }

    /// Bakes an image; its parent is baked already.
    pub(crate) fn image(
        &self,
        image: &ImageDefinition,
        parent: Option<&Below>,
    ) -> Result<Outcome, BakeError> {
        let started = Instant::now();
        let inherits = parent.and_then(|parent| parent.inherits.as_ref());
        let completed = inherits
            .map(|base| ImageDefinition { config: image.config.clone().on(base), ..image.clone() });
        let image = completed.as_ref().unwrap_or(image);
        let locked = self.lock.images.get(&image.name).filter(|_| locking::has_entry(image));
        let cache_dir = self.context.home.join("cache");
        let inherited = parent.map_or(0, |parent| parent.epoch);
        let mut making = Making {
            name: image.name.clone(),
            layers: parent.map(|parent| parent.layers.clone()).unwrap_or_default(),
            epoch: inherited.max(locked.map_or(0, LockedImage::date)),
            steps: Vec::new(),
            records: Vec::new(),
            secrets: Vec::new(),
            last: LastBake::of(&cache_dir, self.dir, &image.name),
        };
        for work in &self.works(image, locked)? {
            if let Some(why) = self.maker.step(&mut making, work)? {
                return Ok(Outcome::Needed(why));
            }
        }
        let manifest = ImageManifest::new(making.layers.clone(), image.config.clone());
        let digest = manifest.digest();
        let store = self.maker.surroundings.store;
        // One that can't be read any more is put again, which mends it.
        let known = store.image(&digest).is_ok();
        if !known && self.maker.forecast {
            return Ok(Outcome::Needed("its configuration changed".to_owned()));
        }
        if !known {
            if let Some(parent) = parent {
                ownership::check_below(store, &image.name, &parent.image, &parent.layers)?;
            }
            self.check_user(image, &making)?;
            let stored = store.put_image(&manifest).map_err(BakeError::store)?;
            debug_assert_eq!(stored, digest);
        }
        let cached = known && making.steps.iter().all(|step| step.cached);
        if !self.maker.forecast {
            if !cached {
                let parent = parent.map(|parent| parent.image);
                let steps = making.records.clone();
                let mut record =
                    BakeRecord::new(&image.name, digest, parent, making.epoch, locked, steps);
                record.secrets_in_image = std::mem::take(&mut making.secrets);
                record.save(store)?;
            }
            making.last.save(&making.records);
        }
        let baked = BakedImage {
            name: image.name.clone(),
            digest,
            base: parent.map(|parent| parent.image),
            cached,
            seconds: started.elapsed().as_secs_f64(),
            steps: making.steps,
        };
        let below = Below {
            image: digest,
            layers: making.layers,
            epoch: making.epoch,
            inherits: inherits.cloned(),
        };
        Ok(Outcome::Baked(Box::new((baked, below))))
    }

    /// The steps of an image, in order.
    fn works<'l>(
        &self,
        image: &ImageDefinition,
        locked: Option<&'l LockedImage>,
    ) -> Result<Vec<Work<'l>>, BakeError> {
        let copies = self.context.home.join("cache/copies");
        let mut works = Vec::new();
        let request = locking::archive_request(self.spec, image, self.dir);
        if let (Some(locked), Some(request)) = (locked, request) {
            works.push(Work::Packages { locked, request });
        }
        for source in &image.copies {
            let found = copy::survey(&image.name, self.dir, source, &copies)?;
            works.push(Work::Copy { source: source.clone(), found });
        }
        for provision in &image.provisions {
            let provisioning = Provisioning::survey(self.context, image, provision, self.dir)?;
            works.push(Work::Provision(provisioning));
        }
        works.extend(image.run.iter().map(|command| Work::Run {
            command: command.clone(),
            env: image.config.env.clone(),
            network: image.network,
        }));
        Ok(works)
    }

    /// The user that the image's command runs as has to be in it.
    fn check_user(&self, image: &ImageDefinition, making: &Making) -> Result<(), BakeError> {
        let user = &image.config.user;
        let store = self.maker.surroundings.store;
        let tree = store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        if Accounts::read(store, &tree).user(user).is_some() {
            return Ok(());
        }
        let (image, name) = (image.name.clone(), user.clone());
        Err(BakeError::NoAccount { image, kind: "user", name })
    }
}
