//! Reads `migrate` blocks: the schema steps of a service.

use hornero_model::{Migrate, Millis, PointOfNoReturn, Strategy};

use crate::{
    ErrorCode, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_command,
    read_value::wrong_type,
    read_word::word,
    section::{At, Section},
    value::{Span, Value},
};

const POINTS: [(&str, PointOfNoReturn); 2] =
    [("contract", PointOfNoReturn::Contract), ("switch", PointOfNoReturn::Switch)];

/// Whether steps are run for the first release of a service.
const FIRST: [(&str, bool); 2] = [("run", true), ("skip", false)];

/// `holds_volumes`: the service writes to volumes, so that nothing is there yet before its first release has served.
pub(crate) fn read(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    holds_volumes: bool,
    strategy: &Strategy,
) -> Option<Migrate> {
    let mut part = section.part(cx, "migrate")?;
    let has_some = part.has("expand") || part.has("contract");
    let expand = commands(cx, &mut part, "expand");
    let contract = commands(cx, &mut part, "contract");
    let time = part.place("timeout");
    let timeout = part.duration(cx, "timeout", Millis(1_000)).unwrap_or(defaults::STEP_TIMEOUT);
    if timeout > limits::STEP_TIMEOUT {
        let message =
            format!("`timeout` of {} must be at most {}", part.what, limits::STEP_TIMEOUT);
        cx.report(Mistake::new(ErrorCode::OutOfRange, time, message));
    }
    let point = word(cx, &mut part, "point_of_no_return", &POINTS);
    if let Some(point) = point.as_ref().filter(|of| of.value == PointOfNoReturn::Switch) {
        check_switch(cx, &part.what, &point.span, strategy);
    }
    let first = word(cx, &mut part, "first_release", &FIRST);
    let migrate = Migrate {
        expand,
        contract,
        timeout,
        point_of_no_return: point.map_or(PointOfNoReturn::Contract, |word| word.value),
        first_release: first.map_or(!holds_volumes, |word| word.value),
    };
    let span = part.span.clone();
    if !has_some {
        let message = format!("{} has no step", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, span, message)
                .hint("write such as `expand = [[\"/srv/migrate\", \"expand\"]]`"),
        );
    }
    part.finish(cx);
    Some(migrate)
}

/// What gets only some of the requests at first has them taken back where it fails, which is after it has written.
fn check_switch(cx: &mut Evaluator, what: &str, span: &Span, strategy: &Strategy) {
    let word = match strategy {
        Strategy::Canary(_) => "canary",
        Strategy::Rolling(_) => "rolling",
        Strategy::BlueGreen | Strategy::Replace(_) => return,
    };
    let message =
        format!("`point_of_no_return` of {what} can't be `switch` where `strategy` is `{word}`");
    cx.report(
        Mistake::new(ErrorCode::Conflict, span.clone(), message)
            .note("its requests go back to the release before where it fails")
            .hint("write `strategy = \"blue_green\"`, or `point_of_no_return = \"contract\"`"),
    );
}

/// A list of commands, each a program and its arguments.
fn commands(cx: &mut Evaluator, part: &mut Section<'_>, key: &'static str) -> Vec<Vec<String>> {
    const EXPECTED: &str = "a list of commands such as `[[\"/srv/migrate\", \"expand\"]]`";
    let Some(items) = part.list(cx, key, EXPECTED) else { return Vec::new() };
    if items.value.len() > limits::STEPS {
        let message = format!(
            "`{key}` of {} has {} steps; at most {} are allowed",
            part.what,
            items.value.len(),
            limits::STEPS
        );
        cx.report(Mistake::new(ErrorCode::TooLarge, items.span, message));
        return Vec::new();
    }
    let name = format!("an element of `{key}` of {}", part.what);
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    for item in &items.value {
        let Value::List(words) = &item.value else {
            wrong_type(cx, &name, "a command such as `[\"/srv/migrate\", \"expand\"]`", item);
            continue;
        };
        let words = At { value: words.to_vec(), span: item.span.clone() };
        let words = read_command::words(cx, &name, &words);
        // An empty one was reported.
        let Some(words) = words.filter(|words| !words.is_empty()) else { continue };
        if let Some(first) = commands.iter().position(|of| *of == words) {
            let message = format!("`{key}` of {} has the same command twice", part.what);
            cx.report(
                Mistake::new(ErrorCode::Conflict, item.span.clone(), message)
                    .note("a step is run once")
                    .related(spans[first].clone(), "here it is already")
                    .hint("take one out, or give it an argument that tells it from the other"),
            );
            continue;
        }
        commands.push(words);
        spans.push(item.span.clone());
    }
    commands
}
