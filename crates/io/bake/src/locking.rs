//! Keeps `hornero.lock` true to `hornero.hcl`: resolves what changed and leaves the rest as it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    path::Path,
};

use hornero_apt::{
    Lock, LockedImage, LockedPackage,
    access::Access,
    architecture,
    packages::{self, Stanza},
    policy::Policy,
    repository::{Seen, Suite},
    resolve::{self, Request},
    sources_list::{ArchiveRequest, DeclaredArchive},
    universe::{self, Candidate, Universe},
};
use hornero_dpkg::deb;
use hornero_model::{Digest, ImageName};
use hornero_rebase::debian::control;
use hornero_spec::{ArchiveDefinition, Base, ImageDefinition, Spec};

use crate::{
    BakeContext, BakeError,
    progress::{BakeEvent, BakeProgress},
    stored,
};

/// Packages that a base has wherever its archive has them: `/usr` is merged from the start, so the package that
/// says so stands in for the one that would convert it.
const TAKEN_IF_AVAILABLE: [&str; 1] = ["usr-is-merged"];

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

/// The images of `names` and everything they are made from, ancestors first.
pub(crate) fn with_ancestors<'s>(
    spec: &'s Spec,
    names: &[ImageName],
) -> Result<Vec<&'s ImageDefinition>, BakeError> {
    let mut order: Vec<&ImageDefinition> = Vec::new();
    for name in names {
        let mut line = Vec::new();
        let mut at = Some(name);
        while let Some(name) = at {
            let image =
                spec.images.get(name).ok_or_else(|| BakeError::NoImage(name.to_string()))?;
            line.push(image);
            at = image.base.image();
        }
        let stored = line.last().is_some_and(|root| matches!(root.base, Base::Stored(_)));
        if let Some(image) = line.iter().find(|image| stored && !image.packages.is_empty()) {
            return Err(BakeError::PackagesOnStored { image: image.name.clone() });
        }
        for image in line.into_iter().rev() {
            if !order.iter().any(|known| known.name == image.name) {
                order.push(image);
            }
        }
    }
    Ok(order)
}

/// The archives that an image's packages come from: that of the Debian base at its root, and those declared from there
/// on; None where that is no Debian
/// base, and no package of its own is allowed.
pub(crate) fn archive_request(
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
) -> Option<ArchiveRequest> {
    let mut image = image;
    let mut archives: Vec<DeclaredArchive> = Vec::new();
    loop {
        // The nearest declaration of a name counts.
        let new = image.archives.iter().filter(|new| archives.iter().all(|it| it.name != new.name));
        let new: Vec<DeclaredArchive> = new.map(|archive| declared(archive, dir)).collect();
        archives.extend(new);
        match &image.base {
            Base::Debian { suite, mirror, keyring } => {
                archives.sort();
                return Some(ArchiveRequest {
                    suite: suite.clone(),
                    mirror: mirror.clone(),
                    keyring: keyring.as_ref().map(|keyring| dir.join(keyring)),
                    archives,
                });
            }
            Base::Image(parent) => image = &spec.images[parent],
            Base::Stored(_) => return None,
        }
    }
}

fn declared(archive: &ArchiveDefinition, dir: &Path) -> DeclaredArchive {
    DeclaredArchive {
        name: archive.name.clone(),
        uri: archive.url.trim_end_matches('/').to_owned(),
        suite: archive.suite.clone(),
        components: archive.components.clone(),
        keyring: dir.join(&archive.signed_by),
    }
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
        stored::pin(spec, images, &mut lock, mode, self.find)?;
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

/// Whether an image has packages of its own to be locked.
pub(crate) fn has_entry(image: &ImageDefinition) -> bool {
    matches!(image.base, Base::Debian { .. }) || !image.packages.is_empty()
}

fn ancestors<'s>(spec: &'s Spec, image: &'s ImageDefinition) -> Vec<&'s ImageName> {
    let mut names = Vec::new();
    let mut image = image;
    while let Base::Image(parent) = &image.base {
        names.push(parent);
        image = &spec.images[parent];
    }
    names
}

fn sorted(packages: &[String]) -> Vec<String> {
    let mut packages = packages.to_vec();
    packages.sort();
    packages.dedup();
    packages
}

/// Why an image's lock entry would have to change; None where it fits or none is needed.
pub(crate) fn misfit_of(
    known: Option<&LockedImage>,
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
) -> Result<Option<String>, BakeError> {
    if !has_entry(image) {
        return Ok(None);
    }
    Ok(misfit(known, spec, image, dir, architecture()?))
}

/// Why a lock entry does not fit its image; None when it does.
fn misfit(
    known: Option<&LockedImage>,
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
    architecture: &str,
) -> Option<String> {
    let request = archive_request(spec, image, dir)?;
    let Some(known) = known else { return Some("it has no entry there".to_owned()) };
    if known.architecture != architecture {
        return Some(format!(
            "it is for architecture `{}`, this machine is `{architecture}`",
            known.architecture
        ));
    }
    if known.suite != request.suite {
        return Some(format!("its suite was `{}`, is now `{}`", known.suite, request.suite));
    }
    if known.from.as_ref() != image.base.image() {
        return Some("it is made from another image now".to_owned());
    }
    if !declares(known, &request) {
        return Some("the archives that are declared for it are others now".to_owned());
    }
    let wanted = sorted(&image.packages);
    if known.requested != wanted {
        return Some(format!(
            "its packages were [{}], are now [{}]",
            known.requested.join(", "),
            wanted.join(", ")
        ));
    }
    None
}

/// Whether a lock entry was made with the archives that a request declares.
fn declares(known: &LockedImage, request: &ArchiveRequest) -> bool {
    let mut locked: Vec<_> = known
        .archives
        .iter()
        .filter_map(|state| {
            Some((state.name.as_ref()?, &state.uri, &state.suite, &state.components))
        })
        .collect();
    locked.sort();
    let mut declared: Vec<_> = request
        .archives
        .iter()
        .map(|archive| (&archive.name, &archive.uri, &archive.suite, &archive.components))
        .collect();
    declared.sort();
    locked == declared
}

struct Resolving<'r> {
    image: &'r ImageDefinition,
    suites: &'r [Suite],
    listed: &'r [Candidate<'r>],
    policy: &'r Policy,
    keep: Option<&'r LockedImage>,
    inherited: Vec<&'r LockedPackage>,
    architecture: &'r str,
    access: &'r Access<'r>,
}

