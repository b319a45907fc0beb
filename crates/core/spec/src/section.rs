//! A block or object being read: keys are taken out one by one, and what is left over is a mistake.

use std::collections::BTreeMap;

use hcl_edit::{
    Span as _,
    structure::{Block, Body, Structure},
};
use hornero_model::Millis;

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    read_value::{reference, shown, text, whole, wrong_type, wrong_type_hint},
    suggest::{did_you_mean, nearest},
    units::{self, UnitError},
    value::{BlockKind, Field, Located, Span, Value},
};

pub(crate) use crate::read_value::{At, Text};

/// What is left of a block or object.
#[derive(Debug)]
pub(crate) struct Section<'b> {
    /// What it is, such as "service `site`".
    pub what: String,
    /// Where it begins, for what is missing.
    pub span: Span,
    fields: BTreeMap<String, Field>,
    blocks: Vec<&'b Block>,
    known_keys: Vec<&'static str>,
    known_blocks: Vec<&'static str>,
}

/// The first line of a block: its kind and labels.
pub(crate) fn header(block: &Block) -> Span {
    let start = block.ident.span().unwrap_or_default();
    let end = block.labels.last().and_then(|label| label.span()).map_or(start.end, |last| last.end);
    start.start..end
}

/// The one label of a block; `needs` says whose and what it is, such as "an image needs a name".
pub(crate) fn label(cx: &mut Evaluator, block: &Block, needs: &str, example: &str) -> Option<Text> {
    let mistake = match block.labels.as_slice() {
        [label] => {
            let span = label.span().unwrap_or_else(|| header(block));
            return Some(At { value: label.as_str().into(), span });
        }
        [] => needs.to_owned(),
        _ => format!("{}, not {}", needs.replace(" a ", " one "), block.labels.len()),
    };
    let hint = format!("write `{} \"{example}\" {{ … }}`", block.ident.value());
    cx.report(Mistake::new(ErrorCode::MissingName, header(block), mistake).hint(hint));
    None
}

impl<'b> Section<'b> {
    /// Reads a block's keys; its labels are the caller's.
    pub(crate) fn of_block(cx: &mut Evaluator, block: &'b Block, what: String) -> Self {
        Self::of_body(cx, &block.body, header(block), what)
    }

    /// Reads the keys of a body; `span` is where it begins.
    pub(crate) fn of_body(cx: &mut Evaluator, body: &'b Body, span: Span, what: String) -> Self {
        let mut fields = BTreeMap::new();
        let mut blocks = Vec::new();
        for structure in body.iter() {
            match structure {
                Structure::Attribute(attribute) => {
                    let value = cx.evaluate(&attribute.value);
                    let key_span = attribute.key.span().unwrap_or_default();
                    let key = attribute.key.value().as_str().to_owned();
                    fields.insert(key, Field { key_span, value });
                }
                Structure::Block(block) => blocks.push(block),
            }
        }
        Self::new(what, span, fields, blocks)
    }

    /// Reads an object; none where the value is something else, which is reported.
    pub(crate) fn of_value(cx: &mut Evaluator, value: &Located, what: String) -> Option<Self> {
        match &value.value {
            Value::Map(fields) => {
                Some(Self::new(what, value.span.clone(), BTreeMap::clone(fields), Vec::new()))
            }
            _ => {
                wrong_type(cx, &what, "an object such as `{ … }`", value);
                None
            }
        }
    }

    fn new(
        what: String,
        span: Span,
        fields: BTreeMap<String, Field>,
        blocks: Vec<&'b Block>,
    ) -> Self {
        Self { what, span, fields, blocks, known_keys: Vec::new(), known_blocks: Vec::new() }
    }

