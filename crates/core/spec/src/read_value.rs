//! Values as what a key wants: a string, a whole number, a reference; anything else is reported.

use std::rc::Rc;

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    value::{BlockKind, Located, Span, Value, number_text},
};

/// Something read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// A string and where it stands.
pub(crate) type Text = At<Rc<str>>;

/// A value as a string.
pub(crate) fn text(cx: &mut Evaluator, name: &str, value: &Located) -> Option<Text> {
    let Value::String(text) = &value.value else {
        wrong_type(cx, name, "a string", value);
        return None;
    };
    if text.contains('\0') {
        let message = format!("{name} holds a zero byte, which no path or argument can");
        cx.report(Mistake::new(ErrorCode::InvalidValue, value.span.clone(), message));
        return None;
    }
    if text.len() > limits::ARGUMENT_BYTES {
        let message = format!(
            "{name} is {} bytes long; at most {} are allowed",
            text.len(),
            limits::ARGUMENT_BYTES
        );
        cx.report(Mistake::new(ErrorCode::TooLarge, value.span.clone(), message));
        return None;
    }
    Some(At { value: Rc::clone(text), span: value.span.clone() })
}

/// A value as a whole number within limits.
pub(crate) fn whole(
    cx: &mut Evaluator,
    name: &str,
    value: &Located,
    (least, most): (u32, u32),
    reason: &str,
) -> Option<u32> {
    let Value::Number(number) = value.value else {
        wrong_type(cx, name, "a whole number", value);
        return None;
    };
    if number.fract() == 0.0 && number >= f64::from(least) && number <= f64::from(most) {
        return Some(number as u32);
    }
    let shown = number_text(number);
    let (code, wanted) = if number.fract() != 0.0 {
        (ErrorCode::WrongType, "a whole number".to_owned())
    } else {
        (ErrorCode::OutOfRange, format!("from {least} to {most}"))
    };
    let mistake =
        Mistake::new(code, value.span.clone(), format!("{name} must be {wanted}, not {shown}"));
    cx.report(mistake.maybe_hint((!reason.is_empty()).then(|| reason.to_owned())));
    None
}

/// A value as a reference to a block of one kind.
pub(crate) fn reference(
    cx: &mut Evaluator,
    name: &str,
    value: &Located,
    kind: BlockKind,
) -> Option<Text> {
    let word = kind.word();
    match &value.value {
        Value::Reference(to) if to.kind == kind => {
            Some(At { value: Rc::clone(&to.name), span: value.span.clone() })
        }
        Value::Reference(to) => {
            let article = if kind == BlockKind::Image { "an" } else { "a" };
            let message = format!("{name} must refer to {article} {word}, not to `{to}`");
            cx.report(Mistake::new(ErrorCode::WrongType, value.span.clone(), message));
            None
        }
        other => {
            let hint = match other {
                Value::String(text)
                    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') =>
                {
                    format!("write it without quotes: `{word}.{text}`")
                }
                _ => format!("write `{word}.NAME`"),
            };
            let expected = format!("a reference such as `{word}.NAME`");
            wrong_type_hint(cx, name, &expected, value, &hint);
            None
        }
    }
}

/// Reports a value of the wrong type, unless it is unknown.
pub(crate) fn wrong_type(cx: &mut Evaluator, name: &str, expected: &str, value: &Located) {
    if let Some(mistake) = wrong(name, expected, value) {
        cx.report(mistake);
    }
}

/// The same with a hint.
pub(crate) fn wrong_type_hint(
    cx: &mut Evaluator,
    name: &str,
    expected: &str,
    value: &Located,
    hint: &str,
) {
    if let Some(mistake) = wrong(name, expected, value) {
        cx.report(mistake.hint(hint));
    }
}

fn wrong(name: &str, expected: &str, value: &Located) -> Option<Mistake> {
    let kind = value.value.kind();
    let message = format!("{name} must be {expected}, not {kind}");
    let known = !matches!(value.value, Value::Unknown);
    known.then(|| {
        Mistake::new(ErrorCode::WrongType, value.span.clone(), message)
            .note(format!("this is {kind}"))
    })
}

/// Whether a text is a URL of a host by HTTP, with no password in it.
pub(crate) fn is_http_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let named = authority.is_some_and(|host| !host.is_empty() && !host.contains('@'));
    named && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reports a text that is not what it should be.
pub(crate) fn invalid(cx: &mut Evaluator, text: &Text, what: &str, hint: &str) {
    let message = format!("`{}` is not {what}", shown(&text.value));
    cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(hint));
}

/// A name that was parsed, or its rule as a mistake.
pub(crate) fn valid<T>(
    cx: &mut Evaluator,
    parsed: Result<T, hornero_model::NameError>,
    text: Text,
) -> Option<At<T>> {
    match parsed {
        Ok(value) => Some(At { value, span: text.span }),
        Err(error) => {
            let message = format!("`{}` is not a valid {}", shown(&error.text), error.kind);
            cx.report(Mistake::new(ErrorCode::InvalidName, text.span, message).hint(error.rule));
            None
        }
    }
}

/// A user's text, short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
