//! Reads how releases replace each other: `rollout` of a service.

use hornero_model::{
    CanaryPolicy, Millis, OnInconclusive, Port, Quiesce, ReplacePolicy, RollingPolicy,
    RolloutPolicy, Share, SnapshotPolicy, Strategy,
};

use crate::{
    ErrorCode, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_command, read_judge, read_sticky,
    read_value::shown,
    read_word::word,
    section::{Section, Text},
};

/// The words of strategies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StrategyWord {
    BlueGreen,
    Canary,
    Rolling,
    Replace,
}

const STRATEGIES: [(&str, StrategyWord); 4] = [
    ("blue_green", StrategyWord::BlueGreen),
    ("canary", StrategyWord::Canary),
    ("rolling", StrategyWord::Rolling),
    ("replace", StrategyWord::Replace),
];

const ON_INCONCLUSIVE: [(&str, OnInconclusive); 3] = [
    ("abort", OnInconclusive::Abort),
    ("promote", OnInconclusive::Promote),
    ("wait", OnInconclusive::Wait),
];

/// What a release that fails goes back to, and whether that is a snapshot.
const ON_FAILURE: [(&str, bool); 2] = [("old_image", false), ("snapshot", true)];

/// The keys that only one strategy has, and how it is called.
const OF_ONE: [(&str, StrategyWord, &str, &str); 13] = [
    ("steps", StrategyWord::Canary, "a canary", "canary"),
    ("step_timeout", StrategyWord::Canary, "a canary", "canary"),
    ("on_inconclusive", StrategyWord::Canary, "a canary", "canary"),
    ("sticky", StrategyWord::Canary, "a canary", "canary"),
    ("judge", StrategyWord::Canary, "a canary", "canary"),
    ("probe", StrategyWord::Canary, "a canary", "canary"),
    ("max_surge", StrategyWord::Rolling, "a rolling rollout", "rolling"),
    ("hold", StrategyWord::Replace, "a replacement", "replace"),
    ("hold_requests", StrategyWord::Replace, "a replacement", "replace"),
    ("quiesce", StrategyWord::Replace, "a replacement", "replace"),
    ("quiesce_timeout", StrategyWord::Replace, "a replacement", "replace"),
    ("on_failure", StrategyWord::Replace, "a replacement", "replace"),
    ("keep_snapshot", StrategyWord::Replace, "a replacement", "replace"),
];

/// `holds_volumes`: the service writes to volumes, so that its servers can't run beside each other.
pub(crate) fn read(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    holds_volumes: bool,
    ports: &[Port],
) -> RolloutPolicy {
    let mut policy = RolloutPolicy {
        strategy: Strategy::BlueGreen,
        drain_timeout: defaults::DRAIN_TIMEOUT,
        keep_warm: defaults::KEEP_WARM,
        watch: defaults::WATCH,
    };
    let usual = match holds_volumes {
        true => StrategyWord::Replace,
        false => StrategyWord::BlueGreen,
    };
    let Some(mut part) = section.part(cx, "rollout") else {
        if holds_volumes {
            let replace = ReplacePolicy::holding(defaults::HOLD, defaults::HOLD_REQUESTS);
            policy.strategy = Strategy::Replace(replace);
            policy.keep_warm = Millis(0);
        }
        return policy;
    };
    let strategy = word(cx, &mut part, "strategy", &STRATEGIES);
    let strategy = strategy.map_or(usual, |word| word.value);
    if holds_volumes && strategy != StrategyWord::Replace {
        let message = format!("{} has a volume, and only `replace` keeps to one writer", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, part.place("strategy"), message)
                .hint("set `strategy = \"replace\"`, or leave it out"),
        );
    }
    strays(cx, &part, strategy);
    let canary = canary(cx, &mut part, ports);
    let rolling = RollingPolicy {
        max_surge: part.whole(
            cx,
            "max_surge",
            1,
            limits::INSTANCES,
            "a batch has at least one server, and a new one is there before an old one goes",
        ),
    };
    let replace = replace(cx, &mut part, holds_volumes);
    match strategy {
        StrategyWord::BlueGreen => {}
        StrategyWord::Canary => policy.strategy = Strategy::Canary(canary),
        StrategyWord::Rolling => {
            policy.strategy = Strategy::Rolling(rolling);
            policy.keep_warm = Millis(0);
        }
        StrategyWord::Replace => {
            policy.strategy = Strategy::Replace(replace);
            policy.keep_warm = Millis(0);
        }
    }
    let none = Millis(0);
    policy.drain_timeout = part.duration(cx, "drain_timeout", none).unwrap_or(policy.drain_timeout);
    policy.keep_warm = part.duration(cx, "keep_warm", none).unwrap_or(policy.keep_warm);
    policy.watch = part.duration(cx, "watch", none).unwrap_or(policy.watch);
    part.finish(cx);
    policy
}

