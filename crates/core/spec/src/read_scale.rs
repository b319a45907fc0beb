//! Reads how the number of servers follows from the load: `scale` of a service.

use hornero_model::{Millis, Scale, ServiceKind, ToZero};

use crate::{
    ErrorCode, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    read_value::shown,
    section::{Section, Text},
    value::Span,
};

/// The keys that say how many servers are wanted.
const MEASURES: [&str; 3] = ["in_flight", "requests_per_second", "cpu"];
/// The keys that mean something only where nothing has to run.
const OF_ZERO: [&str; 3] = ["idle", "hold", "hold_requests"];

/// What of a service decides whether it can be scaled.
pub(crate) struct Scaled {
    pub kind: ServiceKind,
    pub has_ports: bool,
    /// Where `instances` stands, where it does.
    pub instances: Option<Span>,
}

/// Reads the block; none where there is none.
pub(crate) fn read(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    service: &Scaled,
) -> Option<Scale> {
    let mut part = section.part(cx, "scale")?;
    let place = part.span.clone();
    let is_measured = MEASURES.iter().any(|key| part.has(key));
    let (minimum_place, maximum_place) = (part.place("minimum"), part.place("maximum"));
    let (in_flight, rate) = (part.place("in_flight"), part.place("requests_per_second"));
    if !part.has("maximum") {
        part.missing(cx, "maximum", "write how many servers it may have at most: `maximum = 8`");
    }
    let scale = words(cx, &mut part);
    let Scale { minimum, maximum, .. } = scale;
    if maximum < minimum {
        let message =
            format!("{} has a `maximum` of {maximum} below its `minimum` of {minimum}", part.what);
        cx.report(Mistake::new(ErrorCode::Conflict, maximum_place, message));
    }
    if !is_measured {
        let message = format!("{} says nothing of how many servers are wanted", part.what);
        cx.report(Mistake::new(ErrorCode::MissingKey, place.clone(), message).hint(
            "write `in_flight = 10`, `requests_per_second = 50` or `cpu = \"70%\"`, for each server",
        ));
    }
    if !service.has_ports && minimum == 0 {
        let message = format!("{} has a `minimum` of 0, and the service has no ports", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, minimum_place, message).hint(
                "a server is started when a request comes, and none can: write `minimum = 1`",
            ),
        );
    }
    if !service.has_ports {
        unseen(cx, &part.what, &scale, (&in_flight, &rate));
    }
    part.finish(cx);
    unfit(cx, &section.what, place, service);
    Some(scale)
}

/// What the block says, each for itself.
fn words(cx: &mut Evaluator, part: &mut Section<'_>) -> Scale {
    let reason = "one machine carries no more than a thousand";
    let minimum = part.whole(cx, "minimum", 0, limits::INSTANCES, reason).unwrap_or(1);
    let reason = "none at all is what `minimum` may say, and one machine carries a thousand";
    let maximum = part.whole(cx, "maximum", 1, limits::INSTANCES, reason).unwrap_or(minimum);
    let least = "a server that has nothing to do is not needed";
    Scale {
        minimum,
        maximum,
        in_flight: part.whole(cx, "in_flight", 1, limits::SCALE_TARGET, least),
        requests_per_second: part.whole(cx, "requests_per_second", 1, limits::SCALE_TARGET, least),
        cpu_percent: cpu(cx, part),
        stabilise: span(
            cx,
            part,
            "stabilise",
            (limits::STABILISE_MIN, limits::STABILISE),
            defaults::STABILISE,
        ),
        to_zero: to_zero(cx, part, minimum),
    }
}

/// Reports what of a service contradicts that it is scaled.
fn unfit(cx: &mut Evaluator, what: &str, place: Span, service: &Scaled) {
    if let Some(instances) = &service.instances {
        let message = format!("{} has both `instances` and `scale`", what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, instances.clone(), message)
                .related(place.clone(), "the other is here")
                .hint(
                    "`scale` says between how many servers the load decides; leave `instances` out",
                ),
        );
    }
    if service.kind == ServiceKind::Stateful {
        let message = format!("{} is stateful and can't be scaled", what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, place, message).hint(
                "a volume has one writer: its number of servers does not follow from the load",
            ),
        );
    }
}

/// Reports what is counted at ports that the service does not have.
fn unseen(cx: &mut Evaluator, what: &str, scale: &Scale, (in_flight, rate): (&Span, &Span)) {
    let (key, place) = match (scale.in_flight, scale.requests_per_second) {
        (Some(_), _) => ("in_flight", in_flight),
        (None, Some(_)) => ("requests_per_second", rate),
        (None, None) => return,
    };
    let message = format!("{what} counts requests by `{key}`, and the service has no ports");
    cx.report(
        Mistake::new(ErrorCode::Conflict, place.clone(), message)
            .hint("without ports there is only `cpu`"),
    );
}

/// The part of its processor limit that a server shall use.
fn cpu(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<u32> {
    let text = part.text(cx, "cpu")?;
    let number = text.value.strip_suffix('%').filter(|of| of.bytes().all(|of| of.is_ascii_digit()));
    let percent = number.and_then(|number| number.parse().ok());
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    if percent.is_none() {
        not_percent(cx, &part.what, &text);
    }
    percent
}

fn not_percent(cx: &mut Evaluator, what: &str, text: &Text) {
    let message = format!("`cpu` of {what} can't be `{}`", shown(&text.value));
    cx.report(
        Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message)
            .hint("write a part of each server's processor limit, from `\"1%\"` to `\"100%\"`"),
    );
}

/// When nothing runs at all; none where something always does.
fn to_zero(cx: &mut Evaluator, part: &mut Section<'_>, minimum: u32) -> Option<ToZero> {
    let said: Vec<&str> = OF_ZERO.into_iter().filter(|key| part.has(key)).collect();
    let place = said.first().map(|key| part.place(key));
    let (idle_min, idle_max) = (limits::SCALE_IDLE_MIN, limits::SCALE_IDLE);
    let to_zero = ToZero {
        idle: span(cx, part, "idle", (idle_min, idle_max), defaults::SCALE_IDLE),
        hold: span(cx, part, "hold", (limits::SCALE_HOLD_MIN, limits::HOLD), defaults::HOLD),
        hold_requests: part
            .whole(cx, "hold_requests", 1, limits::HOLD_REQUESTS, "each that waits is a connection")
            .unwrap_or(defaults::HOLD_REQUESTS),
    };
    if let (Some(key), Some(place), true) = (said.first(), place, minimum > 0) {
        let message =
            format!("`{key}` of {} says nothing with a `minimum` of {minimum}", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, place, message)
                .hint("write `minimum = 0` where nothing has to run while no request comes"),
        );
    }
    (minimum == 0).then_some(to_zero)
}

/// A span of time within bounds.
fn span(
    cx: &mut Evaluator,
    part: &mut Section<'_>,
    key: &'static str,
    (least, most): (Millis, Millis),
    default: Millis,
) -> Millis {
    let place = part.place(key);
    let span = part.duration(cx, key, least).unwrap_or(default);
    if span > most {
        let message = format!("`{key}` of {} must be at most {most}, not {span}", part.what);
        cx.report(Mistake::new(ErrorCode::OutOfRange, place, message));
    }
    span
}
