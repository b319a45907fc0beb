//! Reads what is started: commands, who they run as, and their environment.

use std::collections::BTreeMap;

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_value::{invalid, shown, text, wrong_type},
    section::{At, Section, Text},
    value::{Field, Located, Value, text_of},
};

/// `command`: a program and its arguments.
pub(crate) fn command(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Vec<String>> {
    command_of(cx, section, "command")
}

/// A command and its arguments, by another key.
pub(crate) fn command_of(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<Vec<String>> {
    let items = section.list(cx, key, "a list of strings such as `[\"/usr/bin/app\"]`")?;
    words(cx, &format!("`{key}` of {}", section.what), &items)
}

/// The elements of a list as a command.
pub(crate) fn words(
    cx: &mut Evaluator,
    name: &str,
    items: &At<Vec<Located>>,
) -> Option<Vec<String>> {
    let element = format!("an element of {name}");
    let words: Vec<Text> = items.value.iter().filter_map(|item| text(cx, &element, item)).collect();
    match words.first() {
        Some(first) if first.value.is_empty() => {
            let message = format!("the first element of {name} is empty");
            cx.report(Mistake::new(ErrorCode::InvalidValue, first.span.clone(), message));
        }
        None if items.value.is_empty() => {
            let message = format!("{name} is empty");
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, items.span.clone(), message)
                    .hint("its first element is the program"),
            );
        }
        Some(_) | None => {}
    }
    Some(words.into_iter().map(|word| word.value.to_string()).collect())
}

/// A user or group, by name or number.
pub(crate) fn account(cx: &mut Evaluator, key: &str, name: &Text) -> Option<String> {
    let text = &*name.value;
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fine = if number {
        // The largest id is -1, which means none.
        text.parse::<u32>().is_ok_and(|id| id < u32::MAX)
    } else {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    if fine {
        return Some(text.to_owned());
    }
    let hint = if text.contains(':') && key == "user" {
        "write the user alone: the groups are those of the image's `/etc/group`"
    } else {
        "write a name or a number in quotes, such as `www-data` or `1000`"
    };
    invalid(cx, name, &format!("a {key}"), hint);
    None
}

/// `env`: variables by name.
pub(crate) fn env(cx: &mut Evaluator, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let Some(value) = section.take("env") else { return BTreeMap::new() };
    let Value::Map(fields) = &value.value else {
        let name = format!("`env` of {}", section.what);
        wrong_type(cx, &name, "an object such as `{ LANG = \"C.UTF-8\" }`", &value);
        return BTreeMap::new();
    };
    fields.iter().filter_map(|(name, field)| variable(cx, name, field)).collect()
}

/// One environment variable; numbers and bools are written out.
fn variable(cx: &mut Evaluator, name: &str, field: &Field) -> Option<(String, String)> {
    let fine = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fine {
        let message = format!("`{}` is not the name of an environment variable", shown(name));
        cx.report(
            Mistake::new(ErrorCode::InvalidName, field.key_span.clone(), message)
                .hint("use letters, digits and `_`, not beginning with a digit"),
        );
        return None;
    }
    let mut value = field.value.clone();
    if let Value::Number(_) | Value::Bool(_) = value.value {
        value.value = Value::String(text_of(&value.value).unwrap_or_default());
    }
    if let Value::Null = value.value {
        return None;
    }
    let text = text(cx, &format!("`env.{}`", shown(name)), &value)?;
    Some((name.to_owned(), text.value.to_string()))
}
