//! Packages: those an image brought itself have to fit among those of the new base.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use crate::{
    debian::{
        control,
        relation::{self, Relation},
        version,
    },
    refusal::{RebaseRefusal, RefusalKind},
    stanzas::{self, StanzaConflict, Stanzas},
};

/// Packages by name, and who provides, breaks and conflicts with what.
#[derive(Debug, Default)]
pub(crate) struct Index {
    versions: BTreeMap<String, String>,
    /// By provided name: the package, and the version it provides.
    provides: BTreeMap<String, Vec<(String, Option<String>)>>,
    /// By name: which package excludes it, and how the relation is written.
    excludes: BTreeMap<String, Vec<(String, String)>>,
}

/// A package's fields.
struct Package<'s> {
    name: &'s str,
    version: &'s str,
    needs: Vec<Vec<Relation<'s>>>,
    excludes: Vec<Relation<'s>>,
    provides: Vec<Relation<'s>>,
}

impl<'s> Package<'s> {
    /// Reads a stanza; None for a package that is not there. Fields that can't be read ask for nothing.
    fn read(stanza: &'s str) -> Option<Self> {
        if !stanzas::is_present(stanza) {
            return None;
        }
        let paragraph = control::parse_paragraph(stanza).ok()?;
        let relations = |field: &str| {
            relation::parse(paragraph.get(field).unwrap_or_default()).unwrap_or_default()
        };
        let flat = |field: &str| relations(field).into_iter().flatten();
        Some(Self {
            name: paragraph.get("Package")?,
            version: paragraph.get("Version").unwrap_or_default(),
            needs: [relations("Pre-Depends"), relations("Depends")].concat(),
            excludes: flat("Breaks").chain(flat("Conflicts")).collect(),
            provides: flat("Provides").collect(),
        })
    }

    /// The names it answers to, with the version of each.
    fn names(&self) -> impl Iterator<Item = (&'s str, Option<&'s str>)> {
        let provided = self.provides.iter().map(|one| (one.name, one.version.map(|(_, v)| v)));
        std::iter::once((self.name, Some(self.version))).chain(provided)
    }
}

impl Index {
    pub fn of<'s>(stanzas: impl Iterator<Item = &'s Arc<str>>) -> Self {
        let mut index = Self::default();
        for package in stanzas.filter_map(|stanza| Package::read(stanza)) {
            let name = package.name.to_owned();
            for provided in &package.provides {
                let version = provided.version.map(|(_, version)| version.to_owned());
                let list = index.provides.entry(provided.name.to_owned()).or_default();
                list.push((name.clone(), version));
            }
            for excluded in &package.excludes {
                let list = index.excludes.entry(excluded.name.to_owned()).or_default();
                list.push((name.clone(), excluded.to_string()));
            }
            index.versions.insert(name, package.version.to_owned());
        }
        index
    }

    /// Every package of `old` that is older in `new`.
    pub fn downgraded(old: &Self, new: &Self) -> Vec<RebaseRefusal> {
        let older = |(name, was): (&String, &String)| {
            let is = new.versions.get(name)?;
            (version::compare(is, was) == Ordering::Less).then(|| {
                let kind = RefusalKind::PackageDowngraded;
                RebaseRefusal::of_package(
                    kind,
                    name,
                    format!("version {was} or later"),
                    format!("version {is}"),
                )
            })
        };
        old.versions.iter().filter_map(older).collect()
    }
}

/// A base's packages with an image's own ones among them.
pub(crate) struct Installed<'i> {
    base: &'i Index,
    own: Index,
    /// Names of the base's packages that the image replaces or removed.
    hidden: Vec<&'i str>,
}

impl<'i> Installed<'i> {
    /// The packages of `all`, of which those that differ from `base_stanzas` are the image's own.
    pub fn new(base: &'i Index, base_stanzas: &'i Stanzas, all: &Stanzas) -> Self {
        let own = all.iter().filter(|(key, stanza)| base_stanzas.get(*key) != Some(*stanza));
        let own = Index::of(own.map(|(_, stanza)| stanza));
        let differs = base_stanzas.iter().filter(|(key, stanza)| all.get(*key) != Some(*stanza));
        let hidden = differs.filter_map(|(key, _)| key.split(' ').next()).collect();
        Self { base, own, hidden }
    }

    fn version(&self, name: &str) -> Option<&str> {
        let own = self.own.versions.get(name);
        let base = || match self.hidden.contains(&name) {
            true => None,
            false => self.base.versions.get(name),
        };
        own.or_else(base).map(String::as_str)
    }

