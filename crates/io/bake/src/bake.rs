//! Bakes the images of a directory: each step from the cache where its inputs are known, else for real.

use std::path::Path;

use hornero_apt::Lock;
use hornero_model::{Digest, ImageName};
use hornero_spec::Spec;
use hornero_store::Store;

use crate::{
    BakeContext, BakeError,
    baked::BakedImage,
    baker::{Below, ImageOutcome, parent_of},
    declared, fit,
    image::place,
    line::Line,
    locking::{Bringing, LockMode},
    placed, stored,
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
    place::clean(&context.home)?;
    let images = declared::with_ancestors(spec, names)?;
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

/// Says what a bake would do, without doing it: nothing is fetched, resolved or run.
pub fn forecast(
    context: &BakeContext<'_>,
    store: &Store,
    spec: &Spec,
    dir: &Path,
    names: &[ImageName],
) -> Result<Vec<Forecast>, BakeError> {
    let images = declared::with_ancestors(spec, names)?;
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
        let reason = fit::misfit_of(lock.images.get(&image.name), spec, image, dir)?;
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
