//! The state of a suite of an archive as a lock records it, and what locks tell of suites that were there before.

use std::collections::BTreeMap;

use hornero_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sources_list::ArchiveSource;

/// The state of one suite of one archive, as the lock records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveState {
    /// The suite.
    pub suite: String,
    /// Base address it was read from.
    pub uri: String,
    /// The label it is signed with, such as `Debian-Security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its `Date`, in seconds since the Unix epoch.
    pub date: u64,
    /// SHA-256 of its `InRelease`, or of its `Release` where the signature lies beside it.
    pub digest: Digest,
    /// Its name in `hornero.hcl`, where the image declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was declared of it with the name: its components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
}

impl ArchiveState {
    /// Whether it is for security updates: by its suite, as Debian and its derivatives name them, or by its label.
    pub fn is_security(&self) -> bool {
        self.suite.ends_with("-security")
            || self.suite.ends_with("/updates")
            || self.label.as_deref().is_some_and(|label| label.ends_with("-Security"))
    }
}

/// The newest state of each suite that a lock knows: an archive that is older, or no longer has the suite, hides what
/// was there already.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its date in seconds since the Unix epoch, by suite and address.
    dates: BTreeMap<(String, String), u64>,
}

impl Seen {
    /// What these states tell.
    pub fn of<'s>(states: impl IntoIterator<Item = &'s ArchiveState>) -> Self {
        let mut dates = BTreeMap::new();
        for state in states {
            let date = dates.entry((state.suite.clone(), state.uri.clone())).or_default();
            *date = state.date.max(*date);
        }
        Self { dates }
    }

    /// When a source was there last, in seconds since the Unix epoch; None where it was not.
    pub(crate) fn date(&self, source: &ArchiveSource) -> Option<u64> {
        self.dates.get(&(source.suite.clone(), source.uri.clone())).copied()
    }
}
