//! Control data: paragraphs of `Field: value` lines (deb822(5)), read without copying.

use std::ops::Range;

/// One paragraph's fields in file order; continuation lines stay in the value with their line breaks.
#[derive(Debug, Clone, Default)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// The value of a field, by its name in any case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Every field in file order.
    pub fn fields(&self) -> &[(&'a str, &'a str)] {
        &self.fields
    }
}

/// Why a control text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a field: `{text}`")]
pub struct ControlError {
    /// Line number from 1, within the paragraph or file given.
    pub line: usize,
    /// The line, shortened.
    pub text: String,
}

/// Reads one paragraph; comment lines (`#`) are skipped.
pub fn parse_paragraph(text: &str) -> Result<Paragraph<'_>, ControlError> {
    let mut fields: Vec<(&str, Range<usize>)> = Vec::new();
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += line.len();
        let content = line.trim_end();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let error = || ControlError { line: index + 1, text: content.chars().take(80).collect() };
        if line.starts_with([' ', '\t']) {
            let (_, range) = fields.last_mut().ok_or_else(error)?;
            range.end = start + content.len();
            continue;
        }
        let colon = content.find(':').ok_or_else(error)?;
        let name = &content[..colon];
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(error());
        }
        fields.push((name, start + colon + 1..start + content.len()));
    }
    Ok(Paragraph {
        fields: fields.into_iter().map(|(name, range)| (name, text[range].trim())).collect(),
    })
}

/// The paragraphs of a text: byte ranges between blank lines.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (paragraph, tail) = match rest.find("\n\n") {
            Some(end) => (&rest[..=end], &rest[end + 2..]),
            None => (rest, ""),
        };
        rest = tail;
        Some(paragraph)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_with_continuations_and_comments() {
        let text = "Package: a\n# note\nDepends: b,\n c\nDescription: x\n .\n more\n";
        let paragraph = parse_paragraph(text).unwrap();
        assert_eq!(paragraph.get("package"), Some("a"));
        assert_eq!(paragraph.get("Depends"), Some("b,\n c"));
        assert_eq!(paragraph.get("Description"), Some("x\n .\n more"));
        assert_eq!(paragraph.get("Nothing"), None);
    }

    #[test]
    fn says_which_line_is_wrong() {
        let error = parse_paragraph("A: 1\nnonsense\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not a field: `nonsense`");
        assert!(parse_paragraph(" continuation first\n").is_err());
    }

    #[test]
    fn splits_paragraphs() {
        let found: Vec<&str> = paragraphs("\nA: 1\n\n\nB: 2\nC: 3").collect();
        assert_eq!(found, ["A: 1\n", "B: 2\nC: 3"]);
    }
}
