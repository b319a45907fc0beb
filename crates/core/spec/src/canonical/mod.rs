//! The canonical form of HCL, as `terraform fmt` has it: two spaces a level, one around operators, `=` and comments of
//! neighbouring lines in a column. Comments, strings, heredocs and the order of things stay as they are.

mod line;
mod spaces;
mod token;

use crate::{
    ErrorCode, Errors,
    error::Mistake,
    parse::{body, failed, text},
};

use line::Line;

/// The canonical form of a file of HCL. Idempotent; says the same as the file, which is checked before it is given back.
///
/// `file` is the name that errors show.
///
/// # Errors
///
/// What keeps it from being read as HCL. Nothing else of it is looked at.
pub fn canonical(file: &str, bytes: &[u8]) -> Result<String, Errors> {
    let text = text(bytes).map_err(|error| failed(file, &error.0, vec![error.1]))?;
    body(file, text)?;
    let refuse = |reason: &str| {
        let hint = "this is a mistake of Hornero's: nothing was changed; please report the file";
        failed(file, text, vec![Mistake::new(ErrorCode::Syntax, 0..0, reason).hint(hint)])
    };
    let tokens = token::tokens(text).ok_or_else(|| refuse("it can't be cut into tokens"))?;
    let formatted = formatted(&tokens);
    let after = token::tokens(&formatted).filter(|after| same_tokens(&tokens, after));
    match after {
        Some(_) if body(file, &formatted).is_ok() => Ok(formatted),
        _ => Err(refuse("its canonical form would mean something else")),
    }
}

fn formatted(tokens: &[token::Token<'_>]) -> String {
    let mut lines = line::lines(tokens);
    align(&mut lines, |line| line.value.as_mut(), |line| width(&line.lead));
    align(
        &mut lines,
        |line| line.comment.as_mut(),
        |line| {
            let value = line.value.as_deref();
            // Behind a heredoc, only what follows its end marker counts.
            let before = if value.is_some_and(|value| value.contains('\n')) {
                0
            } else {
                line.indent + width(&line.lead)
            };
            before + value.map_or(0, width)
        },
    );
    let mut formatted = String::new();
    for line in &lines {
        if !line.is_empty() {
            formatted.extend(std::iter::repeat_n(' ', line.indent));
            formatted.push_str(&line.lead);
            formatted
                .extend([&line.value, &line.comment].into_iter().flatten().map(String::as_str));
        }
        formatted.push('\n');
    }
    let length = formatted.trim_end_matches('\n').len();
    formatted.truncate(length);
    if !formatted.is_empty() {
        formatted.push('\n');
    }
    formatted
}

/// Whether both have the same tokens in the same lines, comments included; only empty lines at the end may go.
fn same_tokens(before: &[token::Token<'_>], after: &[token::Token<'_>]) -> bool {
    let without_end = |tokens: &[token::Token<'_>]| {
        tokens
            .iter()
            .rposition(|token| token.kind != token::Kind::Newline)
            .map_or(0, |last| last + 1)
    };
    before[..without_end(before)] == after[..without_end(after)]
}

/// Puts a cell of neighbouring lines that have it in one column, one space behind the widest.
fn align(
    lines: &mut [Line],
    cell: impl Fn(&mut Line) -> Option<&mut String>,
    before: impl Fn(&Line) -> usize,
) {
    let mut from = 0;
    while from < lines.len() {
        let mut count = 0;
        while lines.get_mut(from + count).is_some_and(|line| cell(line).is_some()) {
            count += 1;
        }
        let chain = &mut lines[from..from + count];
        let widest = chain.iter().map(&before).max().unwrap_or(0);
        for line in chain {
            let spaces = widest - before(line) + 1;
            if let Some(cell) = cell(line) {
                cell.insert_str(0, &" ".repeat(spaces));
            }
        }
        from += count.max(1);
    }
}

/// Columns that a text takes; each character counts as one.
fn width(text: &str) -> usize {
    text.lines().last().unwrap_or_default().chars().count()
}

#[cfg(test)]
mod tests;
