//! What a line says of itself: its level, its message and its fields, where it is JSON or has `key=value` in it.

use hornero_engine_port::log::{LEVEL_WORDS, LineLevel};
use serde_json::{Map, Value};

use crate::filter::is_word_byte;

/// Fields of one line; more are left out.
const MAX_FIELDS: usize = 256;
/// A level stands at the beginning of a line, behind a time and a name or two.
const LEVEL_WITHIN: usize = 160;
/// What programs call the level and the message.
pub(crate) const LEVEL_KEYS: &[&str] = &["level", "severity", "lvl", "loglevel", "log.level"];
const MESSAGE_KEYS: &[&str] = &["msg", "message"];

/// What a line says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LineStructure {
    /// How bad it is.
    pub level: Option<LineLevel>,
    /// Where the line has a field for it.
    pub message: Option<String>,
    /// Without level and message.
    pub fields: Map<String, Value>,
}

/// Reads a line.
pub fn structure(line: &str) -> LineStructure {
    let mut fields = fields(line);
    let mut found = LineStructure::default();
    let key = LEVEL_KEYS.iter().find(|key| fields.get(**key).and_then(level_of).is_some());
    if let Some(value) = key.and_then(|key| fields.remove(*key)) {
        found.level = level_of(&value);
    } else {
        found.level = level_in_text(line);
    }
    let key = MESSAGE_KEYS.iter().find(|key| matches!(fields.get(**key), Some(Value::String(_))));
    if let Some(Value::String(text)) = key.and_then(|key| fields.remove(*key)) {
        found.message = Some(text);
    }
    found.fields = fields;
    found
}

/// The level of a line.
pub fn level(line: &str) -> Option<LineLevel> {
    structure(line).level
}

/// Whether a line has a field of this value; `a.b` is the field `b` of the field `a` where none is called `a.b`.
pub fn has_field(line: &str, name: &str, value: &str) -> bool {
    let fields = fields(line);
    let found = fields.get(name).or_else(|| {
        let mut steps = name.split('.');
        let first = fields.get(steps.next()?)?;
        steps.try_fold(first, |within, step| within.get(step))
    });
    match found {
        Some(Value::String(text)) => text == value,
        Some(other) => {
            let written = other.to_string();
            written == value
        }
        None => false,
    }
}

fn fields(line: &str) -> Map<String, Value> {
    let text = line.trim();
    if text.starts_with('{') && text.ends_with('}') {
        return serde_json::from_str(text).unwrap_or_default();
    }
    let mut found = Map::new();
    let mut rest = text;
    while let Some(equals) = memchr::memchr(b'=', rest.as_bytes()) {
        let key_from = rest[..equals].rfind([' ', '\t']).map_or(0, |at| at + 1);
        let key = &rest[key_from..equals];
        rest = &rest[equals + 1..];
        if found.len() >= MAX_FIELDS {
            break;
        }
        // A value is looked for behind keys alone: it may be as long as the line.
        if is_key(key) {
            let (value, behind) = value_of(rest);
            found.insert(key.to_owned(), value);
            rest = behind;
        }
    }
    found
}

fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && key.bytes().all(plain)
        && key.len() <= 64
}

/// The value at the beginning of a text, and what is behind it.
fn value_of(text: &str) -> (Value, &str) {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(value)) = values.next() {
            let behind = values.byte_offset();
            return (Value::String(value), &text[behind..]);
        }
    }
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    let value = text[..end].trim_end_matches([',', ';']);
    (Value::String(value.to_owned()), &text[end..])
}

fn level_of(value: &Value) -> Option<LineLevel> {
    match value {
        Value::String(text) => text.parse().ok(),
        // As pino and bunyan number them.
        Value::Number(number) => match number.as_u64()? {
            10 => Some(LineLevel::Trace),
            20 => Some(LineLevel::Debug),
            30 => Some(LineLevel::Info),
            40 => Some(LineLevel::Warn),
            50 => Some(LineLevel::Error),
            60 => Some(LineLevel::Fatal),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A word in capital letters, in brackets, or before a colon.
fn level_in_text(line: &str) -> Option<LineLevel> {
    let bytes = &line.as_bytes()[..line.len().min(LEVEL_WITHIN)];
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        while at < bytes.len() && is_word_byte(bytes[at]) {
            at += 1;
        }
        let word = &bytes[begin..at];
        if (3..=8).contains(&word.len())
            && let Some((_, level)) =
                LEVEL_WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()))
        {
            let before = begin.checked_sub(1).map(|at| bytes[at]);
            let behind = bytes.get(at).copied();
            let marked = word.iter().all(u8::is_ascii_uppercase)
                || matches!((before, behind), (Some(b'['), Some(b']')) | (Some(b'<'), Some(b'>')))
                || (behind == Some(b':') && matches!(before, None | Some(b' ' | b'\t' | b']')));
            if marked {
                return Some(*level);
            }
        }
        at = at.max(begin + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_as_programs_write_them() {
        let check = |line, expected| assert_eq!(level(line), expected, "{line}");
        check(r#"{"level":"warn","msg":"slow"}"#, Some(LineLevel::Warn));
        check(r#"{"level":50,"time":1}"#, Some(LineLevel::Error));
        check(r#"time="2026-01-01" level=error msg="no \"way\"" code=5"#, Some(LineLevel::Error));
        check(
            "2026/01/01 12:00:00 [emerg] 7#7: bind() to 0.0.0.0:80 failed",
            Some(LineLevel::Fatal),
        );
        check("2026-01-01 UTC [7] FATAL:  password authentication failed", Some(LineLevel::Fatal));
        check("2026-01-01T12:00:00Z  INFO server: listening", Some(LineLevel::Info));
        check("error: no such file", Some(LineLevel::Error));
        check("no error at all was found", None);
        check("errors=5 of the terror", None);
    }

    #[test]
    fn fields_and_messages() {
        let json = structure(r#"{"msg":"paid","user":{"id":42},"ok":true}"#);
        assert_eq!(json.message.as_deref(), Some("paid"));
        assert_eq!(json.fields["user"]["id"], 42);
        let line = r#"level=info msg="it's \"done\"" path=/a=b took=5ms"#;
        let found = structure(line);
        assert_eq!(found.message.as_deref(), Some("it's \"done\""));
        assert_eq!(found.fields["path"], "/a=b");
        assert!(has_field(line, "took", "5ms") && !has_field(line, "took", "5"));
        assert!(has_field(r#"{"user":{"id":42}}"#, "user.id", "42"));
        assert!(has_field("login of user=7, at once", "user", "7"));
        assert!(structure("GET /?a=b").fields.is_empty());
    }

    #[test]
    fn a_long_line_takes_no_longer_for_what_is_in_it() {
        let begun = std::time::Instant::now();
        for part in ["=", "a b=", "a=b=", "=\"", "a=\"", "a=\"\\"] {
            let line = part.repeat((1 << 20) / part.len());
            assert!(structure(&line).fields.len() <= 2, "{part}");
        }
        // Where each sign was looked at once for each sign, this took minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn any_line_may_come(line in "(\\PC|=|\"| |\\{|\\}){0,80}") {
            let _ = structure(&line);
            let _ = has_field(&line, "a.b", "c");
        }
    }
}
