//! Names and ids, each a type of its own so that they never mix.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {rule}")]
pub struct NameError {
    /// What the text was meant to name, such as `service name`.
    pub kind: &'static str,
    /// The text, shortened to 80 characters.
    pub text: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// A DNS label (RFC 1123): the name becomes part of `NAME.internal`, of paths and of cgroup names.
const LABEL_RULE: &str =
    "use 1 to 40 lower-case letters, digits and `-`, beginning with a letter and not ending in `-`";
/// 40 leaves room for a release number and a random tail within a DNS label's 63.
const LABEL_MAX: usize = 40;

fn is_label(text: &str, max: usize) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.first(), Some(b'a'..=b'z'))
        && bytes.len() <= max
        && !text.ends_with('-')
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Parses a name, refusing what breaks the rule of its kind.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if is_label(&text, $max) {
                    return Ok(Self(text));
                }
                let text = text.chars().take(80).collect();
                Err(NameError { kind: $kind, text, rule: LABEL_RULE })
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

label!(
    /// The name of a service; also the first label of `NAME.internal`.
    ServiceName, "service name", LABEL_MAX
);
label!(
    /// The name of an image in `hornero.hcl`.
    ImageName, "image name", LABEL_MAX
);
label!(
    /// The name of a freeze.
    FreezeName, "freeze name", LABEL_MAX
);
label!(
    /// The name of a job.
    JobName, "job name", LABEL_MAX
);
label!(
    /// The name of a schedule.
    ScheduleName, "schedule name", LABEL_MAX
);
label!(
    /// The name of a volume.
    VolumeName, "volume name", LABEL_MAX
);
label!(
    /// The name of a port of a service.
    PortName, "port name", LABEL_MAX
);
label!(
    /// The name of a host on which an engine runs instances.
    Place, "place", LABEL_MAX
);
label!(
    /// The name of a trusted key.
    KeyName, "key name", LABEL_MAX
);
label!(
    /// The name of a secret of a home; also that of its directory there.
    SecretLabel, "secret name", LABEL_MAX
);
label!(
    /// The id of one instance: `SERVICE-RELEASE-TAIL`, such as `site-17-k3f9q2`; unique for ever within a home.
    InstanceId, "instance id", 63
);

impl Place {
    /// The host that control itself runs on.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

impl InstanceId {
    /// The id of an instance of `service` at `release`; `tail` makes it unique.
    pub fn compose(
        service: &ServiceName,
        release: ReleaseNumber,
        tail: &str,
    ) -> Result<Self, NameError> {
        Self::new(format!("{service}-{release}-{tail}"))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// The number of a release of one service, counted from 1.
    ReleaseNumber, u32
);
number!(
    /// The number of a rollout, counted from 1 within a home.
    RolloutId, u64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_dns_labels() {
        for good in ["a", "site", "orders-2", "x1"] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "../x", "1a", "é", &long] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn instance_ids_name_service_and_release() {
        let id =
            InstanceId::compose(&ServiceName::new("site").unwrap(), ReleaseNumber(17), "k3f9q2");
        assert_eq!(id.unwrap().as_str(), "site-17-k3f9q2");
    }
}
