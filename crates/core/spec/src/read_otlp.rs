//! Reads who gets figures, logs and traces: `otlp` of a home's settings.

use crate::{
    evaluate::Evaluator,
    read_value::{invalid, is_http_url},
    section::Section,
};

/// A collector that speaks OTLP, and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The URL below which `/v1/metrics`, `/v1/logs` and `/v1/traces` are.
    pub endpoint: String,
    /// The absolute path of a file with the token that is shown to it.
    pub token_file: Option<String>,
    /// Whether it gets figures.
    pub metrics: bool,
    /// Whether it gets what servers write.
    pub logs: bool,
    /// Whether it gets rollouts.
    pub traces: bool,
}

/// None where it is not declared.
pub(crate) fn read(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Collector> {
    let mut part = section.part(cx, "otlp")?;
    if !part.has("endpoint") {
        part.missing(cx, "endpoint", "write `endpoint = \"http://127.0.0.1:4318\"`");
    }
    let endpoint = part.text(cx, "endpoint");
    let token_file = part.text(cx, "token_file");
    let (metrics, logs, traces) =
        (part.flag(cx, "metrics"), part.flag(cx, "logs"), part.flag(cx, "traces"));
    part.finish(cx);
    let endpoint = endpoint?;
    if !is_http_url(&endpoint.value) || endpoint.value.contains(['?', '#']) {
        invalid(
            cx,
            &endpoint,
            "the URL of a collector",
            "begin it with `http://` or `https://`, and name a host and no password",
        );
        return None;
    }
    if let Some(file) = &token_file
        && !file.value.starts_with('/')
    {
        invalid(cx, file, "an absolute path", "begin it with `/`");
        return None;
    }
    Some(Collector {
        endpoint: endpoint.value.to_string(),
        token_file: token_file.map(|file| file.value.to_string()),
        metrics: metrics.unwrap_or(true),
        logs: logs.unwrap_or(true),
        traces: traces.unwrap_or(true),
    })
}
