//! Images of a directory on their way through a bake, ancestors first, with the lock that they are baked by.

use std::path::Path;

use hornero_apt::{Lock, access::Access};
use hornero_model::Digest;
use hornero_spec::{ImageDefinition, Spec};
use hornero_store::Store;

use crate::{
    BakeContext, BakeError,
    baked::BakedImage,
    baker::{Baker, Below, ImageOutcome, parent_of},
    fit,
    image::{place, secret_files::SecretFiles, step::Steps},
    maker::Maker,
    surroundings::Surroundings,
};

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
            if waits || fit::misfit_of(misfit, self.spec, image, self.dir)?.is_some() {
                continue;
            }
            if let ImageOutcome::Baked(baked) = baker.image(image, parent.as_ref())? {
                done.push(*baked);
            }
        }
        Ok(done.into_iter().map(|(baked, _)| baked).collect())
    }
}
