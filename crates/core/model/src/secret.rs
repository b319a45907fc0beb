//! Secrets as releases name them: never by their value, nor by anything that follows from it alone.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{NameError, SecretLabel};

/// Which of a secret's values: a number that counts up, and 64 random bits, so that a secret that was removed and set
/// again has no version of before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct SecretVersion {
    /// Counted from 1 for each secret.
    pub number: u32,
    /// What tells it from another one with this number.
    pub tail: u64,
}

const VERSION_RULE: &str = "a version is a number, `-` and 16 hexadecimal digits";

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.tail)
    }
}

impl FromStr for SecretVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('-').and_then(|(number, tail)| {
            Some(Self { number: number.parse().ok()?, tail: u64::from_str_radix(tail, 16).ok()? })
        });
        // There is one way to write each.
        parsed.filter(|version| version.number > 0 && version.to_string() == text).ok_or_else(
            || {
                let text = text.chars().take(80).collect();
                NameError { kind: "version of a secret", text, rule: VERSION_RULE }
            },
        )
    }
}

impl Serialize for SecretVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret of a release, and where its instances find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// Which secret of the home.
    pub name: SecretLabel,
    /// Which of its values.
    pub version: SecretVersion,
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// `USER` or `USER:GROUP`, resolved against the image; empty means whom the command runs as.
    pub owner: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_form() {
        let version = SecretVersion { number: 12, tail: 0xab };
        assert_eq!(version.to_string(), "12-00000000000000ab");
        assert_eq!(version.to_string().parse(), Ok(version.clone()));
        let json = serde_json::to_string(&version).unwrap();
        assert_eq!(serde_json::from_str::<SecretVersion>(&json).unwrap(), version);
        for bad in [
            "",
            "1",
            "1-",
            "0-0000000000000001",
            "01-0000000000000001",
            "1-00000000000000AB",
            "1-1",
            "../1-0000000000000001",
            "1-0000000000000001/x",
            "99999999999-0000000000000001",
        ] {
            assert!(bad.parse::<SecretVersion>().is_err(), "{bad}");
        }
    }
}
