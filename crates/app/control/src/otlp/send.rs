//! Sends one request to a collector, and says what became of it.

use std::{
    fs,
    io::{self, Read as _},
    time::Duration,
};

use serde_json::Value;

use super::settings::OtlpSettings;
use crate::witness::web;

/// Bytes of an answer that are read: it says what was refused.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a token.
const TOKEN_BYTES_MAX: u64 = 16 << 10;
/// The longest that a collector may ask to be waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// It was taken; a part of it may have been refused for good: how many, and why.
    Taken(Option<(u64, String)>),
    /// It was refused for good: the same would be refused again.
    Refused(String),
    /// It can be taken later, and when the collector says that.
    Later(String, Option<Duration>),
}

/// Sends a request to what is at `path` below the endpoint (OTLP/HTTP, "OTLP/HTTP Response").
pub fn send(settings: &OtlpSettings, path: &str, request: &Value) -> SendOutcome {
    match answered(settings, path, request) {
        Ok(delivery) => delivery,
        Err(error) => SendOutcome::Later(error.to_string(), None),
    }
}

fn answered(settings: &OtlpSettings, path: &str, request: &Value) -> io::Result<SendOutcome> {
    let url = format!("{}{path}", settings.endpoint.trim_end_matches('/'));
    let mut asked = web::agent(&url)?.post(&url).content_type("application/json");
    if let Some(file) = &settings.token_file {
        let mut token = String::new();
        fs::File::open(file)?.take(TOKEN_BYTES_MAX).read_to_string(&mut token)?;
        asked = asked.header("authorization", format!("Bearer {}", token.trim()));
    }
    let answer = asked.send(request.to_string()).map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let mut body = Vec::new();
    // What it says beyond its status is for people.
    let _ = answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut body);
    Ok(delivery(status, after.map(|after| after.min(RETRY_AFTER_MAX)), &body))
}

fn delivery(status: u16, after: Option<Duration>, body: &[u8]) -> SendOutcome {
    match status {
        200..=299 => SendOutcome::Taken(refused_part(body)),
        // A token is put right; what was written meanwhile is not lost.
        401 | 403 | 429 | 502 | 503 | 504 => {
            SendOutcome::Later(format!("it answered {status}"), after)
        }
        _ => SendOutcome::Refused(format!("it answered {status}: {}", words(body))),
    }
}

/// How much of a request was refused, and why (`partialSuccess` of the services' answers).
fn refused_part(body: &[u8]) -> Option<(u64, String)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let part = answer.get("partialSuccess")?.as_object()?;
    let why = part.get("errorMessage").and_then(Value::as_str).unwrap_or_default();
    let names = ["rejectedDataPoints", "rejectedLogRecords", "rejectedSpans"];
    let count = names.iter().find_map(|name| part.get(*name));
    // 64 bits are text in JSON.
    let count = count.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok())).unwrap_or(0);
    (count > 0 || !why.is_empty()).then(|| (count, why.to_owned()))
}

/// The beginning of an answer, in one line.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(200).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_and_nothing_else() {
        let part = br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#;
        assert_eq!(delivery(200, None, part), SendOutcome::Taken(Some((3, "too old".to_owned()))));
        for whole in ["{}", "", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":null}"#] {
            assert_eq!(delivery(200, None, whole.as_bytes()), SendOutcome::Taken(None), "{whole}");
        }
        let wait = Some(Duration::from_secs(7));
        assert_eq!(
            delivery(429, wait, b""),
            SendOutcome::Later("it answered 429".to_owned(), wait)
        );
        for status in [401, 403, 502, 503, 504] {
            assert!(matches!(delivery(status, None, b""), SendOutcome::Later(_, None)), "{status}");
        }
        for status in [301, 400, 404, 413, 500] {
            assert!(matches!(delivery(status, None, b"no\n"), SendOutcome::Refused(_)), "{status}");
        }
    }
}
