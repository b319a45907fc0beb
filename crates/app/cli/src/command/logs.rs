//! `logs`: what servers wrote, through control or from the home's own files.

use std::path::Path;

use hornero_api::{
    ClientError,
    message::{LogLine, Nothing},
};
use hornero_control::LogWish;
use hornero_model::Timestamp;
use hyper::Method;

use crate::{
    arguments::LogsArguments,
    command::absent,
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
};

/// `hornero logs`.
pub async fn logs(home: &Path, json: bool, arguments: &LogsArguments) -> Result<(), Failure> {
    let LogsArguments { object, since, lines, follow } = arguments;
    if !object.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::new(
            exit::USAGE,
            format!("`{object}` is neither a service nor an instance"),
        ));
    }
    let since = since.as_deref().map(since_time).transpose()?;
    let wish = LogWish { since, last: *lines, follow: *follow };
    let mut path = format!("/v1/logs/{object}?follow={follow}");
    if let Some(since) = since {
        path.push_str(&format!("&since={since}"));
    }
    if let Some(lines) = lines {
        path.push_str(&format!("&last={lines}"));
    }
    let asked = absent::client(home).stream::<LogLine>(Method::GET, &path, None::<&Nothing>).await;
    let mut lines = match asked {
        Ok(lines) => lines,
        Err(error @ ClientError::Unreachable { .. }) => {
            return from_files(home, json, object, wish, error);
        }
        Err(error) => return Err(error.into()),
    };
    while let Some(line) = lines.next().await? {
        tell(json, &line)?;
    }
    Ok(())
}

/// No control process runs: the ledger knows whose instances are meant, and the log files are there.
fn from_files(
    home: &Path,
    json: bool,
    object: &str,
    wish: LogWish,
    error: ClientError,
) -> Result<(), Failure> {
    absent::note(home, error)?;
    let mut told = Ok(());
    let send = &mut |line: &LogLine| {
        told = tell(json, line);
        told.is_ok()
    };
    let known = hornero_control::logs_offline(home, object, wish, send);
    let known = known.map_err(|error| Failure::of(&*error))?;
    told?;
    if known {
        return Ok(());
    }
    let text = format!("neither a service nor an instance `{object}`");
    Err(Failure::new(exit::NO_SUCH_OBJECT, text).word("no_such_object"))
}

fn tell(json: bool, line: &LogLine) -> Result<(), Failure> {
    if json {
        return print_json(line);
    }
    print_text(&format!("{} {} {}\n", line.time, line.instance, harmless(&line.text)))
}

/// An RFC 3339 time, or a span before now.
pub fn since_time(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(span) = humantime::parse_duration(text) {
        let now = Timestamp::now();
        return Ok(Timestamp(
            now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        ));
    }
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        Failure::new(exit::USAGE, format!("`{text}` is neither a time nor a span"))
            .hint("write `2026-05-01T12:00:00Z` or `10m`")
    })
}
