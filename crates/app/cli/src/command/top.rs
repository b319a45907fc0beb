//! `top`: what services, releases and instances use and answer, live or over time.

use std::{
    io::{IsTerminal as _, stdout},
    path::Path,
    time::Duration,
};

use hornero_api::{
    Client,
    message::{FigureHistory, FiguresReport, InstanceFigures, ReleaseFigures},
};
use hornero_model::{Health, InstanceState, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    arguments::TopArguments,
    command::{absent::client, logs::since_time},
    failure::{Failure, exit},
    output::{Table, Tone, coloured, print_json, print_text, size},
};

/// How long to wait for a second look, from which rates are told.
const SECOND_LOOK: Duration = Duration::from_millis(1_100);
/// Home, and clear what is behind it (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// `hornero top`.
pub async fn top(home: &Path, json: bool, arguments: &TopArguments) -> Result<(), Failure> {
    let client = client(home);
    if let (Some(object), Some(since)) = (&arguments.object, &arguments.since) {
        return over_time(&client, json, object, (since, arguments)).await;
    }
    let object = arguments.object.as_deref();
    if json || arguments.once || !stdout().is_terminal() {
        let report = looked(&client, object).await?;
        return match json {
            true => print_json(&report),
            false => print_text(&text(&report, coloured())),
        };
    }
    loop {
        let report = looked(&client, object).await?;
        print_text(&format!("{CLEAR}{}", text(&report, coloured())))?;
        tokio::time::sleep(arguments.every).await;
    }
}

/// A report with rates, of everything or of one object.
async fn looked(client: &Client, object: Option<&str>) -> Result<FiguresReport, Failure> {
    let mut report: FiguresReport = client.get("/v1/figures").await?;
    if report.seconds <= 0.0 {
        tokio::time::sleep(SECOND_LOOK).await;
        report = client.get("/v1/figures").await?;
    }
    let Some(object) = object else { return Ok(report) };
    report.releases.retain(|of| of.service.as_str() == object);
    report.instances.retain(|of| of.service.as_str() == object || of.id.as_str() == object);
    if report.releases.is_empty() && report.instances.is_empty() {
        let failure = Failure::new(
            exit::NO_SUCH_OBJECT,
            format!("neither a service nor an instance `{object}` runs"),
        );
        let hint = format!("`hornero top {object} --since 24h` shows one that is gone");
        return Err(failure.word("no_such_object").hint(hint));
    }
    Ok(report)
}

async fn over_time(
    client: &Client,
    json: bool,
    object: &str,
    (since, arguments): (&str, &TopArguments),
) -> Result<(), Failure> {
    let since = since_time(since)?;
    let until = arguments.until.as_deref().map(since_time).transpose()?;
    let mut path = format!("/v1/figures/{}?since={since}", encoded(object));
    if let Some(until) = until {
        path.push_str(&format!("&until={until}"));
    }
    if let Some(step) = arguments.step {
        path.push_str(&format!("&step={}", step.as_secs()));
    }
    let history: FigureHistory = client.get(&path).await?;
    if history.points.is_empty() {
        let message = format!("nothing is known of `{object}` within that time");
        return Err(Failure::new(exit::NO_SUCH_OBJECT, message).word("no_such_object"));
    }
    match json {
        true => print_json(&history),
        false => print_text(&history_text(&history, coloured())),
    }
}

/// An object as a part of a path.
fn encoded(object: &str) -> String {
    /// What is no unreserved letter (RFC 3986, 2.3).
    const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(object, PART).to_string()
}

fn text(report: &FiguresReport, colour: bool) -> String {
    if report.instances.is_empty() && report.releases.is_empty() {
        return "nothing runs; `hornero up DIR` brings something\n".to_owned();
    }
    let tables = [releases(&report.releases), instances(&report.instances)];
    tables.map(|table| table.render(colour)).join("\n")
}

fn releases(releases: &[ReleaseFigures]) -> Table {
    let mut table = Table::with_head(&[
        "SERVICE", "RELEASE", "REQ/S", "ERR/S", "P50 MS", "P99 MS", "OPEN", "HELD", "RETRIES",
    ]);
    for of in releases {
        let lately = of.lately.as_ref();
        let rate =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
        let errors = lately.map(|it| it.errors_per_second);
        let failing = errors.is_some_and(|it| it > 0.0);
        let held = match of.waiting {
            0 => of.held.to_string(),
            waiting => format!("{} ({waiting} wait)", of.held),
        };
        table.row(vec![
            (format!("{}/{}", of.service, of.port), Tone::Plain),
            (of.release.to_string(), Tone::Plain),
            (rate(lately.map(|it| it.requests_per_second)), Tone::Plain),
            (rate(errors), if failing { Tone::Bad } else { Tone::Plain }),
            (rate(lately.and_then(|it| it.p50_ms)), Tone::Plain),
            (rate(lately.and_then(|it| it.p99_ms)), Tone::Plain),
            (of.in_flight.to_string(), Tone::Plain),
            (held, if of.waiting > 0 { Tone::Passing } else { Tone::Plain }),
            (of.retries.to_string(), Tone::Plain),
        ]);
    }
    table
}

