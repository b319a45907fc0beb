//! Keeps `hornero.lock` true to `hornero.hcl`: resolves what changed and leaves the rest as it is.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::Path,
};

use hornero_apt::{
    Lock, LockedImage, LockedPackage,
    access::Access,
    architecture,
    archive_state::Seen,
    policy::Policy,
    repository::Suite,
    sources_list::ArchiveRequest,
    universe::{self, Candidate},
};
use hornero_model::{Digest, ImageName};
use hornero_spec::{Base, ImageDefinition, Spec, StoredImage};

use crate::{
    BakeContext, BakeError,
    declared::{ancestors, archive_request, has_entry, with_ancestors},
    fit::{declares, misfit, sorted},
    progress::{BakeEvent, BakeProgress},
    resolving::Resolving,
    stored,
};

/// What may happen to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// It must fit as it is.
    Frozen,
    /// What changed is resolved; everything else keeps its version.
    Keep,
    /// Everything is resolved afresh.
    Update,
}

/// Makes or refreshes the lock of a directory for every image, and fetches nothing but indexes.
pub fn lock(
    context: &BakeContext<'_>,
    spec: &Spec,
    dir: &Path,
    mode: LockMode,
) -> Result<Lock, BakeError> {
    let access = context.access()?;
    let names: Vec<ImageName> = spec.images.keys().cloned().collect();
    let images = with_ancestors(spec, &names)?;
    let old = Lock::read(dir)?;
    let find = |name: &ImageName| stored::find(&context.store()?, name);
    let progress = context.progress;
    let bringing = Bringing { spec, dir, mode, access: &access, find: &find, progress };
    let lock = bringing.up_to_date(&images, old.as_ref())?;
    if mode != LockMode::Frozen {
        lock.write(dir)?;
    }
    Ok(lock)
}

/// How a lock is brought up to date.
pub(crate) struct Bringing<'b> {
    /// What is declared.
    pub spec: &'b Spec,
    /// The directory it was read from.
    pub dir: &'b Path,
    /// What may happen.
    pub mode: LockMode,
    /// Access to archives.
    pub access: &'b Access<'b>,
    /// What a name leads to in the store.
    pub find: &'b dyn Fn(&ImageName) -> Result<Option<Digest>, BakeError>,
    /// Is told what happens.
    pub progress: &'b dyn BakeProgress,
}

