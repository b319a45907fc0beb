//! Errors in `hornero.hcl`: as data for scripts, and rendered with the lines they point at for people.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use crate::limits;

/// What kind of mistake an error is; each has a section in `docs/errors/hornero-hcl.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The file can't be read as HCL at all: empty, too large, not UTF-8, or against the grammar.
    Syntax,
    /// The file, or something in it, is larger, longer or deeper than allowed.
    TooLarge,
    /// A key that its block does not have.
    UnknownKey,
    /// A block that does not exist at its place.
    UnknownBlock,
    /// A key or block that must be there is not.
    MissingKey,
    /// A block without its name, or with too many.
    MissingName,
    /// A name that breaks the rule of its kind.
    InvalidName,
    /// Two things with one name.
    DuplicateName,
    /// Two keys or blocks that exclude each other.
    Conflict,
    /// A value of the wrong type.
    WrongType,
    /// A value of the right type that means nothing here.
    InvalidValue,
    /// A number, size or span outside its limits.
    OutOfRange,
    /// A reference to something that is not declared.
    UnknownReference,
    /// Something that is its own ancestor, or depends on itself.
    Cycle,
    /// Two routes or ports at one place.
    PortClash,
    /// A file that is to be copied and is not there.
    SourceMissing,
    /// A path that leaves the directory or the image.
    PathEscapes,
    /// A variable without a value, or one set that the file does not declare.
    Variable,
    /// An expression that could not be evaluated.
    Expression,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 19] = [
        Self::Syntax,
        Self::TooLarge,
        Self::UnknownKey,
        Self::UnknownBlock,
        Self::MissingKey,
        Self::MissingName,
        Self::InvalidName,
        Self::DuplicateName,
        Self::Conflict,
        Self::WrongType,
        Self::InvalidValue,
        Self::OutOfRange,
        Self::UnknownReference,
        Self::Cycle,
        Self::PortClash,
        Self::SourceMissing,
        Self::PathEscapes,
        Self::Variable,
        Self::Expression,
    ];

    /// The code as scripts and the documentation write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::TooLarge => "too-large",
            Self::UnknownKey => "unknown-key",
            Self::UnknownBlock => "unknown-block",
            Self::MissingKey => "missing-key",
            Self::MissingName => "missing-name",
            Self::InvalidName => "invalid-name",
            Self::DuplicateName => "duplicate-name",
            Self::Conflict => "conflict",
            Self::WrongType => "wrong-type",
            Self::InvalidValue => "invalid-value",
            Self::OutOfRange => "out-of-range",
            Self::UnknownReference => "unknown-reference",
            Self::Cycle => "cycle",
            Self::PortClash => "port-clash",
            Self::SourceMissing => "source-missing",
            Self::PathEscapes => "path-escapes",
            Self::Variable => "variable",
            Self::Expression => "expression",
        }
    }
}

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "MistakePlace")]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there, for people; empty where the message says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip)]
    span: Range<usize>,
}

/// One mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpecError {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// What is wrong, on which object.
    pub message: String,
    /// The file's name as it was given.
    pub file: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Other places that belong to it, such as the first of two equal names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Place>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.place.line, self.place.column, self.message)
    }
}

impl std::error::Error for SpecError {}

/// Every mistake found in one file, in the order of their places; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    text: String,
    list: Vec<SpecError>,
    left_out: usize,
}

impl Errors {
    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, SpecError> {
        self.list.iter()
    }

    /// The mistakes as a list, for JSON.
    pub fn errors(&self) -> &[SpecError] {
        &self.list
    }

    /// How many more mistakes there are than [`Errors::iter`] gives.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The mistakes for people, each with the lines it points at; with terminal colours where `colour` says so.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for error in &self.list {
            out.push_str(&renderer.render(&[self.report(error)]));
            out.push_str("\n\n");
        }
        let count = self.list.len() + self.left_out;
        let (verb, noun) = if count == 1 { ("is", "error") } else { ("are", "errors") };
        let file = &self.list[0].file;
        out.push_str(&format!("there {verb} {count} {noun} in `{file}`"));
        if self.left_out > 0 {
            out.push_str(&format!(", of which the first {} are shown", self.list.len()));
        }
        out.push('\n');
        out
    }

    fn report<'a>(&'a self, error: &'a SpecError) -> Group<'a> {
        let snippet = Snippet::source(self.text.as_str()).path(error.file.as_str()).annotation(
            AnnotationKind::Primary
                .span(error.place.span.clone())
                .label(Some(error.place.note.as_str()).filter(|note| !note.is_empty())),
        );
        let snippet = error.related.iter().fold(snippet, |snippet, place| {
            snippet.annotation(
                AnnotationKind::Context.span(place.span.clone()).label(place.note.as_str()),
            )
        });
        let group = Level::ERROR
            .primary_title(error.message.as_str())
            .id(error.code.as_str())
            .element(snippet);
        match &error.hint {
            Some(hint) => group.element(Level::HELP.with_name("hint").message(hint.as_str())),
            None => group,
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Errors {}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a SpecError;
    type IntoIter = std::slice::Iter<'a, SpecError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A mistake by byte range, before lines and columns are counted.
#[derive(Debug, Clone)]
pub(crate) struct Mistake {
    code: ErrorCode,
    message: String,
    span: Range<usize>,
    note: String,
    related: Vec<(Range<usize>, String)>,
    hint: Option<String>,
}

impl Mistake {
    /// The same mistake, of `file` instead of `hornero.hcl`: pointed at by `span`, which names that file.
    pub(crate) fn in_file(self, file: &str, text: &str, span: Range<usize>) -> Self {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let message = format!("`{file}`, line {line}: {}", self.message);
        Self { message, span, note: String::new(), related: Vec::new(), ..self }
    }

    pub(crate) fn new(code: ErrorCode, span: Range<usize>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, span, note: String::new(), related: Vec::new(), hint: None }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, note: impl Into<String>) -> Self {
        self.related.push((span, note.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

/// Turns mistakes into errors; none where there are none.
pub(crate) fn errors(file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Option<Errors> {
    if mistakes.is_empty() {
        return None;
    }
    mistakes.sort_by(|a, b| {
        (a.span.start, a.span.end, a.code, &a.message).cmp(&(
            b.span.start,
            b.span.end,
            b.code,
            &b.message,
        ))
    });
    mistakes.dedup_by(|a, b| a.span == b.span && a.message == b.message);
    let left_out = mistakes.len().saturating_sub(limits::ERRORS);
    mistakes.truncate(limits::ERRORS);
    let lines = Lines::of(text);
    let list = mistakes
        .into_iter()
        .map(|mistake| SpecError {
            code: mistake.code,
            message: mistake.message,
            file: file.to_owned(),
            place: lines.place(mistake.span, mistake.note),
            related: mistake
                .related
                .into_iter()
                .map(|(span, note)| lines.place(span, note))
                .collect(),
            hint: mistake.hint,
        })
        .collect();
    Some(Errors { text: text.to_owned(), list, left_out })
}

/// Where lines begin.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect() }
    }

    pub(crate) fn place(&self, span: Range<usize>, note: String) -> Place {
        let start = floor(self.text, span.start);
        let end = floor(self.text, span.end).max(start);
        let line = self.starts.partition_point(|at| *at <= start);
        let column = self.text[self.starts[line - 1]..start].chars().count() + 1;
        Place { line, column, note, span: start..end }
    }
}

/// The last character boundary at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
