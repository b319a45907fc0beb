//! Schema steps: commands that make a service's data ready for a release, and what is left of the old form go.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Millis};

/// The schema steps of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// Commands that are run in this order before anything of the release is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expand: Vec<Vec<String>>,
    /// Commands that are run in this order once the release before is retired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contract: Vec<Vec<String>>,
    /// How long each may take.
    pub timeout: Millis,
    /// From when on nothing goes back to a release from before.
    pub point_of_no_return: PointOfNoReturn,
    /// Whether they are run for the first release of the service as well.
    pub first_release: bool,
}

/// From when on a service does not go back to a release from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointOfNoReturn {
    /// Once the release was seen to serve: what it writes the one before can't read.
    Switch,
    /// Once the first of its contract steps was begun.
    Contract,
}

/// When a step is run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// Before anything of the release is started.
    Expand,
    /// Once the release before is retired.
    Contract,
}

/// A step by its place, written `expand.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepName {
    /// When it is run.
    pub phase: StepPhase,
    /// Which of its phase, from 1.
    pub number: u32,
}

/// Why a text names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no step: write such as `expand.1` or `contract.2`")]
pub struct StepNameError(String);

/// A step of a release that a run carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepTurn {
    /// Which.
    pub step: StepName,
    /// The digest of all that its server is made from: a step with the same one is the same step.
    pub content: Digest,
}

/// What somebody decides about a step that failed, or of which nobody knows whether it did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepRuling {
    /// It is run once more.
    Rerun,
    /// It counts as done.
    Done,
}

/// The most digits of a step's number; there are fewer steps than that.
const DIGITS: usize = 4;

impl Migrate {
    /// The commands of a phase.
    pub fn of(&self, phase: StepPhase) -> &[Vec<String>] {
        match phase {
            StepPhase::Expand => &self.expand,
            StepPhase::Contract => &self.contract,
        }
    }

    /// The steps of a phase, in the order in which they are run.
    pub fn steps(&self, phase: StepPhase) -> impl Iterator<Item = (StepName, &[String])> {
        (1..).zip(self.of(phase)).map(move |(number, command)| {
            let command: &[String] = command;
            (StepName { phase, number }, command)
        })
    }
}

impl StepPhase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.phase.as_str(), self.number)
    }
}

impl FromStr for StepName {
    type Err = StepNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || StepNameError(text.chars().take(80).collect());
        let (phase, number) = text.split_once('.').ok_or_else(error)?;
        let phase = [StepPhase::Expand, StepPhase::Contract]
            .into_iter()
            .find(|of| of.as_str() == phase)
            .ok_or_else(error)?;
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        if !plain || number.is_empty() || number.len() > DIGITS {
            return Err(error());
        }
        Ok(Self { phase, number: number.parse().map_err(|_| error())? })
    }
}

impl Serialize for StepName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StepName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(expand|contract)\\.[1-9][0-9]{0,3}$",
            "description": "A step by its place, such as `expand.1`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_by_its_place() {
        for text in ["expand.1", "contract.12", "expand.9999"] {
            let name: StepName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<StepName>(&format!("\"{text}\"")).unwrap(), name);
        }
        for text in [
            "",
            "expand",
            "expand.",
            "expand.0",
            "expand.01",
            "expand.+1",
            "shrink.1",
            "expand.12345",
        ] {
            assert!(text.parse::<StepName>().is_err(), "{text}");
        }
    }
}
