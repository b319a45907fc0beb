//! Reads `alerts` of a home's settings: who hears of them.

use hornero_model::AlertSettings;

use crate::{
    evaluate::Evaluator,
    read_value::{invalid, is_http_url},
    section::Section,
};

/// Reads the part, where there is one.
pub(crate) fn read(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<AlertSettings> {
    let mut part = section.part(cx, "alerts")?;
    let settings = AlertSettings {
        alertmanager: url(cx, &mut part, "alertmanager"),
        webhook: url(cx, &mut part, "webhook"),
        command: program(cx, &mut part),
        rollouts: url(cx, &mut part, "rollouts"),
    };
    part.finish(cx);
    Some(settings)
}

fn url(cx: &mut Evaluator, part: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = part.text(cx, key)?;
    if is_http_url(&text.value) {
        return Some(text.value.trim_end_matches('/').to_owned());
    }
    let hint = "it begins with `http://` or `https://`, and has a host and no password";
    invalid(cx, &text, "such a URL", hint);
    None
}

fn program(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<String> {
    let text = part.text(cx, "command")?;
    if text.value.starts_with('/') {
        return Some(text.value.to_string());
    }
    invalid(cx, &text, "an absolute path", "name a program, which reads the alert from its stdin");
    None
}
