//! Releases: what a service ran, runs or may run again.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Actor, Digest, ReleaseNumber, ServiceName, ServiceSpec, Timestamp};

/// A service at one release, written `site@17`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRef {
    /// The service.
    pub service: ServiceName,
    /// The release of it.
    pub number: ReleaseNumber,
}

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.number)
    }
}

/// An immutable, numbered state of one service; kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its number, one more than the release before it.
    pub number: ReleaseNumber,
    /// What runs, image digest included.
    pub spec: ServiceSpec,
    /// The digest of `spec` as JSON; two releases in a row never share it.
    pub spec_digest: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub by: Actor,
}

impl Release {
    /// The digest that tells two service specs apart.
    pub fn digest_of(spec: &ServiceSpec) -> Digest {
        let spec = ServiceSpec { base: None, ..spec.clone() };
        // Invariant: structs serialise in field order and hold no maps but ordered ones.
        Digest::of(&serde_json::to_vec(&spec).expect("a service spec has only string keys"))
    }

    /// Its name, such as `site@17`.
    pub fn reference(&self) -> ReleaseRef {
        ReleaseRef { service: self.spec.name.clone(), number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_follows_from_the_image_and_tells_no_specs_apart() {
        let text = format!(
            r#"{{"name":"site","image_name":"site","image":"{0}","kind":"stateless","instances":1,"ports":[],
            "health":null,"routes":[],"rollout":{{"strategy":"blue_green","drain_timeout":1,"keep_warm":1,"watch":1}},
            "resources":{{"memory_bytes":1,"cpu_millis":1,"pids":1}},"egress":true,"depends_on":[]}}"#,
            Digest::of(b"image")
        );
        let plain: ServiceSpec = serde_json::from_str(&text).unwrap();
        let paired = ServiceSpec { base: Some(Digest::of(b"base")), ..plain.clone() };
        assert_eq!(Release::digest_of(&plain), Release::digest_of(&paired));
        let other = ServiceSpec { image: Digest::of(b"other"), ..plain.clone() };
        assert_ne!(Release::digest_of(&plain), Release::digest_of(&other));
    }
}
