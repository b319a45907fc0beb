//! Resolves the packages of one image: what is locked stays as long as it can.

use std::collections::{BTreeSet, HashMap};

use hornero_apt::{
    LockedImage, LockedPackage,
    access::Access,
    packages::{self, Stanza},
    policy::Policy,
    repository::Suite,
    resolve::{self, Request},
    universe::{Candidate, Universe},
};
use hornero_dpkg::deb;
use hornero_rebase::debian::control;
use hornero_spec::{Base, ImageDefinition};

use crate::BakeError;

/// Packages that a base has wherever its archive has them: `/usr` is merged from the start, so the package that
/// says so stands in for the one that would convert it.
const TAKEN_IF_AVAILABLE: [&str; 1] = ["usr-is-merged"];

/// An image whose packages are resolved.
pub(crate) struct Resolving<'r> {
    /// The image.
    pub image: &'r ImageDefinition,
    /// What its archives have.
    pub suites: &'r [Suite],
    /// Their packages.
    pub listed: &'r [Candidate<'r>],
    /// Which archive a package comes from.
    pub policy: &'r Policy,
    /// What is locked of it so far and stays where it can; None where all is resolved afresh.
    pub keep: Option<&'r LockedImage>,
    /// The packages of what it is made on.
    pub inherited: Vec<&'r LockedPackage>,
    /// The architecture.
    pub architecture: &'r str,
    /// Access to archives.
    pub access: &'r Access<'r>,
}

impl Resolving<'_> {
    /// Resolves them.
    pub(crate) fn run(&self) -> Result<Vec<LockedPackage>, BakeError> {
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
