//! Which start of control something was decided by.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of one start of the control process of a home; each start takes a higher one than every start before it.
/// 0 stands for those from before there were terms.
///
/// Engine and edge refuse what an older control asks once they have heard of a newer one: so one that was thought dead
/// and goes on changes nothing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// Whether this is the term of no control in particular.
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// The term of the next start.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
