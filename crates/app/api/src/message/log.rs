//! Lines of logs.

use hornero_model::{InstanceId, ReleaseNumber, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line of a log, or the lines of one stack trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When its end was written.
    pub time: Timestamp,
    /// The service of the instance; null for a run of an image that belongs to none.
    pub service: Option<ServiceName>,
    /// The release of the instance; null as the service.
    pub release: Option<ReleaseNumber>,
    /// The instance that wrote it.
    pub instance: InstanceId,
    /// `stdout`, `stderr`, or `hornero` for what the shim says itself.
    pub stream: String,
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`, where the line names one.
    pub level: Option<String>,
    /// What it says: of a structured line its message, else the text.
    pub message: String,
    /// The other fields of a line that is JSON, or has `key=value` in it.
    pub fields: Map<String, Value>,
    /// All of it, without its line end; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// The bytes in base64, where some were replaced and the original was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Whether the line goes on in the next one of its stream: it was longer than 1 MiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
}