/// Reports a key that the strategy does not have.
fn strays(cx: &mut Evaluator, part: &Section<'_>, strategy: StrategyWord) {
    let stray = OF_ONE.into_iter().find(|(key, of, ..)| part.has(key) && strategy != *of);
    if let Some((key, _, of, word)) = stray {
        let message = format!("{} has `{key}`, which only {of} has", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, part.place(key), message)
                .hint(format!("set `strategy = \"{word}\"`")),
        );
    }
    let is_partial = matches!(strategy, StrategyWord::Rolling | StrategyWord::Replace);
    if is_partial && part.has("keep_warm") {
        let message =
            format!("{} has `keep_warm`, and by then no whole old set is left to keep", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, part.place("keep_warm"), message)
                .hint("leave it out, or use another strategy"),
        );
    }
}

fn replace(cx: &mut Evaluator, part: &mut Section<'_>, holds_volumes: bool) -> ReplacePolicy {
    let hold = part.place("hold");
    let policy = ReplacePolicy {
        hold: part.duration(cx, "hold", Millis(0)).unwrap_or(defaults::HOLD),
        hold_requests: part
            .whole(cx, "hold_requests", 1, limits::HOLD_REQUESTS, "each that waits is a connection")
            .unwrap_or(defaults::HOLD_REQUESTS),
        quiesce: quiesce(cx, part),
        snapshot: snapshot(cx, part, holds_volumes),
    };
    if policy.hold > limits::HOLD {
        let message = format!("`hold` of {} must be at most {}", part.what, limits::HOLD);
        cx.report(Mistake::new(ErrorCode::OutOfRange, hold, message));
    }
    policy
}

/// The command that is run before, and how long it may take.
fn quiesce(cx: &mut Evaluator, part: &mut Section<'_>) -> Option<Quiesce> {
    let time = part.place("quiesce_timeout");
    let timed = part.has("quiesce_timeout");
    let command = read_command::command_of(cx, part, "quiesce");
    let timeout = part.duration(cx, "quiesce_timeout", Millis(1_000));
    let timeout = timeout.unwrap_or(defaults::QUIESCE_TIMEOUT);
    if timeout > limits::QUIESCE_TIMEOUT {
        let message = format!(
            "`quiesce_timeout` of {} must be at most {}",
            part.what,
            limits::QUIESCE_TIMEOUT
        );
        cx.report(Mistake::new(ErrorCode::OutOfRange, time, message));
    } else if timed && command.is_none() {
        let message = format!("{} has `quiesce_timeout` without `quiesce`", part.what);
        cx.report(Mistake::new(ErrorCode::Conflict, time, message));
    }
    // An empty one was reported.
    let command = command.filter(|words| !words.is_empty())?;
    Some(Quiesce { command, timeout })
}

