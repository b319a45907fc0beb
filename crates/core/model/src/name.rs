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
        label!($(#[$doc])* $name, $kind, $max, Self::new);
    };
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $read:expr) => {
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
                let read: fn(String) -> Result<Self, NameError> = $read;
                read(text.to_owned())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

label!(
    /// The name of a service; also what stands before `.internal` in its name inside Hornero's network. What a preview runs
    /// as is read as `PREVIEW.SERVICE`, which nobody can declare.
    ServiceName, "service name", LABEL_MAX, Self::read
);
label!(
    /// The name of a preview; also the first label of the host names that lead to it.
    PreviewName, "preview name", LABEL_MAX
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
    /// The name of a data guard.
    GuardName, "guard name", LABEL_MAX
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
    /// The name of a region: an engine and the edges before its servers.
    RegionName, "region name", LABEL_MAX
);
label!(
    /// The name of an edge within its region.
    EdgeName, "edge name", LABEL_MAX
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
    /// The id of one session in a server, unique for ever within a home; also the name of its recording.
    GlassId, "session id", 63
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

/// The region of a home that names none.
impl Default for RegionName {
    fn default() -> Self {
        Self("local".to_owned())
    }
}

impl RegionName {
    /// Whether it is the region of a home that names none: what is kept leaves it out then.
    pub fn is_default(&self) -> bool {
        self.0 == "local"
    }
}

/// The edge of a region that names none.
impl Default for EdgeName {
    fn default() -> Self {
        Self("edge".to_owned())
    }
}

impl InstanceId {
    /// The id of an instance of `service` at `release`; `tail` makes it unique.
    pub fn compose(
        service: &ServiceName,
        release: ReleaseNumber,
        tail: &str,
    ) -> Result<Self, NameError> {
        let service = service.as_str().replace('.', "-");
        Self::new(format!("{service}-{release}-{tail}"))
    }
}

impl ServiceName {
    /// What the servers of a preview are servers of, instead of the service itself. Refused where both names together are
    /// too long.
    pub fn of_preview(preview: &PreviewName, service: &Self) -> Result<Self, NameError> {
        Self::read(format!("{preview}.{service}"))
    }

    /// The preview and the service that it shows; none where this is a service itself.
    pub fn preview(&self) -> Option<(PreviewName, Self)> {
        let (preview, service) = self.0.split_once('.')?;
        Some((PreviewName(preview.to_owned()), Self(service.to_owned())))
    }

    /// Whether requests for `service` count for this: it is that service, or a preview of it.
    pub fn is_of(&self, service: &Self) -> bool {
        let of_preview = self.0.split_once('.').map(|(_, shown)| shown);
        self == service || of_preview == Some(service.as_str())
    }

    /// A name that was declared, or that of a preview.
    fn read(text: String) -> Result<Self, NameError> {
        match text.split_once('.') {
            None => Self::new(text),
            Some((preview, service)) => {
                let fits = text.len() <= LABEL_MAX
                    && is_label(preview, LABEL_MAX)
                    && is_label(service, LABEL_MAX);
                if fits {
                    return Ok(Self(text));
                }
                let text = text.chars().take(80).collect();
                let rule = "a preview and its service have names of at most 39 characters together";
                Err(NameError { kind: "preview of a service", text, rule })
            }
        }
    }
}

impl ReleaseNumber {
    /// From here on the servers of previews are numbered: no number of a service's own comes near it, so that both can stand
    /// in one pool.
    pub const FIRST_OF_PREVIEWS: Self = Self(1_000_000_000);

    /// Whether it is the number of what a preview shows.
    pub fn is_of_preview(self) -> bool {
        self >= Self::FIRST_OF_PREVIEWS
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
    fn only_what_is_read_is_a_preview() {
        let site = ServiceName::new("site").unwrap();
        let name = PreviewName::new("pr-7").unwrap();
        let preview = ServiceName::of_preview(&name, &site).unwrap();
        assert_eq!(preview.as_str(), "pr-7.site");
        assert_eq!(preview.preview(), Some((name.clone(), site.clone())));
        assert_eq!(
            (site.preview(), preview.is_of(&site), site.is_of(&preview)),
            (None, true, false)
        );
        assert!(ServiceName::new("pr-7.site").is_err());
        assert_eq!(serde_json::from_str::<ServiceName>("\"pr-7.site\"").unwrap(), preview);
        for bad in [".site", "pr.", "a.b.c", "Pr.site"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        let long = ServiceName::new("a".repeat(36)).unwrap();
        assert!(ServiceName::of_preview(&name, &long).is_err());
        let number = ReleaseNumber::FIRST_OF_PREVIEWS;
        let id = InstanceId::compose(&preview, number, "k3f9q2");
        assert_eq!(id.unwrap().as_str(), "pr-7-site-1000000000-k3f9q2");
    }

    #[test]
    fn instance_ids_name_service_and_release() {
        let id =
            InstanceId::compose(&ServiceName::new("site").unwrap(), ReleaseNumber(17), "k3f9q2");
        assert_eq!(id.unwrap().as_str(), "site-17-k3f9q2");
    }
}
