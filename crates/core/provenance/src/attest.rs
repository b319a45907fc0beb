//! From what is known of an image's making to its statement.

use std::collections::BTreeMap;

use hornero_model::{DebianPurl, Digest, Timestamp};
use serde_json::{Value, json};

use crate::statement::{
    BuildDefinition, BuildMetadata, Builder, PREDICATE_TYPE, Provenance, ResourceDescriptor,
    RunDetails, STATEMENT_TYPE, Statement, Subject, digest_set,
};

/// What the builder is called in statements.
const BUILDER_ID: &str = "https://hornero.dev/builder/v1";

/// The parameter that names the record of how an image was made: the SHA-256 of its bytes in hex.
const RECORD: &str = "record";

/// How an image came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was baked.
    Bake,
    /// It was moved onto another base.
    Rebase,
    /// It was made elsewhere, and this home's operator brought it in.
    Import,
}

impl Origin {
    /// The URI that says what a statement's parameters mean.
    pub const fn build_type(self) -> &'static str {
        match self {
            Self::Bake => "https://hornero.dev/bake/v1",
            Self::Rebase => "https://hornero.dev/rebase/v1",
            Self::Import => "https://hornero.dev/import/v1",
        }
    }

    /// Whether a statement of this type is one of Hornero's.
    pub(crate) fn is_build_type(build_type: &str) -> bool {
        let all = [Self::Bake, Self::Rebase, Self::Import];
        all.iter().any(|origin| origin.build_type() == build_type)
    }
}

/// Everything that a statement says of an image.
#[derive(Debug, Clone)]
pub struct Attested {
    /// The image's name.
    pub name: String,
    /// The image.
    pub image: Digest,
    /// How it came to be.
    pub origin: Origin,
    /// What the operator asked for: the image's definition, or where it was imported from.
    pub definition: BTreeMap<String, Value>,
    /// The format epoch of the store that made it.
    pub format_epoch: u32,
    /// The images it was made from.
    pub parents: Vec<Parent>,
    /// Its own packages.
    pub packages: Vec<Package>,
    /// The states of the archives they came from.
    pub archives: Vec<Archive>,
    /// Its other sources.
    pub sources: Vec<Source>,
    /// The version of the program that made it.
    pub version: String,
    /// The identity of all inputs of the run that made it.
    pub invocation: String,
    /// When that began; none where it is not known any more.
    pub started: Option<Timestamp>,
    /// When that ended.
    pub finished: Option<Timestamp>,
}

/// An image that another one was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// What it was for the image: its `base`, or the image that was `moved`.
    pub role: String,
    /// The image.
    pub image: Digest,
}

/// A package that went into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The distribution it is for, such as `debian-12`; empty where that is not known.
    pub distribution: String,
    /// The digest of its `.deb`.
    pub digest: Digest,
}

/// The state of an archive that packages came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its address.
    pub uri: String,
    /// The suite.
    pub suite: String,
    /// The digest of its signed index (`InRelease`).
    pub digest: Digest,
}

/// Something other than a package that went into an image: what was copied, or what a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is, such as `copy public/`.
    pub title: String,
    /// The digest of what it gave: every path, its content, mode and owner.
    pub digest: Digest,
}

/// The statement of an image; equal but for its times wherever the same image is made from the same.
pub fn attest(about: &Attested) -> Statement {
    let mut external: BTreeMap<String, Value> =
        about.definition.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    external.insert("name".to_owned(), json!(about.name));
    Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject { name: about.name.clone(), digest: digest_set(&about.image) }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Provenance {
            build_definition: BuildDefinition {
                build_type: about.origin.build_type().to_owned(),
                external_parameters: external,
                internal_parameters: BTreeMap::from([(
                    "formatEpoch".to_owned(),
                    json!(about.format_epoch),
                )]),
                resolved_dependencies: dependencies(about),
            },
            run_details: RunDetails {
                builder: Builder {
                    id: BUILDER_ID.to_owned(),
                    version: BTreeMap::from([("hornero".to_owned(), about.version.clone())]),
                },
                metadata: BuildMetadata {
                    invocation_id: about.invocation.clone(),
                    started_on: about.started,
                    finished_on: about.finished,
                },
            },
        },
    }
}

impl Statement {
    /// The same statement, of an image with this record of how it was made beside it: who trusts the statement knows by
    /// it whether the record is the one that its signer had.
    #[must_use]
    pub fn beside(mut self, record: &Digest) -> Self {
        let parameters = &mut self.predicate.build_definition.internal_parameters;
        parameters.insert(RECORD.to_owned(), json!(record.hex()));
        self
    }
}

fn dependencies(about: &Attested) -> Vec<ResourceDescriptor> {
    let parents = about.parents.iter().map(|parent| ResourceDescriptor {
        name: parent.role.clone(),
        uri: format!("hornero:image:{}", parent.image),
        digest: digest_set(&parent.image),
        ..ResourceDescriptor::default()
    });
    let archives = about.archives.iter().map(|archive| ResourceDescriptor {
        name: archive.suite.clone(),
        uri: format!("{}/dists/{}/InRelease", archive.uri.trim_end_matches('/'), archive.suite),
        digest: digest_set(&archive.digest),
        ..ResourceDescriptor::default()
    });
    let packages = about.packages.iter().map(|package| ResourceDescriptor {
        name: package.name.clone(),
        uri: DebianPurl {
            name: &package.name,
            version: &package.version,
            architecture: &package.architecture,
            distribution: &package.distribution,
        }
        .to_string(),
        digest: digest_set(&package.digest),
        ..ResourceDescriptor::default()
    });
    let sources = about.sources.iter().map(|source| ResourceDescriptor {
        name: source.title.clone(),
        digest: digest_set(&source.digest),
        ..ResourceDescriptor::default()
    });
    parents.chain(archives).chain(packages).chain(sources).collect()
}
