//! Rehearsals of rollbacks: a server of the release before, started to see that it could serve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, Millis, ReleaseRef};

/// A rehearsal as it was begun. Its server is not started a second time, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// Its id, which is that of its server too.
    pub id: InstanceId,
    /// The release that its server is made from.
    pub release: ReleaseRef,
}

/// How a rehearsal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RehearsalEnd {
    /// Which.
    pub id: InstanceId,
    /// From the start of its server until it was healthy; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_after: Option<Millis>,
    /// Why it proves nothing, for people; empty where it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
}
