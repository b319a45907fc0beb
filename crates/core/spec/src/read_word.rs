//! Keys whose value is one of some words.

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_value::shown,
    section::{At, Section},
    suggest::{did_you_mean, one_of},
};

/// One of some words; anything else is reported.
pub(crate) fn word<T: Copy>(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    key: &'static str,
    words: &[(&'static str, T)],
) -> Option<At<T>> {
    let text = section.text(cx, key)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == &*text.value) {
        return Some(At { value: *value, span: text.span });
    }
    let names = || words.iter().map(|(word, _)| *word);
    let hint = did_you_mean(&text.value, names()).unwrap_or_else(|| {
        let verb = if words.len() == 1 { "is only" } else { "is" };
        format!("`{key}` {verb} {}", one_of(names()))
    });
    cx.report(
        Mistake::new(
            ErrorCode::InvalidValue,
            text.span,
            format!("`{key}` of {} can't be `{}`", section.what, shown(&text.value)),
        )
        .hint(hint),
    );
    None
}
