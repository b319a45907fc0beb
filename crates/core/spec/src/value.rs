//! Values of expressions, each with the place it came from.

use std::{collections::BTreeMap, fmt, ops::Range, rc::Rc};

use crate::limits;

/// A byte range of the file.
pub(crate) type Span = Range<usize>;

/// Numbers are exact up to this magnitude; beyond it a float skips whole numbers.
pub(crate) const NUMBER_MAX: f64 = 9_007_199_254_740_992.0;

/// What an expression came to. Collections are shared, so that a clone is cheap.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// `null`: as if the key had not been written.
    Null,
    Bool(bool),
    /// Finite and of a magnitude of at most [`NUMBER_MAX`].
    Number(f64),
    String(Rc<str>),
    List(Rc<Vec<Located>>),
    Map(Rc<BTreeMap<String, Field>>),
    Reference(Reference),
    /// It could not be evaluated, and that has been reported.
    Unknown,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub value: Value,
    pub span: Span,
}

/// A value under a key.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub key_span: Span,
    pub value: Located,
}

/// A block of the file meant by an expression such as `image.base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub kind: BlockKind,
    pub name: Rc<str>,
}

/// The kinds of blocks that can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlockKind {
    Image,
    Service,
    Volume,
}

impl BlockKind {
    pub(crate) const ALL: [Self; 3] = [Self::Image, Self::Service, Self::Volume];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Service => "service",
            Self::Volume => "volume",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl Value {
    pub(crate) fn string(text: impl Into<Rc<str>>) -> Self {
        Self::String(text.into())
    }

    pub(crate) fn list(items: Vec<Located>) -> Self {
        Self::List(Rc::new(items))
    }

    /// What it is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Reference(_) => "a reference",
            Self::Unknown => "unknown",
        }
    }

    /// Equality as `==` has it; places do not count.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Reference(a), Self::Reference(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.value.same(&b.value))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b.iter()).all(|((a_key, a), (b_key, b))| {
                        a_key == b_key && a.value.value.same(&b.value.value)
                    })
            }
            _ => false,
        }
    }

    /// How many values it holds, itself included: what comparing or converting it costs. Counting ends at the
    /// budget, because shared parts can make a small value stand for an endless one.
    pub(crate) fn weight(&self) -> u64 {
        let mut count = 0;
        self.weigh(&mut count);
        count
    }

    fn weigh(&self, count: &mut u64) {
        *count += 1;
        if *count > limits::EVALUATION_STEPS {
            return;
        }
        match self {
            Self::List(items) => {
                for item in items.iter() {
                    if *count > limits::EVALUATION_STEPS {
                        return;
                    }
                    item.value.weigh(count);
                }
            }
            Self::Map(fields) => {
                for field in fields.values() {
                    if *count > limits::EVALUATION_STEPS {
                        return;
                    }
                    field.value.value.weigh(count);
                }
            }
            Self::String(text) => *count += text.len() as u64 / 64,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Reference(_) | Self::Unknown => {}
        }
    }
}

impl Located {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span }
    }

    pub(crate) fn unknown(span: Span) -> Self {
        Self { value: Value::Unknown, span }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.word(), self.name)
    }
}

/// A number as text: whole numbers without a point.
pub(crate) fn number_text(number: f64) -> String {
    // Adding zero turns a negative zero into a plain one.
    (number + 0.0).to_string()
}

/// A value as text, where HCL converts it by itself.
pub(crate) fn text_of(value: &Value) -> Option<Rc<str>> {
    match value {
        Value::String(text) => Some(Rc::clone(text)),
        Value::Number(number) => Some(number_text(*number).into()),
        Value::Bool(value) => Some(value.to_string().into()),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Reference(_) | Value::Unknown => None,
    }
}
