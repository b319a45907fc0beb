//! Bakes the images of a directory: each step from the cache where its inputs are known, else for real.

use std::{path::Path, time::Instant};

use hornero_model::{Digest, ImageName};
use hornero_spec::{Base, CopySource, ImageDefinition, Spec};
use hornero_store::{ImageManifest, Store, Stored};

use crate::{
    BakeContext, BakeError,
    accounts::Accounts,
    image::{
        copy,
        step::{self, Step, Steps},
    },
    install::{Installation, Surroundings},
    lock::{Lock, LockedImage},
    locking::{self, LockMode},
    progress::Event,
    record::{BakeRecord, LastBake, StepKind, StepRecord},
    root::configure,
    workdir::WorkDir,
};

/// Changes whenever a step with the same inputs gives another result.
const STEP_EPOCH: u32 = 1;

/// What may happen in a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BakeOptions {
    /// The lock must fit as it is.
    pub locked: bool,
    /// What the cache holds is looked at file by file, and what is damaged is baked anew.
    pub verify: bool,
}

/// An image that was baked.
#[derive(Debug, Clone, PartialEq)]
pub struct BakedImage {
    /// Its name.
    pub name: ImageName,
    /// Its identity.
    pub digest: Digest,
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
    let tmp = context.home.join("tmp");
    WorkDir::clean(&tmp).map_err(|error| BakeError::file(&tmp, error))?;
    step::clean_cgroups(&context.home);
    let images = locking::with_ancestors(spec, names)?;
    let access = context.access()?;
    let old = Lock::read(dir)?;
    let mode = if options.locked { LockMode::Frozen } else { LockMode::Keep };
    let lock = locking::bring_up_to_date(
        spec,
        &images,
        dir,
        old.as_ref(),
        mode,
        &access,
        context.progress,
    )?;
    if old.as_ref() != Some(&lock) && !options.locked {
        lock.write(dir)?;
    }
    // Nothing that this bake finds or makes is deleted before its references stand.
    let _lease = store.lease().map_err(BakeError::store)?;
    let surroundings = Surroundings {
        store,
        access: &access,
        steps: Steps { home: &context.home, progress: context.progress },
        tmp: &tmp,
        progress: context.progress,
    };
    let verify = options.verify;
    let baker = Baker { context, surroundings, spec, dir, lock: &lock, forecast: false, verify };
    let mut done: Vec<(BakedImage, Below)> = Vec::new();
    let mut failure = None;
    for image in &images {
        match baker.image(image, parent_of(image, &done)) {
            Ok(Outcome::Baked(baked, below)) => done.push((baked, below)),
            Ok(Outcome::Needed(_)) => unreachable!("only a forecast stops before a step"),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    hornero_sandbox::remove_parent(&step::cgroup_parent(&context.home));
    match failure {
        Some(error) => Err(error),
        None => Ok(names
            .iter()
            .filter_map(|name| done.iter().find(|(baked, _)| baked.name == *name))
            .map(|(baked, _)| baked.clone())
            .collect()),
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
    let surroundings = Surroundings {
        store,
        access: &access,
        steps: Steps { home: &context.home, progress: context.progress },
        tmp: &tmp,
        progress: context.progress,
    };
    let baker =
        Baker { context, surroundings, spec, dir, lock: &lock, forecast: true, verify: false };
    let mut done: Vec<(BakedImage, Below)> = Vec::new();
    let mut forecasts: Vec<Forecast> = Vec::new();
    for image in &images {
        let name = image.name.clone();
        let parent_waits = match &image.base {
            Base::Image(parent) => {
                forecasts.iter().any(|one| one.name == *parent && one.digest.is_none())
            }
            Base::Debian { .. } => false,
        };
        let reason = locking::misfit_of(lock.images.get(&image.name), spec, image, dir)?;
        let forecast = if parent_waits {
            let why = Some("the image it is made from is baked".to_owned());
            Forecast { name, digest: None, why }
        } else if let Some(reason) = reason {
            Forecast { name, digest: None, why: Some(reason) }
        } else {
            match baker.image(image, parent_of(image, &done))? {
                Outcome::Baked(baked, below) => {
                    let digest = Some(baked.digest);
                    done.push((baked, below));
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
struct Below {
    image: Digest,
    layers: Vec<Digest>,
    epoch: u64,
}

fn parent_of<'d>(image: &ImageDefinition, done: &'d [(BakedImage, Below)]) -> Option<&'d Below> {
    match &image.base {
        Base::Debian { .. } => None,
        Base::Image(parent) => {
            done.iter().find(|(baked, _)| baked.name == *parent).map(|(_, below)| below)
        }
    }
}

enum Outcome {
    Baked(BakedImage, Below),
    Needed(String),
}

struct Baker<'b> {
    context: &'b BakeContext<'b>,
    surroundings: Surroundings<'b>,
    spec: &'b Spec,
    dir: &'b Path,
    lock: &'b Lock,
    forecast: bool,
    verify: bool,
}

/// What a step does, with what it needs.
enum Work<'w> {
    Packages(&'w LockedImage),
    Copy(&'w CopySource, Vec<copy::Found>),
    Run(&'w str),
}

/// An image in the making.
struct Making<'m> {
    image: &'m ImageDefinition,
    layers: Vec<Digest>,
    epoch: u64,
    steps: Vec<BakedStep>,
    records: Vec<StepRecord>,
    last: LastBake,
}

impl Baker<'_> {
    fn image(&self, image: &ImageDefinition, parent: Option<&Below>) -> Result<Outcome, BakeError> {
        let started = Instant::now();
        let locked = self.lock.images.get(&image.name);
        let cache_dir = self.context.home.join("cache");
        let inherited = parent.map_or(0, |parent| parent.epoch);
        let mut making = Making {
            image,
            layers: parent.map(|parent| parent.layers.clone()).unwrap_or_default(),
            epoch: inherited.max(locked.map_or(0, LockedImage::date)),
            steps: Vec::new(),
            records: Vec::new(),
            last: LastBake::of(&cache_dir, self.dir, &image.name),
        };
        let mut waiting = Vec::new();
        if let Some(locked) = locked {
            waiting.push(Work::Packages(locked));
        }
        for source in &image.copies {
            let found = copy::survey(&image.name, self.dir, source, &cache_dir.join("copies"))?;
            waiting.push(Work::Copy(source, found));
        }
        waiting.extend(image.run.iter().map(|command| Work::Run(command)));
        for work in &waiting {
            if let Some(why) = self.step(&mut making, work)? {
                return Ok(Outcome::Needed(why));
            }
        }
        let manifest = ImageManifest::new(making.layers.clone(), image.config.clone());
        let digest = manifest.digest();
        let store = self.surroundings.store;
        // One that can't be read any more is put again, which mends it.
        let known = store.image(&digest).is_ok();
        if !known && self.forecast {
            return Ok(Outcome::Needed("its configuration changed".to_owned()));
        }
        if !known {
            self.check_user(&making)?;
            let stored = store.put_image(&manifest).map_err(BakeError::store)?;
            debug_assert_eq!(stored, digest);
        }
        if !self.forecast {
            if !known || !making.steps.iter().all(|step| step.cached) {
                let parent = parent.map(|parent| parent.image);
                let steps = making.records.clone();
                let record =
                    BakeRecord::new(&image.name, digest, parent, making.epoch, locked, steps);
                record.save(store)?;
            }
            making.last.save(&making.records);
        }
        let baked = BakedImage {
            name: image.name.clone(),
            digest,
            cached: known && making.steps.iter().all(|step| step.cached),
            seconds: started.elapsed().as_secs_f64(),
            steps: making.steps,
        };
        Ok(Outcome::Baked(
            baked,
            Below { image: digest, layers: making.layers, epoch: making.epoch },
        ))
    }

    /// Whether layers of the cache are there; where asked for, also whether all they hold is whole.
    fn are_there(&self, layers: &[Digest]) -> Result<bool, BakeError> {
        let store = self.surroundings.store;
        for layer in layers {
            let there = match self.verify {
                true => store.is_layer_whole(layer).map_err(BakeError::store)?,
                false => store.has_layer(layer),
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a step from the cache or does it; in a forecast gives why it would be done.
    fn step(&self, making: &mut Making<'_>, work: &Work<'_>) -> Result<Option<String>, BakeError> {
        let started = Instant::now();
        let store = self.surroundings.store;
        let below = chain(&making.layers);
        let (kind, title, inputs, own_key) = self.describe(making, work);
        let text = format!(
            "hornero step epoch {STEP_EPOCH}\n{kind:?}\n{below}\n{own_key}\n{}",
            making.epoch
        );
        let key = Digest::of(text.as_bytes());
        let mut record = StepRecord { title, kind, key, below, inputs, layers: Vec::new() };
        let title = record.title.clone();
        let image = making.image.name.clone();
        let progress = self.context.progress;
        let known = store.cache_get(&key).map_err(BakeError::store)?;
        let known = known.and_then(|bytes| serde_json::from_slice::<Vec<Digest>>(&bytes).ok());
        let known = match known {
            Some(layers) if self.are_there(&layers)? => Some(layers),
            Some(_) | None => None,
        };
        let (layers, why) = match known {
            Some(layers) => (layers, None),
            None => {
                let why = making.last.why(making.records.len(), &record);
                if self.forecast {
                    return Ok(Some(format!("{title}: {why}")));
                }
                progress.event(Event::StepStarted { image: image.clone(), step: title.clone() });
                let layers = self.run(making, work, &title)?;
                let bytes = serde_json::to_vec(&layers).expect("digests are always JSON");
                store.cache_put(&key, &bytes).map_err(BakeError::store)?;
                (layers, Some(why))
            }
        };
        let cached = why.is_none();
        let why = why.unwrap_or_default();
        let elapsed = started.elapsed();
        if !self.forecast {
            progress.event(Event::StepFinished {
                image,
                step: title.clone(),
                cached,
                why: why.clone(),
                milliseconds: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            });
        }
        making.layers.extend_from_slice(&layers);
        record.layers = layers;
        making.records.push(record);
        making.steps.push(BakedStep { title, cached, why, seconds: elapsed.as_secs_f64() });
        Ok(None)
    }

    /// Kind, title, inputs by name, and the identity of those inputs.
    fn describe(
        &self,
        making: &Making<'_>,
        work: &Work<'_>,
    ) -> (StepKind, String, std::collections::BTreeMap<String, String>, Digest) {
        match work {
            Work::Packages(locked) => {
                let inputs = locked
                    .packages
                    .iter()
                    .map(|package| (package.name.clone(), package.version.clone()))
                    .collect();
                let title = match locked.packages.len() {
                    1 => "1 package".to_owned(),
                    count => format!("{count} packages"),
                };
                (StepKind::Packages, title, inputs, locked.key())
            }
            Work::Copy(source, found) => {
                let mut inputs = copy::fingerprints(source, found);
                let options = format!("{:?} {:?}", source.mode, source.owner);
                inputs.insert(format!("to {}", source.to), options);
                let title = format!("copy `{}` to `{}`", source.from, source.to);
                (StepKind::Copy, title, inputs, copy::key(source, found))
            }
            Work::Run(command) => {
                let env = &making.image.config.env;
                let network = making.image.network;
                let mut inputs: std::collections::BTreeMap<String, String> = env
                    .iter()
                    .map(|(name, value)| (format!("env {name}"), value.clone()))
                    .collect();
                inputs.insert("command".to_owned(), (*command).to_owned());
                inputs.insert("network".to_owned(), network.to_string());
                let text = serde_json::to_string(&inputs).expect("plain data is always JSON");
                let short: String = command.chars().take(60).collect();
                let more = if short.len() < command.len() { "…" } else { "" };
                let title = format!("run `{short}{more}`");
                (StepKind::Run, title, inputs, Digest::of(text.as_bytes()))
            }
        }
    }

    fn run(
        &self,
        making: &Making<'_>,
        work: &Work<'_>,
        title: &str,
    ) -> Result<Vec<Digest>, BakeError> {
        match work {
            Work::Packages(locked) => self.surroundings.install(&Installation {
                image: &making.image.name,
                locked,
                request: &locking::archive_request(self.spec, making.image, self.dir),
                below: &making.layers,
                epoch: making.epoch,
            }),
            Work::Copy(source, found) => self.copy(making, source, found),
            Work::Run(command) => self.command(making, command, title),
        }
    }

    fn copy(
        &self,
        making: &Making<'_>,
        source: &CopySource,
        found: &[copy::Found],
    ) -> Result<Vec<Digest>, BakeError> {
        let store = self.surroundings.store;
        let tree = store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        let image = &making.image.name;
        let accounts = Accounts::read(store, &tree);
        let missing = |kind, name: &str| BakeError::NoAccount {
            image: image.clone(),
            kind,
            name: name.to_owned(),
        };
        let user = &source.owner.user;
        let (uid, mut gid) = accounts.user(user).ok_or_else(|| missing("user", user))?;
        if let Some(group) = &source.owner.group {
            gid = accounts.group(group).ok_or_else(|| missing("group", group))?;
        }
        let ingest = store.ingest().map_err(BakeError::store)?;
        let has = |digest: Digest, size: u64| {
            store.is_content_whole(Stored { digest, size }).unwrap_or(false)
        };
        let mut put = |file: &mut std::fs::File| {
            let stored = ingest.put(&source.from, file).map_err(BakeError::store)?;
            Ok((stored.digest, stored.size))
        };
        let layer = copy::layer(image, source, found, (uid, gid), &tree, &has, &mut put)?;
        let digest = ingest.put_layer(&layer).map_err(BakeError::store)?;
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(vec![digest])
    }

    fn command(
        &self,
        making: &Making<'_>,
        command: &str,
        title: &str,
    ) -> Result<Vec<Digest>, BakeError> {
        let surroundings = &self.surroundings;
        let tree = surroundings.store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        let work = WorkDir::create(surroundings.tmp)
            .map_err(|error| BakeError::file(surroundings.tmp, error))?;
        let mut env = configure::environment(making.epoch);
        env.extend(making.image.config.env.clone());
        let step = Step {
            image: &making.image.name,
            title: title.to_owned(),
            script: command.to_owned(),
            env,
            lower: Some(surroundings.composed(&making.layers)?),
            dir: work.path(),
            network: making.image.network,
        };
        Ok(surroundings.run_and_capture(&step, &tree, making.epoch)?.into_iter().collect())
    }

    /// The user that the image's command runs as has to be in it.
    fn check_user(&self, making: &Making<'_>) -> Result<(), BakeError> {
        let user = &making.image.config.user;
        let store = self.surroundings.store;
        let tree = store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        if Accounts::read(store, &tree).user(user).is_some() {
            return Ok(());
        }
        let (image, name) = (making.image.name.clone(), user.clone());
        Err(BakeError::NoAccount { image, kind: "user", name })
    }
}

/// The identity of layers, from the bottom up.
fn chain(layers: &[Digest]) -> Digest {
    let bytes: Vec<u8> = layers.iter().flat_map(|layer| *layer.as_bytes()).collect();
    Digest::of(&bytes)
}
