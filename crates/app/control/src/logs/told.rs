//! A line as it is told: whose it is, and what it says of itself.

use base64::Engine as _;
use hornero_api::message::LogLine;
use hornero_engine_port::log::{LogPage, LogStream};
use hornero_model::Timestamp;
use hornero_telemetry::structure::structure;

use crate::logs::writers::LogOwner;

/// Tells lines of one instance.
pub fn told(writer: &LogOwner, raw: bool, line: hornero_engine_port::log::LogLine) -> LogLine {
    let found = structure(&line.text);
    let encoded = |bytes| base64::engine::general_purpose::STANDARD.encode(bytes);
    LogLine {
        time: line.time,
        service: writer.service.clone(),
        release: writer.release,
        instance: writer.id.clone(),
        stream: line.stream.as_str().to_owned(),
        level: found.level.map(|level| level.as_str().to_owned()),
        message: found.message.unwrap_or_else(|| line.text.clone()),
        fields: found.fields,
        base64: line.bytes.filter(|_| raw).map(encoded),
        text: line.text,
        goes_on: line.goes_on,
    }
}

/// What is said where older lines of an instance are gone: logs are bounded.
pub fn dropped(page: &LogPage) -> Option<hornero_engine_port::log::LogLine> {
    if page.dropped_bytes == 0 {
        return None;
    }
    let first = page.lines.first();
    Some(hornero_engine_port::log::LogLine {
        // Where no line is left, the time is that of the look.
        time: first.map_or_else(Timestamp::now, |line| line.time),
        nanos: first.map_or(0, |line| line.nanos),
        stream: LogStream::Hornero,
        text: format!("{} bytes of older lines were dropped", page.dropped_bytes),
        bytes: None,
        goes_on: false,
    })
}