impl Resolving<'_> {
    fn run(&self) -> Result<Vec<LockedPackage>, BakeError> {
        let kept: &[LockedPackage] = self.keep.map_or(&[], |keep| &keep.packages);
        let mut pinned: HashMap<String, String> = kept
            .iter()
            .chain(self.inherited.iter().copied())
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect();
        for wanted in &self.image.packages {
            if let Some((name, version)) = wanted.split_once('=') {
                pinned.insert(name.to_owned(), version.to_owned());
            }
        }
        // Versions that the archive has dropped can still be kept when their files are in the cache.
        let listed_versions: BTreeSet<(&str, &str)> =
            self.listed.iter().map(|one| (one.stanza.name, one.stanza.version)).collect();
        let dropped: Vec<&LockedPackage> = kept
            .iter()
            .chain(self.inherited.iter().copied())
            .filter(|one| !listed_versions.contains(&(one.name.as_str(), one.version.as_str())))
            .collect();
        let controls: Vec<String> = dropped
            .iter()
            .map(|package| {
                let bytes = self.access.cache().verified(&package.digest()).ok().flatten();
                bytes.and_then(|bytes| deb::read_control(&bytes).ok()).unwrap_or_else(|| {
                    format!("Package: {}\nVersion: {}\n", package.name, package.version)
                })
            })
            .collect();
        let mut fixed = Vec::new();
        let mut extra = Vec::new();
        for (package, text) in dropped.iter().zip(&controls) {
            let Ok(paragraph) = control::parse_paragraph(text) else { continue };
            let stanza = packages::from_control(&paragraph);
            if self.inherited.iter().any(|one| one.name == package.name) {
                fixed.push(stanza);
            } else if !stanza.architecture.is_empty() {
                let (path, size, sha256) = (&package.path, package.size, &package.sha256);
                let stanza = Stanza { path, size, sha256, ..stanza };
                extra.push(Candidate { stanza, suite: None, origin: None });
            }
        }
        let listed = self.listed.iter().copied().chain(extra);
        let universe = Universe::new(listed, self.policy, &pinned, &fixed);
        let installed: BTreeSet<String> =
            self.inherited.iter().map(|package| package.name.clone()).collect();
        let is_base = matches!(self.image.base, Base::Debian { .. });
        let request = Request {
            packages: &self.image.packages,
            with_essential: is_base,
            if_available: if is_base { &TAKEN_IF_AVAILABLE } else { &[] },
            installed: &installed,
            architecture: self.architecture,
        };
        let chosen = resolve::resolve(&universe, &request).map_err(|problem| {
            BakeError::Unsatisfiable { image: self.image.name.clone(), problem: Box::new(problem) }
        })?;
        Ok(chosen.into_iter().map(|id| self.locked(universe.get(id), kept)).collect())
    }

    fn locked(&self, candidate: &Candidate<'_>, kept: &[LockedPackage]) -> LockedPackage {
        let stanza = &candidate.stanza;
        let (suite, archive) = match candidate.suite.map(|number| &self.suites[number].state) {
            Some(state) => {
                let same = self.suites.iter().filter(|other| other.state.suite == state.suite);
                (state.suite.clone(), (same.count() > 1).then(|| state.uri.clone()))
            }
            None => kept
                .iter()
                .find(|package| package.name == stanza.name)
                .map(|package| (package.suite.clone(), package.archive.clone()))
                .unwrap_or_default(),
        };
        LockedPackage {
            name: stanza.name.to_owned(),
            version: stanza.version.to_owned(),
            architecture: stanza.architecture.to_owned(),
            suite,
            path: stanza.path.to_owned(),
            size: stanza.size,
            sha256: stanza.sha256.to_owned(),
            archive,
        }
    }
}
