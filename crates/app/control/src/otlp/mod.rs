//! OTLP over HTTP, as JSON: figures as metrics, what servers wrote as logs, and rollouts as traces, sent to a collector.
//!
//! What is sent is read from what is kept anyway, from a place that is remembered in the home: a collector that is away for a
//! day gets that day when it is back, and a control process that begins anew goes on where the one before was.

mod cursor;
mod keeper;
mod logs;
mod metrics;
mod send;
mod settings;
mod traces;
mod words;

pub use keeper::{Exporter, ExporterParts};
pub use settings::OtlpSettings;
