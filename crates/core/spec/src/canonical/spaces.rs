//! Which tokens of a line have a space between them.

use super::token::{Kind, Token};

/// Words that are operators where an expression stands.
const KEYWORDS: [&str; 3] = ["in", "if", "for"];

/// The tokens of a line, with one space where one belongs.
pub(crate) fn joined(tokens: &[Token<'_>]) -> String {
    let mut line = String::new();
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 && space_between(&tokens[..index], token) {
            line.push(' ');
        }
        line.push_str(token.text);
    }
    line
}

/// Whether a space comes between what was there, which is never empty, and the next token.
fn space_between(before: &[Token<'_>], next: &Token<'_>) -> bool {
    let last = &before[before.len() - 1];
    if next.is_comment() || last.is_comment() {
        return true;
    }
    let sign = |token: &Token<'_>| token.kind == Kind::Sign;
    let last_sign = if sign(last) { last.text } else { "" };
    let next_sign = if sign(next) { next.text } else { "" };
    match (last_sign, next_sign) {
        ("{", "}") => false,
        ("(" | "[" | "." | "!", _) | (_, ")" | "]" | "," | "." | "...") => false,
        (_, "(" | "[") => !is_operand(last),
        ("-", _) => before.len() >= 2 && is_operand(&before[before.len() - 2]),
        _ => true,
    }
}

/// Whether a token ends a value: what follows is called, indexed or an operator's right side.
fn is_operand(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => !KEYWORDS.contains(&token.text),
        Kind::Number | Kind::Quoted | Kind::Heredoc => true,
        Kind::Sign => token.closes(),
        Kind::LineComment | Kind::BlockComment | Kind::Newline => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::token::tokens;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(joined(&tokens(text).expect("it can be cut")), expected);
    }

    #[test]
    fn spaces_are_where_readers_expect_them() {
        check("a=[1,2 , 3 ]", "a = [1, 2, 3]");
        check("a={b=1}", "a = { b = 1 }");
        check("a={ }", "a = {}");
        check("a = max ( - 1,x [ 0 ] . y )", "a = max(-1, x[0].y)");
        check("a = b-1", "a = b-1");
        check("a = b - 1*c", "a = b - 1 * c");
        check("a=!b&&!(c||d)", "a = !b && !(c || d)");
        check("a=[for x in l:x if x>0]", "a = [for x in l : x if x > 0]");
        check("a={for k,v in m:k=>v...}", "a = { for k, v in m : k => v... }");
        check("a = b?c:-d", "a = b ? c : -d");
        check("a = l[*].name", "a = l[*].name");
        check("a = [for x in (y) : x]", "a = [for x in (y) : x]");
        check("a = [[1],[2]]", "a = [[1], [2]]");
        check("image \"x\"{", "image \"x\" {");
        check("a = 1 # why", "a = 1 # why");
    }
}
