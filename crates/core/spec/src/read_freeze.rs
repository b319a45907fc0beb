//! Reads `freeze` blocks.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;
use hornero_calendar::{End, MomentError, moment, zone};
use hornero_model::{Freeze, FreezeName, Timestamp};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_value::{shown, valid},
    section::{Section, Text, label},
    value::Span,
};

const FORM: &str = "write a day and a time, such as `2026-12-20T00:00`";

/// Reads all blocks; what can't be used is reported and left out.
pub(crate) fn read_all(cx: &mut Evaluator, blocks: &[&Block]) -> BTreeMap<FreezeName, Freeze> {
    let mut spans: BTreeMap<FreezeName, Span> = BTreeMap::new();
    let mut freezes = BTreeMap::new();
    for block in blocks {
        let Some((freeze, span)) = read(cx, block) else { continue };
        if let Some(first) = spans.get(&freeze.name) {
            let message = format!("there are two freezes `{}`", freeze.name);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        spans.insert(freeze.name.clone(), span);
        freezes.insert(freeze.name.clone(), freeze);
    }
    freezes
}

fn read(cx: &mut Evaluator, block: &Block) -> Option<(Freeze, Span)> {
    let name = label(cx, block, "a freeze needs a name", "holidays");
    let shown_name = name.as_ref().map(|name| shown(&name.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("freeze `{shown_name}`"));
    let timezone = timezone(cx, &mut section);
    let ends = [("from", End::From), ("until", End::Until)].map(|(key, end)| {
        let written = section.has(key);
        let text = section.text(cx, key);
        if !written {
            section.missing(cx, key, FORM);
        }
        let text = text?;
        let moment = at(cx, &section.what, key, &text, timezone.as_deref()?, end)?;
        Some((moment, text.span))
    });
    let home = section.flag(cx, "home").unwrap_or(false);
    let what = section.what.clone();
    section.finish(cx);
    let name = name.and_then(|name| valid(cx, FreezeName::new(&*name.value), name))?;
    let [Some((from, _)), Some((until, until_span))] = ends else { return None };
    if until <= from {
        let message = format!("{what} ends before it begins");
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, until_span, message)
                .hint("`until` is later than `from`"),
        );
        return None;
    }
    Some((Freeze { name: name.value, from, until, home }, name.span))
}

/// The name of a time zone that there is.
fn timezone(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<String> {
    let Some(name) = section.text(cx, "timezone") else { return Some("UTC".to_owned()) };
    if let Err(error) = zone(&name.value) {
        let message = format!("`timezone` of {}: {error}", section.what);
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, name.span, message)
                .hint("write a name of the IANA database, such as `Europe/Berlin`"),
        );
        return None;
    }
    Some(name.value.to_string())
}

fn at(
    cx: &mut Evaluator,
    what: &str,
    key: &str,
    text: &Text,
    timezone: &str,
    end: End,
) -> Option<Timestamp> {
    let error: MomentError = match moment(&text.value, timezone, end) {
        Ok(moment) => return Some(moment),
        Err(error) => error,
    };
    let message = format!("`{key}` of {what}: {error}");
    cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(FORM));
    None
}
