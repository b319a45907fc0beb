//! Bakes one image on what it is made on: its steps, its identity, and what is remembered of it.

use std::{path::Path, time::Instant};

use hornero_apt::{Lock, LockedImage};
use hornero_model::{Digest, ImageConfig, ImageName};
use hornero_spec::{Base, ImageDefinition, Spec, StoredImage};
use hornero_store::{ImageManifest, Store};

use crate::{
    BakeContext, BakeError,
    accounts::Accounts,
    baked::BakedImage,
    declared,
    image::{
        copy,
        room::WRITTEN_BYTES_MAX,
        secret_files::{Guard, SecretFiles},
    },
    lineage,
    maker::{Maker, Work},
    making::Making,
    outcome, ownership,
    provision::Provisioning,
    record::{BakeRecord, LastBake, StepKind},
    stored,
};

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

/// What an image is made on; None for a Debian base.
pub(crate) fn parent_of(
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

/// Whether an image has a record that this home wrote.
fn is_recorded_here(store: &Store, image: &Digest) -> Result<bool, BakeError> {
    Ok(BakeRecord::known(store, image)?.is_some_and(|known| known.is_own))
}

/// Whether an image is another one, or lies below that.
fn is_in_line(store: &Store, other: &Below, image: &Digest) -> Result<bool, BakeError> {
    let line = lineage::of(store, &other.image, &other.layers)?;
    Ok(line.iter().any(|stage| stage.image == *image))
}

/// What came of an image.
pub(crate) enum ImageOutcome {
    /// It is there.
    Baked(Box<(BakedImage, Below)>),
    /// It would be baked, for this reason.
    Needed(String),
}

/// Bakes one image after the other.
pub(crate) struct Baker<'b> {
    /// The surroundings.
    pub context: &'b BakeContext<'b>,
    /// Does the steps.
    pub maker: Maker<'b>,
    /// What is declared.
    pub spec: &'b Spec,
    /// The directory it was read from.
    pub dir: &'b Path,
    /// The packages.
    pub lock: &'b Lock,
    /// What no image may keep.
    pub secrets: SecretFiles,
}

impl Baker<'_> {
    /// Whether an image has no packages of its own, or is known with them on what it would lie on.
    pub(crate) fn has_packages(
        &self,
        image: &ImageDefinition,
        below: &Below,
    ) -> Result<bool, BakeError> {
        let locked = self.lock.images.get(&image.name).filter(|_| declared::has_entry(image));
        let Some(locked) = locked else { return Ok(true) };
        let (chain, epoch) = (outcome::chain(&below.layers), below.epoch.max(locked.date()));
        let key = outcome::step_key(StepKind::Packages, &chain, &locked.key(), epoch);
        let store = self.maker.surroundings.store;
        let known = outcome::StepOutcome::cached(store, &key)?;
        let known = known.filter(|known| !known.moved);
        Ok(known.is_some_and(|known| known.layers.iter().all(|layer| store.has_layer(layer))))
    }

    /// Bakes an image; its parent is baked already.
    pub(crate) fn image(
        &self,
        image: &ImageDefinition,
        parent: Option<&Below>,
    ) -> Result<ImageOutcome, BakeError> {
        let started = Instant::now();
        let inherits = parent.and_then(|parent| parent.inherits.as_ref());
        let completed = inherits
            .map(|base| ImageDefinition { config: image.config.clone().on(base), ..image.clone() });
        let image = completed.as_ref().unwrap_or(image);
        let locked = self.lock.images.get(&image.name).filter(|_| declared::has_entry(image));
        let mut making = self.begin(image, parent, locked);
        let works = self.works(image, locked)?;
        for (number, work) in works.iter().enumerate() {
            let is_moved = |making: &Making| self.is_moved(image, making, &works[number..]);
            if let Some(why) = self.maker.step(&mut making, work, &is_moved)? {
                return Ok(ImageOutcome::Needed(why));
            }
        }
        let manifest = ImageManifest::new(making.layers.clone(), image.config.clone());
        let digest = manifest.digest();
        let store = self.maker.surroundings.store;
        // One that can't be read any more is put again, which mends it.
        let known = store.image(&digest).is_ok();
        if !known && self.maker.forecast {
            return Ok(ImageOutcome::Needed("its configuration changed".to_owned()));
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
            self.record(&mut making, digest, parent, locked, cached)?;
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
        Ok(ImageOutcome::Baked(Box::new((baked, below))))
    }

    /// An image of which nothing is made yet.
    fn begin(
        &self,
        image: &ImageDefinition,
        parent: Option<&Below>,
        locked: Option<&LockedImage>,
    ) -> Making {
        let cache_dir = self.context.home.join("cache");
        let inherited = parent.map_or(0, |parent| parent.epoch);
        Making {
            name: image.name.clone(),
            layers: parent.map(|parent| parent.layers.clone()).unwrap_or_default(),
            epoch: inherited.max(locked.map_or(0, LockedImage::date)),
            max_bytes: image.max_size_bytes.unwrap_or(WRITTEN_BYTES_MAX),
            steps: Vec::new(),
            records: Vec::new(),
            secrets: Vec::new(),
            last: LastBake::of(&cache_dir, self.dir, &image.name),
            moved: None,
        }
    }

    /// Records how an image was made. One that was moved keeps the record that says so. What was baked before keeps this
    /// home's own; another may have come with the very same image and say anything.
    fn record(
        &self,
        making: &mut Making,
        digest: Digest,
        parent: Option<&Below>,
        locked: Option<&LockedImage>,
        cached: bool,
    ) -> Result<(), BakeError> {
        let store = self.maker.surroundings.store;
        // One with the very content of an image below it is that image: a record of this making would have it made from
        // itself.
        let is_below = parent.map(|parent| is_in_line(store, parent, &digest)).transpose()?;
        let writes = making.moved != Some(true) && is_below != Some(true);
        if !writes || (cached && is_recorded_here(store, &digest)?) {
            return Ok(());
        }
        let parent = parent.map(|parent| parent.image);
        let steps = making.records.clone();
        let mut record = BakeRecord::new(&making.name, digest, parent, making.epoch, locked, steps);
        record.secrets_in_image = std::mem::take(&mut making.secrets);
        record.save(store)
    }

    /// Whether an image, made so far, comes out as one that is there and has a record of this home, without anything
    /// done.
    fn is_moved(
        &self,
        image: &ImageDefinition,
        making: &Making,
        works: &[Work<'_>],
    ) -> Result<bool, BakeError> {
        let Some(layers) = self.maker.all_cached(making, works)? else { return Ok(false) };
        let digest = ImageManifest::new(layers, image.config.clone()).digest();
        let store = self.maker.surroundings.store;
        Ok(store.image(&digest).is_ok() && is_recorded_here(store, &digest)?)
    }

    /// The steps of an image, in order.
    fn works<'l>(
        &self,
        image: &ImageDefinition,
        locked: Option<&'l LockedImage>,
    ) -> Result<Vec<Work<'l>>, BakeError> {
        let copies = self.context.home.join("cache/copies");
        let mut works = Vec::new();
        let request = declared::archive_request(self.spec, image, self.dir);
        if let (Some(locked), Some(request)) = (locked, request) {
            works.push(Work::Packages { locked, request });
        }
        for source in &image.copies {
            let guard = Guard::Refused(&self.secrets);
            let found = copy::survey(&image.name, self.dir, source, &copies, guard)?;
            works.push(Work::Copy { source: source.clone(), found });
        }
        for provision in &image.provisions {
            let provisioning =
                Provisioning::survey(self.context, image, provision, self.dir, &self.secrets)?;
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
