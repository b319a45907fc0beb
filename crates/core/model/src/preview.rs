//! Previews: what a release, or what a directory declares, shows beside production, under a name and for a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NameError, PoolName, PreviewName, ReleaseNumber, ServiceName, Share, Timestamp};

/// A preview of a service, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Its name.
    pub name: PreviewName,
    /// The service that it shows.
    pub service: ServiceName,
    /// The release of the service that it shows; absent where it is what a directory declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// How many of the requests for the service it gets, in the unit of [`Share::weight`]; none but those that ask for it by
    /// name where absent.
    #[serde(default, skip_serializing_if = "is_none")]
    pub share: u32,
    /// When it is removed.
    pub until: Timestamp,
}

impl Preview {
    /// The field of a request that names the preview which it is for.
    pub const HEADER: &'static str = "X-Hornero-Preview";
    /// How much all previews of a service may get together: it is production that serves.
    pub const MOST_SHARED: u32 = Share::WHOLE / 2;

    /// What its servers are servers of.
    ///
    /// # Errors
    /// Where the names are too long together.
    pub fn runs_as(&self) -> Result<ServiceName, NameError> {
        ServiceName::of_preview(&self.name, &self.service)
    }
}

/// Where requests go that name a preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRule {
    /// The value of [`Preview::HEADER`].
    pub name: PreviewName,
    /// Where they go.
    pub pool: PoolName,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(share: &u32) -> bool {
    *share == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_written() {
        let preview = Preview {
            name: PreviewName::new("pr-7").unwrap(),
            service: ServiceName::new("site").unwrap(),
            release: None,
            share: 0,
            until: Timestamp(0),
        };
        assert_eq!(preview.runs_as().unwrap().as_str(), "pr-7.site");
        let text = serde_json::to_string(&preview).unwrap();
        assert!(!text.contains("share") && !text.contains("release"), "{text}");
        assert_eq!(serde_json::from_str::<Preview>(&text).unwrap(), preview);
    }
}
