//! Lines of logs.

use hornero_model::{InstanceId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was written.
    pub time: Timestamp,
    /// The instance that wrote it.
    pub instance: InstanceId,
    /// `stdout`, `stderr`, or `hornero` for what the shim says itself.
    pub stream: String,
    /// The text, without its line end.
    pub text: String,
}