fn instances(instances: &[InstanceFigures]) -> Table {
    let mut table = Table::with_head(&[
        "INSTANCE", "STATE", "CPU", "MEMORY", "OF", "PEAK", "PIDS", "FDS", "OOM",
    ]);
    let dash = || "-".to_owned();
    for of in instances {
        let usage = of.usage.as_ref();
        let number = |value: Option<u64>| value.map_or_else(dash, |it| it.to_string());
        let bytes = |value: Option<u64>| value.map_or_else(dash, size);
        let kills = usage.map(|it| it.out_of_memory_kills);
        table.row(vec![
            (of.id.to_string(), Tone::Plain),
            (of.state.to_string(), tone(of)),
            (of.cpu.map_or_else(dash, |cores| format!("{cores:.2}")), Tone::Plain),
            (bytes(usage.map(|it| it.memory_bytes)), Tone::Plain),
            (size(of.memory_limit_bytes), Tone::Quiet),
            (bytes(usage.and_then(|it| it.memory_peak_bytes)), Tone::Plain),
            (number(usage.map(|it| it.processes)), Tone::Plain),
            (number(usage.and_then(|it| it.descriptors)), Tone::Plain),
            (number(kills), if kills > Some(0) { Tone::Bad } else { Tone::Plain }),
        ]);
    }
    table
}

fn tone(of: &InstanceFigures) -> Tone {
    match (of.state, of.health) {
        (InstanceState::Serving, Health::Healthy) => Tone::Good,
        (InstanceState::Serving, Health::Unhealthy) | (InstanceState::Failed, _) => Tone::Bad,
        _ => Tone::Passing,
    }
}

fn history_text(history: &FigureHistory, colour: bool) -> String {
    let mut table = Table::with_head(&[
        "FROM",
        "INSTANCES",
        "CPU",
        "MEMORY",
        "OOM",
        "REQ/S",
        "ERR/S",
        "P50 MS",
        "P99 MS",
    ]);
    let dash = || "-".to_owned();
    let rate = |value: Option<f64>| value.map_or_else(dash, |it| format!("{it:.1}"));
    for point in &history.points {
        table.row(vec![
            (second(point.at), Tone::Quiet),
            (point.instances.to_string(), Tone::Plain),
            (point.cpu.map_or_else(dash, |cores| format!("{cores:.2}")), Tone::Plain),
            (point.memory_bytes.map_or_else(dash, size), Tone::Plain),
            (point.out_of_memory_kills.unwrap_or(0).to_string(), Tone::Plain),
            (rate(point.requests_per_second), Tone::Plain),
            (rate(point.errors_per_second), Tone::Plain),
            (rate(point.p50_ms), Tone::Plain),
            (rate(point.p99_ms), Tone::Plain),
        ]);
    }
    table.render(colour)
}

/// A time without its milliseconds.
fn second(at: Timestamp) -> String {
    Timestamp(at.0 / 1_000 * 1_000).to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hornero_api::message::{FigurePoint, ReleaseRates};
    use hornero_model::{InstanceUsage, ReleaseNumber};

    use super::*;

    fn report() -> FiguresReport {
        let service = "site".parse().unwrap();
        FiguresReport {
            at: Timestamp(0),
            seconds: 10.0,
            releases: vec![ReleaseFigures {
                service,
                port: "http".parse().unwrap(),
                release: ReleaseNumber(7),
                in_flight: 3,
                waiting: 2,
                requests: 5_000,
                failed: 1,
                server_errors: 4,
                held: 9,
                retries: 1,
                lately: Some(ReleaseRates {
                    requests_per_second: 123.44,
                    errors_per_second: 0.5,
                    bytes_in_per_second: 0.0,
                    bytes_out_per_second: 0.0,
                    p50_ms: Some(1.28),
                    p99_ms: None,
                }),
            }],
            instances: vec![InstanceFigures {
                id: "site-7-ab12".parse().unwrap(),
                service: "site".parse().unwrap(),
                release: ReleaseNumber(7),
                state: InstanceState::Serving,
                health: Health::Healthy,
                address: None,
                memory_limit_bytes: 256 << 20,
                cpu_limit_millis: 1_000,
                cpu: Some(0.251),
                usage: Some(InstanceUsage {
                    memory_bytes: 20 << 20,
                    processes: 3,
                    descriptors: Some(17),
                    ..InstanceUsage::default()
                }),
            }],
        }
    }

    #[test]
    fn what_runs_is_told_in_two_tables() {
        expect![[r"
            SERVICE    RELEASE  REQ/S  ERR/S  P50 MS  P99 MS  OPEN  HELD        RETRIES
            site/http  7        123.4  0.5    1.3     -       3     9 (2 wait)  1

            INSTANCE     STATE    CPU   MEMORY    OF         PEAK  PIDS  FDS  OOM
            site-7-ab12  serving  0.25  20.0 MiB  256.0 MiB  -     3     17   0
        "]]
        .assert_eq(&text(&report(), false));
        let empty = text(&FiguresReport::default(), false);
        assert!(empty.starts_with("nothing runs"), "{empty}");
    }

    #[test]
    fn history_is_a_line_a_step() {
        let point = FigurePoint {
            at: Timestamp(60_500),
            instances: 2,
            cpu: Some(0.5),
            memory_bytes: Some(1 << 20),
            out_of_memory_kills: None,
            requests_per_second: Some(1.0),
            errors_per_second: Some(0.0),
            p50_ms: None,
            p99_ms: Some(20.0),
        };
        let history =
            FigureHistory { object: "site".into(), step_seconds: 60, points: vec![point] };
        expect![[r"
            FROM                  INSTANCES  CPU   MEMORY   OOM  REQ/S  ERR/S  P50 MS  P99 MS
            1970-01-01T00:01:00Z  2          0.50  1.0 MiB  0    1.0    0.0    -       20.0
        "]]
        .assert_eq(&history_text(&history, false));
    }

    #[test]
    fn an_object_is_one_part_of_a_path() {
        assert_eq!(encoded("pr-7.site"), "pr-7.site");
        assert_eq!(encoded("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