impl Bringing<'_> {
    /// The lock that fits these images (ancestors first), made from the old one.
    pub(crate) fn up_to_date(
        &self,
        images: &[&ImageDefinition],
        old: Option<&Lock>,
    ) -> Result<Lock, BakeError> {
        let Self { spec, dir, mode, access, progress, .. } = *self;
        let architecture = architecture()?;
        let mut lock = old.cloned().unwrap_or_default();
        lock.images.retain(|name, _| spec.images.get(name).is_some_and(has_entry));
        pin(spec, images, &mut lock, mode, self.find)?;
        let mut stale = self.stale(images, &lock, architecture);
        if mode == LockMode::Frozen
            && let Some((image, reason)) = stale.pop_first()
        {
            return Err(BakeError::LockOutdated { image: image.clone(), reason });
        }
        let seen = old.into_iter().flat_map(|old| old.images.values());
        let seen = Seen::of(seen.flat_map(|image| &image.archives));
        let mut loaded: BTreeMap<ArchiveRequest, Vec<Suite>> = BTreeMap::new();
        for name in stale.keys() {
            let Some(request) = archive_request(spec, &spec.images[name], dir) else { continue };
            if let Entry::Vacant(slot) = loaded.entry(request) {
                let suites = access.load(slot.key(), architecture, &seen)?;
                slot.insert(suites);
            }
        }
        let mut listed: BTreeMap<&ArchiveRequest, Vec<Candidate<'_>>> = BTreeMap::new();
        let mut policies: BTreeMap<&ArchiveRequest, Policy> = BTreeMap::new();
        for (key, suites) in &loaded {
            listed.insert(key, universe::listed(suites, architecture)?);
            policies.insert(key, access.policy(key)?);
        }
        for image in images.iter().filter(|image| stale.contains_key(&image.name)) {
            let Some(request) = archive_request(spec, image, dir) else { continue };
            let known = lock.images.get(&image.name);
            let inherited: Vec<&LockedPackage> = ancestors(spec, image)
                .into_iter()
                .filter_map(|name| lock.images.get(name))
                .flat_map(|locked| &locked.packages)
                .collect();
            let suites = &loaded[&request];
            let resolving = Resolving {
                image,
                suites,
                listed: &listed[&request],
                policy: &policies[&request],
                keep: if mode == LockMode::Update { None } else { known },
                inherited,
                architecture,
                access,
            };
            let locked = locked(&resolving, &request, known)?;
            progress.event(BakeEvent::Resolved {
                image: image.name.clone(),
                packages: locked.packages.len(),
            });
            lock.images.insert(image.name.clone(), locked);
        }
        Ok(lock)
    }

    /// The images whose locks do not fit any more, and why; those on one of them as well.
    fn stale<'i>(
        &self,
        images: &[&'i ImageDefinition],
        lock: &Lock,
        architecture: &str,
    ) -> BTreeMap<&'i ImageName, String> {
        let mut stale: BTreeMap<&ImageName, String> = BTreeMap::new();
        for image in images.iter().filter(|image| has_entry(image)) {
            let known = lock.images.get(&image.name);
            let reason = misfit(known, self.spec, image, self.dir, architecture);
            let afresh =
                || (self.mode == LockMode::Update).then(|| "it is resolved afresh".to_owned());
            let on_stale =
                || ancestors(self.spec, image).iter().any(|name| stale.contains_key(name));
            if let Some(reason) = reason.or_else(afresh) {
                stale.insert(&image.name, reason);
            } else if on_stale() {
                let reason = "the image it is made from has other packages now";
                stale.insert(&image.name, reason.to_owned());
            }
        }
        stale
    }
}

/// An image with its packages resolved. The date of the archive is part of every image: where nothing else is new, it stays
/// as well.
fn locked(
    resolving: &Resolving<'_>,
    request: &ArchiveRequest,
    known: Option<&LockedImage>,
) -> Result<LockedImage, BakeError> {
    let packages = resolving.run()?;
    let same = known.filter(|known| known.packages == packages && declares(known, request));
    let fresh = || resolving.suites.iter().map(|suite| suite.state.clone()).collect();
    Ok(LockedImage {
        suite: request.suite.clone(),
        architecture: resolving.architecture.to_owned(),
        from: resolving.image.base.image().cloned(),
        requested: sorted(&resolving.image.packages),
        archives: same.map_or_else(fresh, |known| known.archives.clone()),
        packages,
    })
}

/// Pins every name that an image is made on, as `mode` allows; names that no image of the file uses are dropped.
fn pin(
    spec: &Spec,
    images: &[&ImageDefinition],
    lock: &mut Lock,
    mode: LockMode,
    find: &dyn Fn(&ImageName) -> Result<Option<Digest>, BakeError>,
) -> Result<(), BakeError> {
    let used: BTreeSet<&ImageName> = spec.images.values().filter_map(name_of).collect();
    lock.stored.retain(|name, _| used.contains(name));
    for (image, name) in images.iter().filter_map(|image| Some((image, name_of(image)?))) {
        match (lock.stored.contains_key(name), mode) {
            (true, LockMode::Keep | LockMode::Frozen) => {}
            (false, LockMode::Frozen) => {
                let reason = format!("`{name}` of the store, which it is made on, is not there");
                return Err(BakeError::LockOutdated { image: image.name.clone(), reason });
            }
            (_, LockMode::Update) | (false, LockMode::Keep) => {
                let found = find(name)?.ok_or_else(|| BakeError::NoStoredImage {
                    image: image.name.clone(),
                    from: name.to_string(),
                })?;
                lock.stored.insert(name.clone(), found);
            }
        }
    }
    Ok(())
}

fn name_of(image: &ImageDefinition) -> Option<&ImageName> {
    match &image.base {
        Base::Stored(StoredImage::Name(name)) => Some(name),
        Base::Stored(StoredImage::Digest(_)) | Base::Debian { .. } | Base::Image(_) => None,
    }
}
