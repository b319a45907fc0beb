//! What servers wrote as OTLP's logs (opentelemetry-proto, `logs.proto`).

use hornero_engine_port::log::{LineLevel, LogLine};
use hornero_model::{InstanceId, ReleaseNumber, ServiceName};
use hornero_telemetry::structure;
use serde_json::{Value, json};

use super::words::{scope, text};

/// Whose lines they are.
#[derive(Debug, Clone)]
pub struct LogOrigin {
    pub instance: InstanceId,
    pub service: ServiceName,
    pub release: ReleaseNumber,
}

/// What is sent of some lines of one instance.
pub fn request(host: &str, writer: &LogOrigin, lines: &[LogLine]) -> Value {
    let records: Vec<Value> = lines.iter().map(record).collect();
    json!({ "resourceLogs": [{
        "resource": { "attributes": [
            text("service.name", &writer.service),
            text("service.version", writer.release),
            text("service.instance.id", &writer.instance),
            text("host.name", host),
        ] },
        "scopeLogs": [{ "scope": scope(), "logRecords": records }],
    }] })
}

fn record(line: &LogLine) -> Value {
    let nanos = u128::from(line.time.0) * 1_000_000 + u128::from(line.nanos);
    let mut record = json!({
        "timeUnixNano": nanos.to_string(),
        "observedTimeUnixNano": nanos.to_string(),
        "body": { "stringValue": line.text },
        "attributes": [text("log.iostream", line.stream.as_str())],
    });
    if let Some(level) = structure::level(&line.text) {
        let (number, word) = severity(level);
        record["severityNumber"] = json!(number);
        record["severityText"] = json!(word);
    }
    record
}

/// The number and the word of a level.
const fn severity(level: LineLevel) -> (u8, &'static str) {
    match level {
        LineLevel::Trace => (1, "TRACE"),
        LineLevel::Debug => (5, "DEBUG"),
        LineLevel::Info => (9, "INFO"),
        LineLevel::Warn => (13, "WARN"),
        LineLevel::Error => (17, "ERROR"),
        LineLevel::Fatal => (21, "FATAL"),
    }
}
