//! Reads how the number of servers follows from the load: `scale` of a service.

use hornero_model::{Millis, Scale, ServiceKind};

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
    let maximum_place = part.place("maximum");
    let (in_flight, rate) = (part.place("in_flight"), part.place("requests_per_second"));
    if !part.has("maximum") {
        part.missing(cx, "maximum", "write how many servers it may have at most: `maximum = 8`");
    }
    let reason = "at least one server runs, and one machine carries no more than a thousand";
    let minimum = part.whole(cx, "minimum", 1, limits::INSTANCES, reason).unwrap_or(1);
    let maximum = part.whole(cx, "maximum", 1, limits::INSTANCES, reason).unwrap_or(minimum);
    let least = "a server that has nothing to do is not needed";
    let scale = Scale {
        minimum,
        maximum,
        in_flight: part.whole(cx, "in_flight", 1, limits::SCALE_TARGET, least),
        requests_per_second: part.whole(cx, "requests_per_second", 1, limits::SCALE_TARGET, least),
        cpu_percent: cpu(cx, &mut part),
        stabilise: stabilise(cx, &mut part),
        to_zero: None,
    };
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
    if !service.has_ports {
        unseen(cx, &part.what, &scale, (&in_flight, &rate));
    }
    if let Some(instances) = &service.instances {
        let message = format!("{} has both `instances` and `scale`", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, instances.clone(), message)
                .related(place.clone(), "the other is here")
                .hint(
                    "`scale` says between how many servers the load decides; leave `instances` out",
                ),
        );
    }
    if service.kind == ServiceKind::Stateful {
        let message = format!("{} is stateful and can't be scaled", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, place, message).hint(
                "a volume has one writer: its number of servers does not follow from the load",
            ),
        );
    }
    part.finish(cx);
    Some(scale)
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

fn stabilise(cx: &mut Evaluator, part: &mut Section<'_>) -> Millis {
    let place = part.place("stabilise");
    let span = part.duration(cx, "stabilise", limits::STABILISE_MIN);
    let span = span.unwrap_or(defaults::STABILISE);
    if span > limits::STABILISE {
        let message = format!(
            "`stabilise` of {} must be at most {}, not {span}",
            part.what,
            limits::STABILISE
        );
        cx.report(Mistake::new(ErrorCode::OutOfRange, place, message));
    }
    span
}
