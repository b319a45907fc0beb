//! How releases replace each other, as it is written.

use expect_test::expect;
use hornero_model::{
    CanaryPolicy, CanaryProbe, JudgePolicy, Millis, OnInconclusive, PortName, Quiesce,
    ReplacePolicy, RollingPolicy, Sticky, Strategy,
};

use crate::check::{check, read};

fn file(rollout: &str) -> String {
    format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  command = [\"/a\"]\n}}\n\
         service \"a\" {{\n  image = image.a\n  port \"http\" {{ container = 80 }}\n  rollout {{\n{rollout}  }}\n}}\n"
    )
}

fn strategy(rollout: &str) -> Strategy {
    let spec = read(&file(rollout)).unwrap();
    let service = spec.services.values().next().unwrap();
    service.rollout.strategy.clone()
}

#[test]
fn canaries() {
    let default = CanaryPolicy {
        steps: vec![1_000, 5_000],
        step_timeout: Millis(300_000),
        on_inconclusive: OnInconclusive::Abort,
        sticky: None,
        judge: None,
        probe: None,
    };
    assert_eq!(strategy("    strategy = \"canary\"\n"), Strategy::Canary(default));
    let given = CanaryPolicy {
        steps: vec![1, 250, 9_999],
        step_timeout: Millis(20_000),
        on_inconclusive: OnInconclusive::Wait,
        sticky: None,
        judge: None,
        probe: None,
    };
    let text = "    strategy = \"canary\"\n    steps = [\"0.01%\", \"2.5%\", \"99.99%\"]\n    \
                step_timeout = \"20s\"\n    on_inconclusive = \"wait\"\n";
    assert_eq!(strategy(text), Strategy::Canary(given));
    assert_eq!(strategy("    watch = \"1s\"\n"), Strategy::BlueGreen);
}