    /// Takes a key's value; `null` counts as not set.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Located> {
        self.known_keys.push(key);
        let field = self.fields.remove(key)?;
        (!matches!(field.value.value, Value::Null)).then_some(field.value)
    }

    /// Whether a key is set and not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|field| !matches!(field.value.value, Value::Null))
    }

    /// Where a key's value stands; the block itself where it is not set or was taken.
    pub(crate) fn place(&self, key: &str) -> Span {
        self.fields.get(key).map_or_else(|| self.span.clone(), |field| field.value.span.clone())
    }

    /// Takes all blocks of one kind; more than `most` are reported, and left out.
    pub(crate) fn take_blocks(
        &mut self,
        cx: &mut Evaluator,
        kind: &'static str,
        most: usize,
    ) -> Vec<&'b Block> {
        self.known_blocks.push(kind);
        let (mut taken, left): (Vec<_>, Vec<_>) =
            self.blocks.drain(..).partition(|block| block.ident.value().as_str() == kind);
        self.blocks = left;
        if let Some(over) = taken.get(most) {
            let message = format!("{} has more than {most} `{kind}` blocks", self.what);
            cx.report(Mistake::new(ErrorCode::TooLarge, header(over), message));
        }
        taken.truncate(most);
        taken
    }

    /// Takes a part that may be written as a block without a name or as an object.
    pub(crate) fn part(&mut self, cx: &mut Evaluator, key: &'static str) -> Option<Section<'b>> {
        let what = format!("`{key}` of {}", self.what);
        let key_span = self.fields.get(key).map(|field| field.key_span.clone());
        let value = self.take(key);
        let blocks = self.take_blocks(cx, key, limits::LIST);
        let mut seen = key_span;
        let mut part = value.and_then(|value| Self::of_value(cx, &value, what.clone()));
        for block in blocks {
            if let Some(first) = &seen {
                cx.report(
                    Mistake::new(
                        ErrorCode::DuplicateName,
                        header(block),
                        format!("{what} is set twice"),
                    )
                    .related(first.clone(), "first set here"),
                );
                continue;
            }
            seen = Some(header(block));
            if !block.labels.is_empty() {
                cx.report(
                    Mistake::new(
                        ErrorCode::MissingName,
                        header(block),
                        format!("{what} has no name"),
                    )
                    .hint(format!("write `{key} {{ … }}`")),
                );
            }
            part = Some(Self::of_block(cx, block, what.clone()));
        }
        part
    }

    /// Reports every key and block that nobody took.
    pub(crate) fn finish(self, cx: &mut Evaluator) {
        for (key, field) in &self.fields {
            if self.known_keys.contains(&key.as_str()) {
                continue;
            }
            let hint = if self.known_blocks.contains(&key.as_str()) {
                Some(format!("`{key}` is a block: write it without `=`"))
            } else {
                did_you_mean(key, self.names()).or_else(|| self.all_names())
            };
            cx.report(
                Mistake::new(
                    ErrorCode::UnknownKey,
                    field.key_span.clone(),
                    format!("{} has no key `{key}`", self.what),
                )
                .maybe_hint(hint),
            );
        }
        for block in &self.blocks {
            let kind = block.ident.value().as_str();
            let hint = if self.known_keys.contains(&kind) {
                Some(format!("`{kind}` is a key: write `{kind} = …`"))
            } else {
                nearest(kind, self.names()).map(|name| format!("did you mean `{name}`?"))
            };
            cx.report(
                Mistake::new(
                    ErrorCode::UnknownBlock,
                    header(block),
                    format!("{} has no block `{kind}`", self.what),
                )
                .maybe_hint(hint.or_else(|| self.all_names())),
            );
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.known_keys.iter().chain(&self.known_blocks).copied()
    }

    fn all_names(&self) -> Option<String> {
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| format!("it has {}", names.join(", ")))
    }

    /// Reports that something must be there.
    pub(crate) fn missing(&self, cx: &mut Evaluator, key: &str, hint: &str) {
        cx.report(
            Mistake::new(
                ErrorCode::MissingKey,
                self.span.clone(),
                format!("{} needs `{key}`", self.what),
            )
            .hint(hint),
        );
    }

    fn name(&self, key: &str) -> String {
        format!("`{key}` of {}", self.what)
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, cx: &mut Evaluator, key: &'static str) -> Option<Text> {
        let value = self.take(key)?;
        text(cx, &self.name(key), &value)
    }

    /// Takes a bool.
    pub(crate) fn flag(&mut self, cx: &mut Evaluator, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                wrong_type(cx, &self.name(key), "`true` or `false`", &value);
                None
            }
        }
    }

    /// Takes a whole number of `least` to `most`, whose limits have `reason`.
    pub(crate) fn whole(
        &mut self,
        cx: &mut Evaluator,
        key: &'static str,
        least: u32,
        most: u32,
        reason: &str,
    ) -> Option<u32> {
        let value = self.take(key)?;
        whole(cx, &self.name(key), &value, (least, most), reason)
    }

    /// Takes a list of strings.
    pub(crate) fn texts(&mut self, cx: &mut Evaluator, key: &'static str) -> Option<Vec<Text>> {
        let name = self.name(key);
        let items = self.list(cx, key, "a list of strings")?;
        let element = format!("an element of {name}");
        Some(items.value.iter().filter_map(|item| text(cx, &element, item)).collect())
    }

    /// Takes a list.
    pub(crate) fn list(
        &mut self,
        cx: &mut Evaluator,
        key: &'static str,
        expected: &str,
    ) -> Option<At<Vec<Located>>> {
        let value = self.take(key)?;
        let name = self.name(key);
        let Value::List(items) = &value.value else {
            wrong_type(cx, &name, expected, &value);
            return None;
        };
        if items.len() > limits::LIST {
            cx.report(Mistake::new(
                ErrorCode::TooLarge,
                value.span.clone(),
                format!(
                    "{name} has {} elements; at most {} are allowed",
                    items.len(),
                    limits::LIST
                ),
            ));
            return None;
        }
        Some(At { value: items.to_vec(), span: value.span.clone() })
    }

    /// Takes a span of time of `least` to the longest allowed.
    pub(crate) fn duration(
        &mut self,
        cx: &mut Evaluator,
        key: &'static str,
        least: Millis,
    ) -> Option<Millis> {
        const HINT: &str =
            "write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`";
        let value = self.take(key)?;
        let name = self.name(key);
        let Value::String(text) = &value.value else {
            wrong_type_hint(cx, &name, "a span of time in quotes", &value, HINT);
            return None;
        };
        let mistake = match units::duration(text) {
            Ok(span) if span < least => (ErrorCode::OutOfRange, format!("at least {least}"), None),
            Ok(span) if span <= limits::DURATION => return Some(span),
            Ok(_) | Err(UnitError::Overflow) => {
                (ErrorCode::OutOfRange, "at most ten years".to_owned(), None)
            }
            Err(UnitError::Form) => {
                (ErrorCode::InvalidValue, "a span of time".to_owned(), Some(HINT.to_owned()))
            }
        };
        let message = format!("{name} must be {}, not `{}`", mistake.1, shown(text));
        cx.report(Mistake::new(mistake.0, value.span.clone(), message).maybe_hint(mistake.2));
        None
    }

    /// Takes a size in bytes of `least` to the largest allowed.
    pub(crate) fn size(
        &mut self,
        cx: &mut Evaluator,
        key: &'static str,
        least: u64,
    ) -> Option<u64> {
        const HINT: &str = "write a whole number and a unit: `64KiB`, `256MiB`, `10GiB` or `1TB`";
        let value = self.take(key)?;
        let name = self.name(key);
        let Value::String(text) = &value.value else {
            wrong_type_hint(cx, &name, "a size in quotes", &value, HINT);
            return None;
        };
        let mistake = match units::size(text) {
            Ok(size) if size < least => {
                (ErrorCode::OutOfRange, format!("at least {}", units::size_text(least)), None)
            }
            Ok(size) if size <= limits::SIZE_BYTES => return Some(size),
            Ok(_) | Err(UnitError::Overflow) => {
                let most = units::size_text(limits::SIZE_BYTES);
                (ErrorCode::OutOfRange, format!("at most {most}"), None)
            }
            Err(UnitError::Form) => {
                let meant = units::size_meant(text).map(|meant| format!("did you mean `{meant}`?"));
                (ErrorCode::InvalidValue, "a size".to_owned(), meant.or(Some(HINT.to_owned())))
            }
        };
        let message = format!("{name} must be {}, not `{}`", mistake.1, shown(text));
        cx.report(Mistake::new(mistake.0, value.span.clone(), message).maybe_hint(mistake.2));
        None
    }

    /// Takes a reference to a block of one kind.
    pub(crate) fn reference(
        &mut self,
        cx: &mut Evaluator,
        key: &'static str,
        kind: BlockKind,
    ) -> Option<Text> {
        let value = self.take(key)?;
        reference(cx, &self.name(key), &value, kind)
    }
}
