//! What changes in the packages of images from one lock to another.

use std::{cmp::Ordering, collections::BTreeMap};

use hornero_apt::{Lock, LockedImage, LockedPackage, archive_state::ArchiveState};
use hornero_model::ImageName;
use hornero_rebase::debian::version;
use schemars::JsonSchema;
use serde::Serialize;

/// A package that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PackageChange {
    /// The image whose own package it is.
    pub image: ImageName,
    /// Its name.
    pub package: String,
    /// The version that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The version that comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// What happens to it.
    pub kind: PackageChangeKind,
    /// Whether it comes from an archive for security updates.
    pub security: bool,
    /// The archive it comes from, address and suite; for one that goes, the one it came from.
    pub archive: String,
}

/// What happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackageChangeKind {
    /// It gets a newer version.
    Upgraded,
    /// It gets an older version.
    Downgraded,
    /// It keeps its version, but is another file.
    Rebuilt,
    /// It is new.
    Added,
    /// It goes.
    Removed,
}

/// Every package of every image that changes, by image and name.
pub fn package_changes(old: &Lock, new: &Lock) -> Vec<PackageChange> {
    let mut changes = Vec::new();
    let empty = |image: &LockedImage| LockedImage { packages: Vec::new(), ..image.clone() };
    for (name, image) in &new.images {
        match old.images.get(name) {
            Some(before) => of_image(name, before, image, &mut changes),
            None => of_image(name, &empty(image), image, &mut changes),
        }
    }
    for (name, image) in old.images.iter().filter(|(name, _)| !new.images.contains_key(*name)) {
        of_image(name, image, &empty(image), &mut changes);
    }
    changes
        .sort_by(|left, right| (&left.image, &left.package).cmp(&(&right.image, &right.package)));
    changes
}

fn of_image(
    image: &ImageName,
    old: &LockedImage,
    new: &LockedImage,
    changes: &mut Vec<PackageChange>,
) {
    let olds: BTreeMap<&str, &LockedPackage> =
        old.packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let news: BTreeMap<&str, &LockedPackage> =
        new.packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let mut note = |name: &str, before: Option<&LockedPackage>, after: Option<&LockedPackage>| {
        let kind = match (before, after) {
            (None, None) => return,
            (None, Some(_)) => PackageChangeKind::Added,
            (Some(_), None) => PackageChangeKind::Removed,
            (Some(before), Some(after)) => {
                match version::compare(&before.version, &after.version) {
                    Ordering::Less => PackageChangeKind::Upgraded,
                    Ordering::Greater => PackageChangeKind::Downgraded,
                    Ordering::Equal if before.sha256 == after.sha256 => return,
                    Ordering::Equal => PackageChangeKind::Rebuilt,
                }
            }
        };
        let archive = match (before, after) {
            (_, Some(after)) => archive_of(after, new),
            (Some(before), None) => archive_of(before, old),
            (None, None) => None,
        };
        changes.push(PackageChange {
            image: image.clone(),
            package: name.to_owned(),
            old: before.map(|package| package.version.clone()),
            new: after.map(|package| package.version.clone()),
            kind,
            security: after.is_some() && archive.is_some_and(ArchiveState::is_security),
            archive: archive
                .map(|archive| format!("{} {}", archive.uri, archive.suite))
                .unwrap_or_default(),
        });
    };
    for (name, before) in &olds {
        note(name, Some(before), news.get(name).copied());
    }
    for (name, after) in news.iter().filter(|(name, _)| !olds.contains_key(*name)) {
        note(name, None, Some(after));
    }
}

/// The archive that listed a package: the first with its suite.
fn archive_of<'i>(package: &LockedPackage, image: &'i LockedImage) -> Option<&'i ArchiveState> {
    image.archives.iter().find(|archive| archive.suite == package.suite)
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;

    use super::*;

    fn lock(packages: &[(&str, &str, &str, &str)]) -> Lock {
        let archive = |suite: &str, label: &str| ArchiveState {
            suite: suite.to_owned(),
            uri: "http://mirror.test".to_owned(),
            label: Some(label.to_owned()),
            date: 7,
            digest: Digest::of(b"x"),
            name: None,
            components: Vec::new(),
        };
        let package = |(name, version, suite, sum): &(&str, &str, &str, &str)| LockedPackage {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            architecture: "amd64".to_owned(),
            suite: (*suite).to_owned(),
            path: "pool/x.deb".to_owned(),
            size: 1,
            sha256: sum.repeat(64),
            archive: None,
        };
        let image = LockedImage {
            suite: "sid".to_owned(),
            architecture: "amd64".to_owned(),
            from: None,
            requested: Vec::new(),
            archives: vec![archive("sid", "Debian"), archive("hot", "Debian-Security")],
            packages: packages.iter().map(package).collect(),
        };
        let images = [(ImageName::new("base").unwrap(), image)].into();
        Lock { images, ..Lock::default() }
    }

    #[test]
    fn changes_are_told_by_kind_and_archive() {
        let old = lock(&[
            ("down", "2", "sid", "0"),
            ("gone", "1", "hot", "0"),
            ("rebuilt", "1", "sid", "0"),
            ("same", "1", "sid", "0"),
            ("up", "1:1.9", "sid", "0"),
        ]);
        let new = lock(&[
            ("down", "1", "sid", "1"),
            ("new", "1", "sid", "0"),
            ("rebuilt", "1", "sid", "1"),
            ("same", "1", "hot", "0"),
            ("up", "1:1.10", "hot", "1"),
        ]);
        let found: Vec<(String, PackageChangeKind, bool)> = package_changes(&old, &new)
            .into_iter()
            .map(|change| (change.package, change.kind, change.security))
            .collect();
        let expected = [
            ("down", PackageChangeKind::Downgraded, false),
            ("gone", PackageChangeKind::Removed, false),
            ("new", PackageChangeKind::Added, false),
            ("rebuilt", PackageChangeKind::Rebuilt, false),
            ("up", PackageChangeKind::Upgraded, true),
        ];
        let expected = expected.map(|(name, kind, security)| (name.to_owned(), kind, security));
        assert_eq!(found, expected);
        assert_eq!(package_changes(&old, &Lock::default()).len(), 5, "all of them go");
        assert!(package_changes(&old, &old).is_empty());
    }
}
