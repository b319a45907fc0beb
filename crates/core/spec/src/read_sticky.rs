//! Reads by what a client's requests stick to one release: `sticky` of a canary.

use hornero_model::Sticky;

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_value::shown,
    section::{Section, Text},
};

const HINT: &str =
    "write `sticky = { cookie = \"session\" }` or `sticky = { header = \"x-user\" }`";

/// None where it is not declared, or is none.
pub(crate) fn read(cx: &mut Evaluator, rollout: &mut Section<'_>) -> Option<Sticky> {
    let mut part = rollout.part(cx, "sticky")?;
    let (what, span) = (part.what.clone(), part.span.clone());
    let (cookie, header) = (part.text(cx, "cookie"), part.text(cx, "header"));
    part.finish(cx);
    match (cookie, header) {
        (Some(cookie), None) => name(cx, &cookie).map(Sticky::Cookie),
        (None, Some(header)) => {
            name(cx, &header).map(|name| Sticky::Header(name.to_ascii_lowercase()))
        }
        (_, _) => {
            let message =
                format!("{what} needs a cookie or a field of the request, and one of them");
            cx.report(Mistake::new(ErrorCode::Conflict, span, message).hint(HINT));
            None
        }
    }
}

fn name(cx: &mut Evaluator, text: &Text) -> Option<String> {
    if Sticky::is_name(&text.value) {
        return Some(text.value.to_string());
    }
    let message = format!("`{}` is no name of a cookie or a field", shown(&text.value));
    let hint = format!("letters, digits and `-_.`, at most {} of them", Sticky::NAME_BYTES);
    cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(hint));
    None
}
