//! `logs`: what servers wrote, through control or from the home's own files.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hornero_api::{
    ClientError,
    message::{LogLine, Nothing},
};
use hornero_control::{LineLevel, LogFilter, LogWish};
use hornero_model::Timestamp;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    arguments::LogsArguments,
    command::absent,
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_bytes, print_json, print_text},
};

/// `hornero logs`.
pub async fn logs(home: &Path, json: bool, arguments: &LogsArguments) -> Result<(), Failure> {
    let object = &arguments.object;
    if !object.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.@".contains(&byte)) {
        return Err(Failure::new(
            exit::USAGE,
            format!("`{object}` is neither a service nor an instance"),
        ));
    }
    let wish = wish(arguments)?;
    let shown = if arguments.raw { Shown::Raw } else { Shown::Harmless };
    let shown = if json { Shown::Json } else { shown };
    let path = format!("/v1/logs/{object}?{}", query(&wish));
    let asked = absent::client(home).stream::<LogLine>(Method::GET, &path, None::<&Nothing>).await;
    let mut lines = match asked {
        Ok(lines) => lines,
        Err(error @ ClientError::Unreachable { .. }) => {
            return from_files(home, shown, object, &wish, error);
        }
        Err(error) => return Err(error.into()),
    };
    while let Some(line) = lines.next().await? {
        tell(shown, &line)?;
    }
    Ok(())
}

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Json,
    /// Without what would move the cursor, set colours or talk to the terminal.
    Harmless,
    /// The bytes as they were written.
    Raw,
}

fn wish(arguments: &LogsArguments) -> Result<LogWish, Failure> {
    let usage = |text| Failure::new(exit::USAGE, text);
    let time = |text: &Option<String>| text.as_deref().map(since_time).transpose();
    let level = arguments.level.as_deref().map(str::parse::<LineLevel>).transpose();
    let fields = arguments.field.iter().map(|pair| {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| usage(format!("`{pair}` is no field")).hint("write `name=value`"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let filter = LogFilter {
        since: time(&arguments.since)?,
        until: time(&arguments.until)?,
        level: level.map_err(usage)?,
        pattern: arguments.grep.clone(),
        words: arguments.word.clone(),
        fields: fields.collect::<Result<_, Failure>>()?,
    };
    let wish =
        LogWish { filter, last: arguments.lines, follow: arguments.follow, raw: arguments.raw };
    wish.check().map_err(|error| usage(error.to_string()))?;
    Ok(wish)
}

/// The same for the API.
fn query(wish: &LogWish) -> String {
    let LogFilter { since, until, level, pattern, words, fields } = &wish.filter;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query = format!("follow={}&raw={}", wish.follow, wish.raw);
    let mut add = |name: &str, value: String| query.push_str(&format!("&{name}={value}"));
    since.iter().for_each(|since| add("since", since.to_string()));
    until.iter().for_each(|until| add("until", until.to_string()));
    level.iter().for_each(|level| add("level", level.as_str().to_owned()));
    wish.last.iter().for_each(|last| add("last", last.to_string()));
    pattern.iter().for_each(|pattern| add("grep", encoded(pattern)));
    words.iter().for_each(|word| add("word", encoded(word)));
    fields.iter().for_each(|(name, value)| add("field", encoded(&format!("{name}={value}"))));
    query
}

/// No control process runs: the ledger knows whose instances are meant, and the log files are there.
fn from_files(
    home: &Path,
    shown: Shown,
    object: &str,
    wish: &LogWish,
    error: ClientError,
) -> Result<(), Failure> {
    absent::note(home, error)?;
    let mut told = Ok(());
    let send = &mut |line: &LogLine| {
        told = tell(shown, line);
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

fn tell(shown: Shown, line: &LogLine) -> Result<(), Failure> {
    let LogLine { time, instance, .. } = line;
    match shown {
        Shown::Json => print_json(line),
        Shown::Harmless => print_text(&format!("{time} {instance} {}\n", harmless(&line.text))),
        Shown::Raw => {
            let decoded = line.base64.as_ref().and_then(|text| BASE64.decode(text).ok());
            let mut bytes = decoded.unwrap_or_else(|| line.text.clone().into_bytes());
            if !line.goes_on {
                bytes.push(b'\n');
            }
            print_bytes(&bytes)
        }
    }
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