/// Whether snapshots are taken in between, and how long they are kept.
fn snapshot(
    cx: &mut Evaluator,
    part: &mut Section<'_>,
    holds_volumes: bool,
) -> Option<SnapshotPolicy> {
    let (place, time) = (part.place("on_failure"), part.place("keep_snapshot"));
    let wanted = word(cx, part, "on_failure", &ON_FAILURE).is_some_and(|word| word.value);
    let keep = part.duration(cx, "keep_snapshot", limits::LEAST_SNAPSHOT);
    if wanted && !holds_volumes {
        let message = format!("{} goes back to a snapshot, and mounts no volume", part.what);
        cx.report(Mistake::new(ErrorCode::Conflict, place, message));
    } else if !wanted && keep.is_some() {
        let message = format!("{} has `keep_snapshot`, and takes none", part.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, time, message)
                .hint("set `on_failure = \"snapshot\"`"),
        );
    }
    wanted.then(|| SnapshotPolicy { keep: keep.unwrap_or(defaults::KEEP_SNAPSHOT) })
}

fn canary(cx: &mut Evaluator, part: &mut Section<'_>, ports: &[Port]) -> CanaryPolicy {
    let place = part.place("steps");
    let written = part.texts(cx, "steps");
    let steps = match &written {
        None => defaults::CANARY_STEPS.to_vec(),
        Some(texts) => steps(cx, texts),
    };
    if steps.is_empty() && written.is_some_and(|texts| texts.is_empty()) {
        let message = format!("`steps` of {} is empty", part.what);
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, place.clone(), message)
                .hint("write such as `steps = [\"10%\", \"50%\"]`, or leave it out"),
        );
    }
    if steps.len() > limits::CANARY_STEPS {
        let message = format!(
            "`steps` of {} has {} elements, the limit is {}",
            part.what,
            steps.len(),
            limits::CANARY_STEPS
        );
        cx.report(Mistake::new(ErrorCode::OutOfRange, place, message));
    }
    let (second, sticky) = (Millis(1_000), read_sticky::read(cx, part));
    CanaryPolicy {
        steps,
        step_timeout: part
            .duration(cx, "step_timeout", second)
            .unwrap_or(defaults::CANARY_STEP_TIMEOUT),
        on_inconclusive: word(cx, part, "on_inconclusive", &ON_INCONCLUSIVE)
            .map_or(defaults::ON_INCONCLUSIVE, |word| word.value),
        sticky,
        judge: read_judge::judge(cx, part),
        probe: read_judge::probe(cx, part, ports),
    }
}

/// The shares as weights; what is none, or no more than the one before, is reported.
fn steps(cx: &mut Evaluator, texts: &[Text]) -> Vec<u32> {
    let mut steps: Vec<u32> = Vec::new();
    for text in texts {
        let Some(weight) = percent(&text.value) else {
            let message = format!("`{}` is no share of the requests", shown(&text.value));
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message)
                    .hint("a step is from `0.01%` to `99.99%`; all requests follow the last one"),
            );
            continue;
        };
        if steps.last().is_some_and(|before| weight <= *before) {
            let message = format!("`{}` is no more than the step before", shown(&text.value));
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message)
                    .hint("each step gives the new release more than the one before"),
            );
        }
        steps.push(weight);
    }
    steps
}

/// A weight from such as `12.5%`: more than nothing and less than all, to a hundredth of a percent.
fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 2 || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    let weight = format!("{whole}{part:0<2}").parse().ok()?;
    (1..Share::WHOLE).contains(&weight).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percents_are_weights() {
        for (text, expected) in [
            ("10%", Some(1_000)),
            ("0.01%", Some(1)),
            ("99.99%", Some(9_999)),
            ("12.5%", Some(1_250)),
            ("0%", None),
            ("100%", None),
            ("10", None),
            ("%", None),
            (".5%", None),
            ("1.234%", None),
            ("-1%", None),
            ("+1%", None),
            ("1e1%", None),
        ] {
            assert_eq!(percent(text), expected, "{text}");
        }
    }
}
