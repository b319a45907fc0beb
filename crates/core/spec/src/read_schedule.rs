//! Reads `schedule` blocks.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;
use hornero_model::{MissedTimes, ScheduleAction, ScheduleName, ScheduleSpec, ServiceName};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_cron,
    read_value::{shown, text, valid, wrong_type_hint},
    section::{At, Section, label},
    suggest::{did_you_mean, one_of},
    value::{BlockKind, Located, Span, Value},
};

const MISSED: [MissedTimes; 2] = [MissedTimes::Skip, MissedTimes::CatchUp];

/// Reads all blocks; what can't be used is reported and left out. The names of services are known by then.
pub(crate) fn read_all(
    cx: &mut Evaluator,
    blocks: &[&Block],
) -> BTreeMap<ScheduleName, ScheduleSpec> {
    let mut spans: BTreeMap<ScheduleName, Span> = BTreeMap::new();
    let mut schedules = BTreeMap::new();
    for block in blocks {
        let Some((schedule, span)) = read(cx, block) else { continue };
        if let Some(first) = spans.get(&schedule.name) {
            let message = format!("there are two schedules `{}`", schedule.name);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        spans.insert(schedule.name.clone(), span);
        schedules.insert(schedule.name.clone(), schedule);
    }
    schedules
}

fn read(cx: &mut Evaluator, block: &Block) -> Option<(ScheduleSpec, Span)> {
    let name = label(cx, block, "a schedule needs a name", "patch");
    let shown_name = name.as_ref().map(|name| shown(&name.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("schedule `{shown_name}`"));
    if !section.has("do") {
        let words = ScheduleAction::ALL.into_iter().map(ScheduleAction::as_str);
        let hint = format!("write `do = \"recycle\"`; it is {}", one_of(words));
        section.missing(cx, "do", &hint);
    }
    let actions = ScheduleAction::ALL.map(|one| (one.as_str(), one));
    let action = word(cx, &mut section, "do", actions);
    if !section.has("when") {
        section.missing(
            cx,
            "when",
            "write `when = \"30 2 * * 1-5\"`: every weekday at half past two",
        );
    }
    let when = read_cron::line(cx, &mut section, "when");
    let services = services(cx, &mut section);
    let missed = word(cx, &mut section, "missed", MISSED.map(|one| (one.as_str(), one)));
    section.finish(cx);
    let name = name.and_then(|name| valid(cx, ScheduleName::new(&*name.value), name))?;
    let missed = missed.unwrap_or_default();
    let spec = ScheduleSpec { name: name.value, action: action?, when: when?, services, missed };
    Some((spec, name.span))
}

/// Takes one of some words.
fn word<T: Copy, const N: usize>(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    key: &'static str,
    words: [(&'static str, T); N],
) -> Option<T> {
    let written = section.text(cx, key)?;
    let found = words.iter().find(|(word, _)| *word == &*written.value);
    if let Some((_, value)) = found {
        return Some(*value);
    }
    let names = || words.iter().map(|(word, _)| *word);
    let hint = did_you_mean(&written.value, names())
        .unwrap_or_else(|| format!("it is {}", one_of(names())));
    let message = format!("`{key}` of {} can't be `{}`", section.what, shown(&written.value));
    cx.report(Mistake::new(ErrorCode::InvalidValue, written.span, message).hint(hint));
    None
}

/// The services that it names, as references or by their names.
fn services(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<ServiceName> {
    let key = format!("`services` of {}", section.what);
    let element = format!("an element of {key}");
    let Some(items) = section.list(cx, "services", "a list such as `[service.shop]`") else {
        return Vec::new();
    };
    if items.value.is_empty() {
        let message = format!("{key} names none");
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, items.span, message)
                .hint("leave it out: then it is all services of the directory"),
        );
        return Vec::new();
    }
    let mut services: Vec<ServiceName> =
        items.value.iter().filter_map(|item| service(cx, &element, item)).collect();
    services.sort();
    services.dedup();
    services
}

fn service(cx: &mut Evaluator, element: &str, item: &Located) -> Option<ServiceName> {
    let At { value, span } = match &item.value {
        Value::Reference(to) if to.kind == BlockKind::Service => {
            At { value: to.name.clone(), span: item.span.clone() }
        }
        Value::String(_) => text(cx, element, item)?,
        _ => {
            wrong_type_hint(cx, element, "a service", item, "write `service.NAME`");
            return None;
        }
    };
    let declared = cx.declared.get(&BlockKind::Service);
    if declared.is_some_and(|names| names.contains_key(&*value)) {
        return ServiceName::new(&*value).ok();
    }
    let names: Vec<&str> =
        declared.into_iter().flat_map(|names| names.keys().map(String::as_str)).collect();
    let hint = did_you_mean(&value, names.iter().copied())
        .or_else(|| (!names.is_empty()).then(|| format!("declared are {}", one_of(names))));
    let message = format!("{element}: there is no service `{}`", shown(&value));
    cx.report(Mistake::new(ErrorCode::UnknownReference, span, message).maybe_hint(hint));
    None
}
