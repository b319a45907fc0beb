//! Reads how canaries are judged, and by which requests of the edge's own: `judge` and `probe` of a canary.

use hornero_model::{CanaryProbe, JudgePolicy, Millis, Port, PortName};

use crate::{
    ErrorCode, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_check,
    read_value::shown,
    section::{Section, Text},
    suggest::did_you_mean,
};

/// Most percent that answers may take longer.
const SLOWDOWN: u32 = 1_000;
/// Shortest time between two probes.
const QUICKEST: Millis = Millis(10);

/// None where it is not declared.
pub(crate) fn judge(cx: &mut Evaluator, rollout: &mut Section<'_>) -> Option<JudgePolicy> {
    let mut part = rollout.part(cx, "judge")?;
    let usual = JudgePolicy::default();
    let false_alarms = part.text(cx, "false_alarms");
    let errors = part.text(cx, "errors");
    let slowdown = part.text(cx, "slowdown");
    let policy = JudgePolicy {
        false_alarms: false_alarms
            .and_then(|text| share(cx, &text, "1%", (1, 2_000)))
            .unwrap_or(usual.false_alarms),
        minimum_requests: part
            .whole(
                cx,
                "minimum_requests",
                1,
                limits::JUDGED_REQUESTS,
                "a canary that waits for more is never judged",
            )
            .unwrap_or(usual.minimum_requests),
        errors: errors
            .and_then(|text| share(cx, &text, "0.5%", (0, 5_000)))
            .unwrap_or(usual.errors),
        slowdown: slowdown.and_then(|text| percent(cx, &text)).unwrap_or(usual.slowdown),
        pause: part.duration(cx, "pause", Millis(0)).unwrap_or(usual.pause),
    };
    part.finish(cx);
    Some(policy)
}

/// A share in ten-thousandths, from `least` to `most` of them.
fn share(cx: &mut Evaluator, text: &Text, example: &str, (least, most): (u32, u32)) -> Option<u32> {
    let weight = hundredths(&text.value).filter(|weight| (least..=most).contains(weight));
    if weight.is_none() {
        let written = |weight| format!("`{}`", hornero_model::Share::percent(weight));
        let message = format!("`{}` is no such share", shown(&text.value));
        let hint = format!("from {} to {}, such as `{example}`", written(least), written(most));
        cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(hint));
    }
    weight
}

/// Ten-thousandths from such as `0.5%`, to a hundredth of a percent.
fn hundredths(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() > 3 || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<2}").parse().ok()
}

/// Whole percents, more than a hundred included.
fn percent(cx: &mut Evaluator, text: &Text) -> Option<u32> {
    let digits = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.value.strip_suffix('%').filter(digits);
    let number = number.and_then(|number| number.parse::<u32>().ok());
    let percent = number.filter(|percent| *percent <= SLOWDOWN);
    if percent.is_none() {
        let message = format!("`{}` is no number of percents", shown(&text.value));
        let hint = format!("from `0%` to `{SLOWDOWN}%`: `50%` is half as long again");
        cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(hint));
    }
    percent
}

/// None where it is not declared, or can't be asked.
pub(crate) fn probe(
    cx: &mut Evaluator,
    rollout: &mut Section<'_>,
    ports: &[Port],
) -> Option<CanaryProbe> {
    let mut part = rollout.part(cx, "probe")?;
    let (what, span) = (part.what.clone(), part.span.clone());
    let port = part.text(cx, "port");
    let path = part
        .text(cx, "path")
        .and_then(|path| read_check::http_path(cx, "the path of a probe", &path));
    let interval = part.duration(cx, "interval", QUICKEST).unwrap_or(defaults::PROBE_INTERVAL);
    part.finish(cx);
    let answers = |port: &&Port| port.speaks_http1();
    if !ports.iter().any(|port| answers(&port)) {
        let message = format!("{what} needs a port that speaks HTTP/1.1");
        cx.report(
            Mistake::new(ErrorCode::Conflict, span, message)
                .hint("declare one: `port \"http\" { container = 8080 }`"),
        );
        return None;
    }
    let port = match port {
        None => None,
        Some(text) => Some(named(cx, &text, ports, answers)?),
    };
    let path = path.unwrap_or_else(|| defaults::CHECK_PATH.to_owned());
    Some(CanaryProbe { port, path, interval })
}

fn named(
    cx: &mut Evaluator,
    text: &Text,
    ports: &[Port],
    answers: impl Fn(&&Port) -> bool,
) -> Option<PortName> {
    let known = ports.iter().find(|port| port.name.as_str() == &*text.value);
    let names = ports.iter().filter(|port| answers(port)).map(|port| port.name.as_str());
    let (code, message) = match known {
        Some(port) if answers(&port) => return Some(port.name.clone()),
        Some(port) => {
            (ErrorCode::Conflict, format!("port `{}` does not speak HTTP/1.1", port.name))
        }
        None => (
            ErrorCode::UnknownReference,
            format!("the service has no port `{}`", shown(&text.value)),
        ),
    };
    let hint = did_you_mean(&text.value, names);
    cx.report(Mistake::new(code, text.span.clone(), message).maybe_hint(hint));
    None
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn shares_are_ten_thousandths() {
        for (text, expected) in [
            ("0%", Some(0)),
            ("0.5%", Some(50)),
            ("0.05%", Some(5)),
            ("20%", Some(2_000)),
            ("100%", Some(10_000)),
            ("1.%", None),
            (".5%", None),
            ("0.005%", None),
            ("5", None),
            ("-1%", None),
        ] {
            assert_eq!(hundredths(text), expected, "{text}");
        }
    }
}
