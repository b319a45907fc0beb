//! Freezes: times in which nothing is rolled out without a word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FreezeName, Timestamp};

/// A freeze as it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Its name.
    pub name: FreezeName,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends; at that moment it holds no more.
    pub until: Timestamp,
    /// Whether it holds for every directory of the home, not only for the one that declares it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub home: bool,
}

impl Freeze {
    /// Whether it holds at a moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_holds_from_its_beginning_until_its_end() {
        let name = FreezeName::new("holidays").unwrap();
        let freeze = Freeze { name, from: Timestamp(10), until: Timestamp(20), home: false };
        let held = [9, 10, 19, 20].map(|moment| freeze.holds(Timestamp(moment)));
        assert_eq!(held, [false, true, true, false]);
    }
}
