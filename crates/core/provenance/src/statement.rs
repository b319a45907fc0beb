//! The statement: an in-toto Statement v1 whose predicate is SLSA v1 provenance.

use std::collections::BTreeMap;

use hornero_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of every statement (in-toto Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate (SLSA v1 provenance).
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What is said of an image. Nothing in it but [`BuildMetadata`]'s times depends on when and where it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// How the subject came to be.
    pub predicate: Provenance,
}

impl Statement {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: its maps have string keys, so that JSON can carry it.
        serde_json::to_vec(self).expect("a statement is JSON")
    }
}

/// What is read of a statement to decide; the rest is for people, and other builders fill it otherwise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    pub(crate) predicate_type: String,
    pub(crate) subject: Vec<Subject>,
}

/// An image that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name, for people; others may leave it out (in-toto "ResourceDescriptor").
    #[serde(default)]
    pub name: String,
    /// Its digests in hex, by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// SLSA v1 provenance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// All that went in.
    pub build_definition: BuildDefinition,
    /// Who made it, and when.
    pub run_details: RunDetails,
}

/// All that went into an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// What the parameters mean.
    pub build_type: String,
    /// What the operator chose.
    pub external_parameters: BTreeMap<String, Value>,
    /// What the builder chose.
    #[serde(default)]
    pub internal_parameters: BTreeMap<String, Value>,
    /// What was read, by digest.
    #[serde(default)]
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// Something that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceDescriptor {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What identifies it, such as a package URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its digests in hex, by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}

/// Who made an image, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The program.
    pub builder: Builder,
    /// The run.
    pub metadata: BuildMetadata,
}

/// The program that made an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// What it is.
    pub id: String,
    /// Its version, by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// One run of the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMetadata {
    /// The identity of the run's inputs; equal inputs have equal ones.
    pub invocation_id: String,
    /// When it began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_on: Option<Timestamp>,
    /// When it ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<Timestamp>,
}

/// A digest as in-toto writes them.
pub(crate) fn digest_set(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), digest.hex())])
}
