//! Reads what inventories and metrics tell of a service: `labels`, and `metrics` where its instances are scraped.

use std::collections::BTreeMap;

use hornero_model::{MetricsEndpoint, Port, PortName};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    read_check::{self, NamedPorts},
    read_value::{shown, text, wrong_type},
    section::Section,
    value::Value,
};

/// Where instances are scraped; none where it is not declared.
pub(crate) fn endpoint(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    ports: &[Port],
) -> Option<MetricsEndpoint> {
    let mut part = section.part(cx, "metrics")?;
    let named: Vec<(PortName, u16)> =
        ports.iter().map(|port| (port.name.clone(), port.container)).collect();
    let port = read_check::port(cx, &mut part, &NamedPorts { ports: &named, allowed: true });
    let path = match part.text(cx, "path") {
        Some(path) => read_check::http_path(cx, "the path of `metrics`", &path),
        None => Some("/metrics".to_owned()),
    };
    part.finish(cx);
    Some(MetricsEndpoint { port: port?.value, path: path? })
}

/// What people say of a service. Names are what every reader of them takes: those of labels in metrics.
pub(crate) fn labels(cx: &mut Evaluator, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(value) = section.take("labels") else { return labels };
    let Value::Map(fields) = &value.value else {
        let name = format!("`labels` of {}", section.what);
        wrong_type(cx, &name, "an object such as `{ owner = \"shop\" }`", &value);
        return labels;
    };
    if fields.iter().count() > limits::LABELS {
        let message = format!("{} has more than {} labels", section.what, limits::LABELS);
        cx.report(
            Mistake::new(ErrorCode::TooLarge, value.span.clone(), message)
                .hint("each is part of every line of an inventory: keep what people look for"),
        );
        return labels;
    }
    for (name, field) in fields.iter() {
        let fine = name.len() <= limits::LABEL_BYTES
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !fine {
            let message = format!("`{}` is no name of a label", shown(name));
            cx.report(
                Mistake::new(ErrorCode::InvalidName, field.key_span.clone(), message)
                    .hint("use letters, digits and `_`, beginning with a letter"),
            );
            continue;
        }
        let Some(given) = text(cx, &format!("`labels.{name}`"), &field.value) else { continue };
        if given.value.len() > limits::LABEL_BYTES || given.value.chars().any(char::is_control) {
            let message = format!("`labels.{name}` is longer than a line of a table can show");
            let most = limits::LABEL_BYTES;
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, given.span, message)
                    .hint(format!("use at most {most} bytes, without line feeds and the like")),
            );
            continue;
        }
        labels.insert(name.to_string(), given.value.to_string());
    }
    labels
}
