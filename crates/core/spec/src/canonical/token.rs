//! Cuts HCL into tokens that keep every byte of meaning: strings, heredocs and comments stay whole.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Word,
    /// A number.
    Number,
    /// A string in quotes, with all that is interpolated in it.
    Quoted,
    /// A heredoc, from `<<` to its end marker.
    Heredoc,
    /// A comment to the end of its line.
    LineComment,
    /// A comment between `/*` and `*/`.
    BlockComment,
    /// A bracket, an operator or a separator.
    Sign,
    /// The end of a line.
    Newline,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub kind: Kind,
    pub text: &'t str,
}

impl Token<'_> {
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    pub fn opens(&self) -> bool {
        self.kind == Kind::Sign && matches!(self.text, "{" | "[" | "(")
    }

    pub fn closes(&self) -> bool {
        self.kind == Kind::Sign && matches!(self.text, "}" | "]" | ")")
    }

    pub fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::LineComment | Kind::BlockComment)
    }

    pub fn is_multi_line(&self) -> bool {
        self.text.contains('\n') && self.kind != Kind::Newline
    }
}

/// Signs of more than one character, the longest first.
const LONG_SIGNS: [&str; 8] = ["...", "==", "!=", "<=", ">=", "&&", "||", "=>"];

/// Interpolations in strings in interpolations: deeper than any file that a person wrote.
const DEPTH_MAX: usize = 64;

/// The tokens of a text; none where it is no HCL that could be cut: an open string, heredoc or comment.
pub(crate) fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match first {
            ' ' | '\t' | '\r' => {
                at += 1;
                continue;
            }
            '\n' => (Kind::Newline, 1),
            '#' => (Kind::LineComment, line_length(rest)),
            '/' if rest.starts_with("//") => (Kind::LineComment, line_length(rest)),
            '/' if rest.starts_with("/*") => (Kind::BlockComment, rest.find("*/")? + 2),
            '"' => (Kind::Quoted, quoted_length(rest, 0)?),
            '<' if rest.starts_with("<<") => (Kind::Heredoc, heredoc_length(rest)?),
            '0'..='9' => (Kind::Number, number_length(rest)),
            first if is_word_start(first) => (Kind::Word, word_length(rest)),
            first => {
                let long = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign));
                (Kind::Sign, long.map_or(first.len_utf8(), |sign| sign.len()))
            }
        };
        let piece = &rest[..length];
        at += length;
        // A carriage return before the line's end is white space there, too.
        let piece = if kind == Kind::LineComment { piece.trim_end() } else { piece };
        tokens.push(Token { kind, text: piece });
    }
    Some(tokens)
}

fn line_length(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

fn is_word_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn word_length(rest: &str) -> usize {
    rest.find(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '-')))
        .unwrap_or(rest.len())
}

fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits =
        |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1 + sign);
        }
    }
    end
}

/// How long the string is that `rest` begins with, quotes included.
fn quoted_length(rest: &str, depth: usize) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            b'$' | b'%' => {
                let next = bytes.get(at + 1);
                if next == Some(byte) && bytes.get(at + 2) == Some(&b'{') {
                    at += 3;
                } else if next == Some(&b'{') {
                    at += 2 + interpolation_length(&rest[at + 2..], depth + 1)?;
                } else {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// How long an interpolation is after its `${`, the closing brace included.
fn interpolation_length(rest: &str, depth: usize) -> Option<usize> {
    if depth > DEPTH_MAX {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut at, mut open) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += quoted_length(&rest[at..], depth)?,
            b'{' => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at + 1),
            b'}' => {
                open -= 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

/// How long the heredoc is that `rest` begins with, up to the end of its end marker.
fn heredoc_length(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("<<-").or_else(|| rest.strip_prefix("<<"))?;
    let marker = &after[..word_length(after)];
    if marker.is_empty() {
        return None;
    }
    let mut at = line_length(rest) + 1;
    while at <= rest.len() {
        let line = &rest[at..at + line_length(&rest[at..])];
        if line.trim() == marker {
            let indent = line.len() - line.trim_start().len();
            return Some(at + indent + marker.len());
        }
        at += line.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let tokens = tokens(text).expect("it can be cut");
        let texts: Vec<&str> = tokens.iter().map(|token| token.text).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn strings_stay_whole_whatever_is_in_them() {
        check(r#"a="x ${b["}"]} \" $${ y""#, &["a", "=", r#""x ${b["}"]} \" $${ y""#]);
        check(r#""%{ if a }{%{ endif }""#, &[r#""%{ if a }{%{ endif }""#]);
    }

    #[test]
    fn heredocs_end_at_their_marker_only() {
        check(
            "a = <<-END\n  x = {\n  ENDING\n  END\nb",
            &["a", "=", "<<-END\n  x = {\n  ENDING\n  END", "\n", "b"],
        );
    }

    #[test]
    fn numbers_signs_and_comments_are_told_apart() {
        check("1.5e3...x>=-2//c", &["1.5e3", "...", "x", ">=", "-", "2", "//c"]);
        check("l.0.name /* a\nb */", &["l", ".", "0", ".", "name", "/* a\nb */"]);
        check("a # c \r\nb", &["a", "# c", "\n", "b"]);
    }

    #[test]
    fn what_is_left_open_is_refused() {
        for text in ["\"a", "\"${a\"", "<<END\na\n", "/* a", "<<\n"] {
            assert!(tokens(text).is_none(), "{text}");
        }
        let deep = "\"${".repeat(10_000);
        assert!(tokens(&deep).is_none());
    }
}