#[test]
fn what_the_judge_lets_pass_and_what_the_edge_asks() {
    let canary = |text: &str| match strategy(&format!("    strategy = \"canary\"\n{text}")) {
        Strategy::Canary(canary) => canary,
        other => panic!("{other:?}"),
    };
    let usual = canary("    judge {}\n    probe {}\n");
    assert_eq!(usual.judge, Some(JudgePolicy::default()));
    let probe = CanaryProbe { port: None, path: "/".to_owned(), interval: Millis(100) };
    assert_eq!(usual.probe, Some(probe));
    let given = canary(
        "    judge = { false_alarms = \"0.1%\", minimum_requests = 20, errors = \"0%\", slowdown = \"200%\", pause = \"1s\" }\n    \
         probe = { port = \"http\", path = \"/shop?probe\", interval = \"20ms\" }\n",
    );
    let judge = JudgePolicy {
        false_alarms: 10,
        minimum_requests: 20,
        errors: 0,
        slowdown: 200,
        pause: Millis(1_000),
    };
    assert_eq!(given.judge, Some(judge));
    let (port, path) = (Some(PortName::new("http").unwrap()), "/shop?probe".to_owned());
    assert_eq!(given.probe, Some(CanaryProbe { port, path, interval: Millis(20) }));
    let wrong = "    judge = { false_alarms = \"50%\", errors = \"1\", slowdown = \"half\" }\n    \
                 probe = { port = \"htp\" }\n";
    check(
        &file(&format!("    strategy = \"canary\"\n{wrong}")),
        expect![[r#"
        error[invalid-value]: `50%` is no such share
          --> hornero.hcl:10:30
           |
        10 |     judge = { false_alarms = "50%", errors = "1", slowdown = "half" }
           |                              ^^^^^
           |
           = hint: from `0.01%` to `20%`, such as `1%`

        error[invalid-value]: `1` is no such share
          --> hornero.hcl:10:46
           |
        10 |     judge = { false_alarms = "50%", errors = "1", slowdown = "half" }
           |                                              ^^^
           |
           = hint: from `0%` to `50%`, such as `0.5%`

        error[invalid-value]: `half` is no number of percents
          --> hornero.hcl:10:62
           |
        10 |     judge = { false_alarms = "50%", errors = "1", slowdown = "half" }
           |                                                              ^^^^^^
           |
           = hint: from `0%` to `1000%`: `50%` is half as long again

        error[unknown-reference]: the service has no port `htp`
          --> hornero.hcl:11:22
           |
        11 |     probe = { port = "htp" }
           |                      ^^^^^
           |
           = hint: did you mean `http`?

        there are 4 errors in `hornero.hcl`
    "#]],
    );
    check(
        &file("    strategy = \"canary\"\n    judge = { slowdown = \"+50%\" }\n"),
        expect![[r#"
        error[invalid-value]: `+50%` is no number of percents
          --> hornero.hcl:10:26
           |
        10 |     judge = { slowdown = "+50%" }
           |                          ^^^^^^
           |
           = hint: from `0%` to `1000%`: `50%` is half as long again

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file("    probe = { path = \"/\" }\n"),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `probe`, which only a canary has
         --> hornero.hcl:9:13
          |
        9 |     probe = { path = "/" }
          |             ^^^^^^^^^^^^^^
          |
          = hint: set `strategy = "canary"`

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn clients_stick_by_a_cookie_or_a_field() {
    let sticky = |text: &str| match strategy(&format!("    strategy = \"canary\"\n{text}")) {
        Strategy::Canary(canary) => canary.sticky,
        other => panic!("{other:?}"),
    };
    let cookie = sticky("    sticky = { cookie = \"session\" }\n");
    assert_eq!(cookie, Some(Sticky::Cookie("session".to_owned())));
    let header = sticky("    sticky { header = \"X-User\" }\n");
    assert_eq!(header, Some(Sticky::Header("x-user".to_owned())));
    check(
        &file("    sticky = { cookie = \"a\" }\n"),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `sticky`, which only a canary has
         --> hornero.hcl:9:14
          |
        9 |     sticky = { cookie = "a" }
          |              ^^^^^^^^^^^^^^^^
          |
          = hint: set `strategy = "canary"`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file("    strategy = \"canary\"\n    sticky = { cookie = \"a b\" }\n"),
        expect![[r#"
        error[invalid-value]: `a b` is no name of a cookie or a field
          --> hornero.hcl:10:25
           |
        10 |     sticky = { cookie = "a b" }
           |                         ^^^^^
           |
           = hint: letters, digits and `-_.`, at most 64 of them

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file("    strategy = \"canary\"\n    sticky = {}\n"),
        expect![[r#"
        error[conflict]: `sticky` of `rollout` of service `a` needs a cookie or a field of the request, and one of them
          --> hornero.hcl:10:14
           |
        10 |     sticky = {}
           |              ^^
           |
           = hint: write `sticky = { cookie = "session" }` or `sticky = { header = "x-user" }`

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn what_is_no_canary() {
    check(
        &file("    steps = [\"10%\"]\n"),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `steps`, which only a canary has
         --> hornero.hcl:9:13
          |
        9 |     steps = ["10%"]
          |             ^^^^^^^
          |
          = hint: set `strategy = "canary"`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file(
            "    strategy = \"canary\"\n    steps = [\"10\", \"20%\", \"20%\", \"100%\"]\n    \
             on_inconclusive = \"hope\"\n    step_timeout = \"10ms\"\n",
        ),
        expect![[r#"
            error[invalid-value]: `10` is no share of the requests
              --> hornero.hcl:10:14
               |
            10 |     steps = ["10", "20%", "20%", "100%"]
               |              ^^^^
               |
               = hint: a step is from `0.01%` to `99.99%`; all requests follow the last one

            error[invalid-value]: `20%` is no more than the step before
              --> hornero.hcl:10:27
               |
            10 |     steps = ["10", "20%", "20%", "100%"]
               |                           ^^^^^
               |
               = hint: each step gives the new release more than the one before

            error[invalid-value]: `100%` is no share of the requests
              --> hornero.hcl:10:34
               |
            10 |     steps = ["10", "20%", "20%", "100%"]
               |                                  ^^^^^^
               |
               = hint: a step is from `0.01%` to `99.99%`; all requests follow the last one

            error[invalid-value]: `on_inconclusive` of `rollout` of service `a` can't be `hope`
              --> hornero.hcl:11:23
               |
            11 |     on_inconclusive = "hope"
               |                       ^^^^^^
               |
               = hint: `on_inconclusive` is `abort`, `promote` or `wait`

            error[out-of-range]: `step_timeout` of `rollout` of service `a` must be at least 1s, not `10ms`
              --> hornero.hcl:12:20
               |
            12 |     step_timeout = "10ms"
               |                    ^^^^^^

            there are 5 errors in `hornero.hcl`
        "#]],
    );
    check(
        &file("    strategy = \"canary\"\n    steps = []\n"),
        expect![[r#"
        error[invalid-value]: `steps` of `rollout` of service `a` is empty
          --> hornero.hcl:10:13
           |
        10 |     steps = []
           |             ^^
           |
           = hint: write such as `steps = ["10%", "50%"]`, or leave it out

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn rolling() {
    let rolling = |max_surge| Strategy::Rolling(RollingPolicy { max_surge });
    assert_eq!(strategy("    strategy = \"rolling\"\n"), rolling(None));
    let three = "    strategy = \"rolling\"\n    max_surge = 3\n";
    assert_eq!(strategy(three), rolling(Some(3)));
    let spec = read(&file(three)).unwrap();
    assert_eq!(spec.services.values().next().unwrap().rollout.keep_warm, Millis(0));
}

#[test]
fn what_is_not_rolling() {
    check(
        &file("    max_surge = 1\n"),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `max_surge`, which only a rolling rollout has
         --> hornero.hcl:9:17
          |
        9 |     max_surge = 1
          |                 ^
          |
          = hint: set `strategy = "rolling"`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file("    strategy = \"rolling\"\n    max_surge = 0\n    keep_warm = \"1m\"\n"),
        expect![[r#"
            error[out-of-range]: `max_surge` of `rollout` of service `a` must be from 1 to 1000, not 0
              --> hornero.hcl:10:17
               |
            10 |     max_surge = 0
               |                 ^
               |
               = hint: a batch has at least one server, and a new one is there before an old one goes

            error[conflict]: `rollout` of service `a` has `keep_warm`, and by then no whole old set is left to keep
              --> hornero.hcl:11:17
               |
            11 |     keep_warm = "1m"
               |                 ^^^^
               |
               = hint: leave it out, or use another strategy

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn replace() {
    let default = ReplacePolicy::holding(Millis(30_000), 1_000);
    assert_eq!(strategy("    strategy = \"replace\"\n"), Strategy::Replace(default));
    let given = "    strategy = \"replace\"\n    hold = \"5s\"\n    hold_requests = 10\n";
    let five = ReplacePolicy::holding(Millis(5_000), 10);
    assert_eq!(strategy(given), Strategy::Replace(five));
    let given = "    strategy = \"replace\"\n    quiesce = [\"/srv/flush\", \"now\"]\n    quiesce_timeout = \"5s\"\n";
    let command = vec!["/srv/flush".to_owned(), "now".to_owned()];
    let quiesce = Some(Quiesce { command, timeout: Millis(5_000) });
    let quiesced = ReplacePolicy { quiesce, ..ReplacePolicy::holding(Millis(30_000), 1_000) };
    assert_eq!(strategy(given), Strategy::Replace(quiesced));
    let wrong = "    strategy = \"replace\"\n    quiesce = []\n    on_failure = \"snapshot\"\n    quiesce_timeout = \"1h\"\n";
    check(
        &file(wrong),
        expect![[r#"
        error[invalid-value]: `quiesce` of `rollout` of service `a` is empty
          --> hornero.hcl:10:15
           |
        10 |     quiesce = []
           |               ^^
           |
           = hint: its first element is the program

        error[conflict]: `rollout` of service `a` goes back to a snapshot, and mounts no volume
          --> hornero.hcl:11:18
           |
        11 |     on_failure = "snapshot"
           |                  ^^^^^^^^^^

        error[out-of-range]: `quiesce_timeout` of `rollout` of service `a` must be at most 10m
          --> hornero.hcl:12:23
           |
        12 |     quiesce_timeout = "1h"
           |                       ^^^^

        there are 3 errors in `hornero.hcl`
    "#]],
    );
    let wrong = "    strategy = \"replace\"\n    on_failure = \"old_image\"\n    keep_snapshot = \"2h\"\n    quiesce_timeout = \"2s\"\n";
    check(
        &file(wrong),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `keep_snapshot`, and takes none
          --> hornero.hcl:11:21
           |
        11 |     keep_snapshot = "2h"
           |                     ^^^^
           |
           = hint: set `on_failure = "snapshot"`

        error[conflict]: `rollout` of service `a` has `quiesce_timeout` without `quiesce`
          --> hornero.hcl:12:23
           |
        12 |     quiesce_timeout = "2s"
           |                       ^^^^

        there are 2 errors in `hornero.hcl`
    "#]],
    );
    check(
        &file("    hold = \"5s\"\n"),
        expect![[r#"
        error[conflict]: `rollout` of service `a` has `hold`, which only a replacement has
         --> hornero.hcl:9:12
          |
        9 |     hold = "5s"
          |            ^^^^
          |
          = hint: set `strategy = "replace"`

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        &file("    strategy = \"replace\"\n    hold = \"11m\"\n    hold_requests = 0\n"),
        expect![[r#"
            error[out-of-range]: `hold` of `rollout` of service `a` must be at most 10m
              --> hornero.hcl:10:12
               |
            10 |     hold = "11m"
               |            ^^^^^

            error[out-of-range]: `hold_requests` of `rollout` of service `a` must be from 1 to 100000, not 0
              --> hornero.hcl:11:21
               |
            11 |     hold_requests = 0
               |                     ^
               |
               = hint: each that waits is a connection

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}
