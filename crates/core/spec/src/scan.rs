//! A look over the text before the parser of HCL gets it, for what that parser takes too long over.

use crate::{ErrorCode, error::Mistake, limits};

/// Objects with more keys than allowed: the parser compares each key with all before it.
///
/// The look is rough: it skips strings and counts `=` and `:` between the braces of what looks like an object. It
/// never counts fewer than there are keys in an object written plainly.
pub(crate) fn large_object(text: &str) -> Option<Mistake> {
    // One entry for each open brace: where it is and how many keys followed, or none for a block.
    let mut open: Vec<Option<(usize, usize)>> = Vec::new();
    let mut last = b'\n';
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' => {
                let object = matches!(last, b'=' | b'(' | b'[' | b',' | b':' | b'?' | b'>');
                open.push(object.then_some((at, 0)));
            }
            b'}' => {
                open.pop();
            }
            b'=' | b':' => {
                if let Some(Some((start, keys))) = open.last_mut() {
                    *keys += 1;
                    if *keys > limits::OBJECT_KEYS {
                        let message =
                            format!("an object has more than {} keys", limits::OBJECT_KEYS);
                        return Some(Mistake::new(
                            ErrorCode::TooLarge,
                            *start..*start + 1,
                            message,
                        ));
                    }
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
    }
    None
}

/// Skips to the end of a string, which never goes past its line.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' | b'\n' => return,
            _ => {}
        }
    }
}

/// The first string that does not end on its line: where its quote is. The parser takes what follows, up to the next
/// quote, for a part of it, and finds fault lines later.
pub(crate) fn unclosed_string(text: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'"', ..] => match string_length(rest, 0) {
                Some(length) => length,
                None => return Some(at),
            },
            [b'#', ..] | [b'/', b'/', ..] => line_length(rest),
            [b'/', b'*', ..] => rest.windows(2).position(|pair| pair == b"*/")? + 2,
            [b'<', b'<', ..] => heredoc_length(rest),
            _ => 1,
        };
    }
    None
}

/// Deeper than any string that people write; what nests deeper is refused elsewhere.
const DEPTH_MAX: usize = 16;

/// How long the string is that `rest` begins with, quotes included; none where its line ends first.
fn string_length(rest: &[u8], depth: usize) -> Option<usize> {
    let mut at = 1;
    loop {
        at += match rest.get(at..)? {
            [b'"', ..] => return Some(at + 1),
            [] | [b'\n', ..] => return None,
            [b'\\', _, ..] => 2,
            [b'$', b'$', b'{', ..] | [b'%', b'%', b'{', ..] => 3,
            [b'$' | b'%', b'{', ..] => 2 + expression_length(&rest[at + 2..], depth + 1)?,
            _ => 1,
        };
    }
}

/// How long an expression in a string is, its closing brace included; it may go over lines.
fn expression_length(rest: &[u8], depth: usize) -> Option<usize> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (mut at, mut open) = (0, 0_usize);
    loop {
        at += match rest.get(at)? {
            b'"' => string_length(&rest[at..], depth)?,
            b'}' if open == 0 => return Some(at + 1),
            b'}' => {
                open -= 1;
                1
            }
            b'{' => {
                open += 1;
                1
            }
            _ => 1,
        };
    }
}

/// Up to the end of the line.
fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// How long a heredoc is (`<<WORD` or `<<-WORD`, to a line with nothing but the word); two signs where it is none.
fn heredoc_length(rest: &[u8]) -> usize {
    let head = line_length(rest);
    let word = rest[2..head].strip_prefix(b"-").unwrap_or(&rest[2..head]).trim_ascii();
    if word.is_empty() || !word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return 2;
    }
    let mut at = head + 1;
    while at < rest.len() {
        let length = line_length(&rest[at..]);
        if rest[at..at + length].trim_ascii() == word {
            return at + length;
        }
        at += length + 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_end_on_their_line_are_told_from_those_that_do_not() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(unclosed_string(text).map(|at| &text[at..]), expected, "{text}");
        };
        check("a = \"b\"\nc = \"d\\\"e\"\n", None);
        check("a = \"b\nc = \"d\"\n", Some("\"b\nc = \"d\"\n"));
        check("a = \"${x(\"y\")} $${ %\"", None);
        check("a = \"${x(\"y)}\"\n", Some("\"${x(\"y)}\"\n"));
        check("# don\"t\n// \"\n/* \" */ a = \"b\"", None);
        check("a = <<EOT\n\"\nEOT\nb = \"c", Some("\"c"));
        check("a = <<-EOT\n  \" \n  EOT\nb = 1 << 2\n", None);
        check("", None);
        check("\"\\", Some("\"\\"));
    }
}
