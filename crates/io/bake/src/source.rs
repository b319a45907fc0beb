//! Where a layer comes from: one word for each layer of an image, written down when the layer is made.

use hornero_apt::LockedPackage;
use hornero_dpkg::deb::PackageFacts;
use hornero_model::Digest;
use hornero_rebase::debian::control;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where one layer comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LayerSource {
    /// A package, as unpacked.
    Package(PackageSource),
    /// The database of the packages of one step, and what decides where several of them have the same path.
    Database,
    /// What configuring the packages of one step wrote.
    Configured,
    /// A `copy` block.
    Copy {
        /// The path copied from, below the directory.
        from: String,
    },
    /// A `run` command.
    Run {
        /// The command.
        command: String,
    },
    /// A `provision` block.
    Provision {
        /// The block, for people.
        title: String,
    },
    /// Something made elsewhere.
    Imported {
        /// Where it came from, for people: a file or a reference.
        from: String,
    },
}

/// A package in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PackageSource {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The source package it was built from.
    pub source: String,
    /// The version of the source package.
    pub source_version: String,
    /// SHA-256 of the package file; None where only dpkg's database tells of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

impl PackageSource {
    /// What a package that was unpacked says of itself.
    pub(crate) fn new(locked: &LockedPackage, facts: &PackageFacts) -> Self {
        let (source, source_version) = source_of(&facts.control, &locked.name, &locked.version);
        Self {
            name: locked.name.clone(),
            version: locked.version.clone(),
            architecture: locked.architecture.clone(),
            source,
            source_version,
            sha256: Some(locked.digest()),
        }
    }

    /// What a stanza of dpkg's status says of a package; None where it has no name or version.
    pub(crate) fn of_stanza(stanza: &str) -> Option<Self> {
        let paragraph = control::parse_paragraph(stanza).ok()?;
        let (name, version) = (paragraph.get("Package")?, paragraph.get("Version")?);
        let (source, source_version) = source_of(stanza, name, version);
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: paragraph.get("Architecture").unwrap_or_default().to_owned(),
            source,
            source_version,
            sha256: None,
        })
    }
}

/// The source package and its version: `Source: NAME (VERSION)`, with the package's own for what is not said
/// (deb-control(5)).
fn source_of(control: &str, name: &str, version: &str) -> (String, String) {
    let paragraph = control::parse_paragraph(control).unwrap_or_default();
    let field = paragraph.get("Source").unwrap_or_default();
    let (source, rest) = field.split_once(' ').unwrap_or((field, ""));
    let source_version = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    (
        if source.is_empty() { name } else { source }.to_owned(),
        source_version.unwrap_or(version).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_its_own_source_where_nothing_else_is_said() {
        for (field, source, version) in [
            ("", "libc6", "2.36-9"),
            ("Source: glibc\n", "glibc", "2.36-9"),
            ("Source: glibc (2.36)\n", "glibc", "2.36"),
        ] {
            let text = format!("Package: libc6\nVersion: 2.36-9\n{field}");
            let expected = (source.to_owned(), version.to_owned());
            assert_eq!(source_of(&text, "libc6", "2.36-9"), expected, "{field}");
            let found = PackageSource::of_stanza(&text).unwrap();
            assert_eq!((found.source, found.source_version), expected);
        }
        assert_eq!(PackageSource::of_stanza("Package: x\n"), None);
    }
}