    fn providers(&self, name: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
        let own = self.own.provides.get(name).into_iter().flatten();
        let base = self.base.provides.get(name).into_iter().flatten();
        own.chain(base.filter(|(package, _)| !self.hidden.contains(&package.as_str())))
            .map(|(package, version)| (package.as_str(), version.as_deref()))
    }

    fn satisfies(&self, relation: &Relation<'_>) -> bool {
        self.version(relation.name).is_some_and(|version| relation.accepts(version))
            || self.providers(relation.name).any(|(_, version)| relation.accepts_provided(version))
    }

    /// The package that a relation of `by` excludes.
    fn excluded(&self, relation: &Relation<'_>, by: &str) -> Option<String> {
        if relation.name != by
            && let Some(version) = self.version(relation.name)
            && relation.accepts(version)
        {
            return Some(format!("`{}` {version}", relation.name));
        }
        let mut providers = self.providers(relation.name);
        providers
            .find(|(package, version)| *package != by && relation.accepts_provided(*version))
            .map(|(package, _)| format!("`{package}`, which provides `{}`", relation.name))
    }

    /// The base's package that excludes one of the image.
    fn excludes(&self, package: &Package<'_>) -> Option<String> {
        package.names().find_map(|(name, version)| {
            let list = self.base.excludes.get(name)?;
            let (by, relation) = list.iter().find(|(by, text)| {
                by != package.name
                    && !self.hidden.contains(&by.as_str())
                    && relation::parse_one(text)
                        .is_ok_and(|relation| relation.accepts_provided(version))
            })?;
            Some(format!("`{by}`, which excludes `{relation}`"))
        })
    }

    /// What there is of what a group of alternatives names.
    fn instead_of(&self, group: &[Relation<'_>]) -> String {
        let there = group.iter().find_map(|relation| {
            let version = self.version(relation.name)?;
            Some(format!("`{}` {version}", relation.name))
        });
        there.unwrap_or_else(|| match group.first() {
            Some(relation) => format!("no `{}`", relation.name),
            None => "nothing".to_owned(),
        })
    }
}

/// What of an image's own packages does not hold any more.
pub(crate) fn refusals(
    old: &Installed<'_>,
    new: &Installed<'_>,
    all: &Stanzas,
) -> Vec<RebaseRefusal> {
    let mut refusals = Vec::new();
    let own = all.values().filter(|stanza| {
        stanzas::field(stanza, "Package").is_some_and(|name| new.own.versions.contains_key(name))
    });
    for package in own.filter_map(|stanza| Package::read(stanza)) {
        for group in &package.needs {
            let holds = |installed: &Installed<'_>| {
                group.iter().any(|relation| installed.satisfies(relation))
            };
            if !holds(new) && holds(old) {
                let alternatives: Vec<String> = group.iter().map(ToString::to_string).collect();
                let need = format!("`{}`", alternatives.join(" | "));
                let found = new.instead_of(group);
                let kind = RefusalKind::PackageMissing;
                refusals.push(RebaseRefusal::of_package(kind, package.name, need, found));
            }
        }
        for relation in &package.excludes {
            if let Some(found) = new.excluded(relation, package.name)
                && old.excluded(relation, package.name).is_none()
            {
                let need = format!("to be without `{relation}`");
                let kind = RefusalKind::PackageConflict;
                refusals.push(RebaseRefusal::of_package(kind, package.name, need, found));
            }
        }
        if let Some(found) = new.excludes(&package)
            && old.excludes(&package).is_none()
        {
            let kind = RefusalKind::PackageConflict;
            let need = format!("to be accepted in version {}", package.version);
            refusals.push(RebaseRefusal::of_package(kind, package.name, need, found));
        }
    }
    refusals
}

/// Stanzas that could not be carried over, as refusals.
pub(crate) fn of_conflicts(conflicts: &[StanzaConflict]) -> Vec<RebaseRefusal> {
    let refusal = |conflict: &StanzaConflict| {
        let kind = match conflict.was_there {
            true => RefusalKind::PackageChanged,
            false => RefusalKind::PackageBrought,
        };
        let need = format!("its own version {}", conflict.image);
        let found = match &conflict.base {
            Some(version) => format!("version {version}"),
            None => "no such package".to_owned(),
        };
        RebaseRefusal::of_package(kind, &conflict.package, need, found)
    };
    conflicts.iter().map(refusal).collect()
}
