//! Tests of an image outside of any rollout.

use hornero_model::ServiceSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for the tests of an image to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The service that the image is meant for, with the image's digest.
    pub service: ServiceSpec,
}

/// How the tests of an image went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// Each test, in the image's order; empty for an image that declares none.
    pub tests: Vec<TestResult>,
    /// The last lines that the tested server wrote, where a test failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen; empty where it passed.
    pub detail: String,
}
