//! The words that OTLP's messages share (opentelemetry-proto, `common.proto` and `resource.proto`, as JSON).

use hornero_model::Timestamp;
use serde_json::{Value, json};

/// An attribute of text.
pub fn text(key: &str, value: impl ToString) -> Value {
    json!({ "key": key, "value": { "stringValue": value.to_string() } })
}

/// An attribute that is a number; 64 bits are text in JSON.
pub fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// A time, in nanoseconds since 1970.
pub fn nanos(at: Timestamp) -> String {
    (u128::from(at.0) * 1_000_000).to_string()
}

/// Who tells it: Hornero on this host.
pub fn own_resource(host: &str) -> Value {
    json!({ "attributes": [
        text("service.name", "hornero"),
        text("service.version", hornero_model::program_version()),
        text("host.name", host),
    ] })
}

/// Hornero as the scope of what it measures.
pub fn scope() -> Value {
    json!({ "name": "hornero", "version": hornero_model::program_version() })
}
