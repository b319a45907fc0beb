//! Places images on another base than the one that the directory declares.

use std::collections::BTreeMap;

use hornero_model::{Digest, ImageName};
use hornero_rebase::RefusalKind;
use hornero_spec::{Base, ImageDefinition, Spec};
use hornero_store::Store;

use crate::{
    BakeError, RebaseError,
    baked::BakedImage,
    baker::{Baker, Below, ImageOutcome},
    image::place,
    line::Line,
    rebase::{RebaseOptions, Rebased, Rebaser},
    record::BakeRecord,
    stored,
};

/// The wanted ones among the images that were baked, on `base` wherever that could be what they are made on in the
/// end: a base of the same suite. Bases themselves stay as they are.
///
/// An image whose packages were installed on what it comes to lie on before, or that has none, is baked there: what
/// runs sees what it will run on. Any other is moved, by the proof.
pub(crate) fn place(
    line: &Line<'_>,
    done: &[BakedImage],
    wanted: Vec<BakedImage>,
    base: &Digest,
) -> Result<Vec<BakedImage>, BakeError> {
    let suite = suite_of(line.store, base)?;
    let fits = |image: &BakedImage| {
        root(line.spec, &image.name).is_some_and(|root| match &root.base {
            Base::Debian { suite: wanted, .. } => *wanted == suite && root.name != image.name,
            Base::Image(_) | Base::Stored(_) => false,
        })
    };
    if !wanted.iter().any(&fits) {
        let reason = format!("it is of suite `{suite}`, and none of the images is made on that");
        return Err(BakeError::NotABase { base: *base, reason });
    }
    let tmp = line.context.home.join("tmp");
    let baker = line.baker(&tmp, false);
    let mut placing = Placing { line, baker, done, base, placed: BTreeMap::new() };
    let placed = wanted.into_iter().map(|image| match fits(&image) {
        false => Ok(image),
        true => Ok(placing.placed(&image.name)?.0),
    });
    let placed: Result<Vec<BakedImage>, BakeError> = placed.collect();
    hornero_sandbox::remove_parent(&place::cgroup_parent(&line.context.home));
    placed
}

/// The suite of a Debian base; anything else is refused.
fn suite_of(store: &Store, base: &Digest) -> Result<String, BakeError> {
    let refused = |reason: &str| BakeError::NotABase { base: *base, reason: reason.to_owned() };
    if !store.has_image(base) {
        return Err(refused("it is not in the store"));
    }
    let record = BakeRecord::of(store, base)?
        .ok_or_else(|| refused("nothing is recorded of how it was baked"))?;
    match (record.parent, record.locked) {
        (None, Some(locked)) => Ok(locked.suite),
        (Some(_), _) => Err(refused("it is made on another image itself")),
        (None, None) => Err(refused("it has no packages")),
    }
}

fn root<'s>(spec: &'s Spec, name: &ImageName) -> Option<&'s ImageDefinition> {
    let mut image = spec.images.get(name)?;
    while let Some(parent) = image.base.image() {
        image = spec.images.get(parent)?;
    }
    Some(image)
}

/// The way back to an older base is what was asked for: that packages of it are older is recorded, and no refusal as long
/// as everything else holds.
fn older(
    moved: Result<Rebased, RebaseError>,
    again: impl FnOnce() -> Result<Rebased, RebaseError>,
) -> Result<Rebased, RebaseError> {
    match moved {
        Err(RebaseError::Refused { refusals, .. })
            if refusals.iter().all(|one| one.kind == RefusalKind::PackageDowngraded) =>
        {
            again()
        }
        other => other,
    }
}

struct Placing<'p> {
    line: &'p Line<'p>,
    baker: Baker<'p>,
    done: &'p [BakedImage],
    base: &'p Digest,
    placed: BTreeMap<ImageName, (BakedImage, Below)>,
}

impl Placing<'_> {
    /// An image on the base, and what it leaves to those made from it; the depth is that of its line.
    fn placed(&mut self, name: &ImageName) -> Result<(BakedImage, Below), BakeError> {
        if let Some(known) = self.placed.get(name) {
            return Ok(known.clone());
        }
        let baked = self.done.iter().find(|baked| baked.name == *name).cloned();
        let baked = baked.ok_or_else(|| BakeError::NoImage(name.to_string()))?;
        let image = &self.line.spec.images[name];
        let outcome = match image.base.image() {
            None => self.is_now(baked, *self.base, None)?,
            Some(parent) => {
                let (_, below) = self.placed(parent)?;
                if baked.base == Some(below.image) {
                    let digest = baked.digest;
                    self.is_now(baked, digest, Some(below.image))?
                } else if self.baker.has_packages(image, &below)? {
                    match self.baker.image(image, Some(&below))? {
                        ImageOutcome::Baked(baked) => *baked,
                        ImageOutcome::Needed(_) => {
                            unreachable!("only a forecast stops before a step")
                        }
                    }
                } else {
                    let from = baked.base.unwrap_or(*self.base);
                    let rebaser = Rebaser::new(self.line.store, &from, &below.image)?;
                    let moved =
                        older(rebaser.image(&baked.digest, RebaseOptions::default()), || {
                            rebaser.image(&baked.digest, RebaseOptions { force: true })
                        })?;
                    let baked = BakedImage { cached: false, ..baked };
                    self.is_now(baked, moved.image, Some(below.image))?
                }
            }
        };
        self.placed.insert(name.clone(), outcome.clone());
        Ok(outcome)
    }

    fn is_now(
        &self,
        baked: BakedImage,
        digest: Digest,
        base: Option<Digest>,
    ) -> Result<(BakedImage, Below), BakeError> {
        let store = self.line.store;
        let layers = store.image(&digest).map_err(BakeError::store)?.layers;
        let epoch = stored::epoch(store, &digest)?;
        let below = Below { image: digest, layers, epoch, inherits: None };
        Ok((BakedImage { digest, base, ..baked }, below))
    }
}
