//! `variable` blocks and the values given for them from outside.

use std::collections::{BTreeMap, BTreeSet};

use hcl_edit::{
    Span as _,
    expr::Expression,
    structure::{Block, Structure},
};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    library::number_of,
    read_value::shown,
    section::{Section, Text, header, label},
    suggest::{did_you_mean, one_of},
    value::{Located, Span, Value, text_of},
};

/// The prefix of environment variables that set a `variable` of the file.
pub const VARIABLE_PREFIX: &str = "HORNERO_VAR_";

/// Values for `variable` blocks from outside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    given: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

/// A `--var` argument without `=`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form NAME=VALUE")]
pub struct VariableArgumentError(String);

impl Variables {
    /// No values: every variable has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable as `--var` does, over the environment; naming one that the file lacks is an error.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.given.insert(name.into(), value.into());
    }

    /// Sets a variable from `NAME=VALUE`, the argument of `--var`.
    pub fn set_argument(&mut self, argument: &str) -> Result<(), VariableArgumentError> {
        let (name, value) = argument
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| VariableArgumentError(argument.to_owned()))?;
        self.set(name, value);
        Ok(())
    }

    /// Takes `HORNERO_VAR_name` from environment variables; those that the file lacks are ignored.
    pub fn set_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let ours = environment.into_iter().filter_map(|(key, value)| {
            key.strip_prefix(VARIABLE_PREFIX).map(|name| (name.to_owned(), value))
        });
        self.environment.extend(ours);
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).or_else(|| self.environment.get(name)).map(String::as_str)
    }
}

/// What values a variable takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Map(Box<Type>),
}

impl Type {
    fn text(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::String => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::List(inner) => format!("list({})", inner.text()),
            Self::Map(inner) => format!("map({})", inner.text()),
        }
    }

    /// A value as this type; strings, numbers and bools become each other where nothing is lost, as in HCL.
    fn convert(&self, value: &Located) -> Option<Located> {
        let converted = match (self, &value.value) {
            (_, Value::Null | Value::Unknown) | (Self::Any, _) => value.value.clone(),
            (Self::String, other) => Value::String(text_of(other)?),
            (Self::Number, Value::Number(number)) => Value::Number(*number),
            (Self::Number, Value::String(text)) => Value::Number(number_of(text)?),
            (Self::Bool, Value::Bool(value)) => Value::Bool(*value),
            (Self::Bool, Value::String(text)) => Value::Bool(text.parse().ok()?),
            (Self::List(inner), Value::List(items)) => {
                let items: Option<Vec<_>> = items.iter().map(|item| inner.convert(item)).collect();
                Value::list(items?)
            }
            (Self::Map(inner), Value::Map(fields)) => {
                let mut converted = BTreeMap::clone(fields);
                for field in converted.values_mut() {
                    field.value = inner.convert(&field.value)?;
                }
                Value::Map(converted.into())
            }
            (Self::Number | Self::Bool | Self::List(_) | Self::Map(_), _) => return None,
        };
        Some(Located::new(converted, value.span.clone()))
    }
}

/// Reads all `variable` blocks and gives the evaluator their values.
pub(crate) fn read(cx: &mut Evaluator, blocks: &[&Block], given: &Variables) {
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    let mut values: BTreeMap<String, Located> = BTreeMap::new();
    for block in blocks {
        let Some(name) = label(cx, block, "a variable needs a name", "region") else { continue };
        if let Some(first) = names.get(&*name.value) {
            cx.report(
                Mistake::new(
                    ErrorCode::DuplicateName,
                    name.span.clone(),
                    format!("there are two variables `{}`", name.value),
                )
                .related(first.clone(), "the first is here"),
            );
            continue;
        }
        names.insert(name.value.to_string(), name.span.clone());
        let value = read_one(cx, block, &name, given.get(&name.value));
        values.insert(name.value.to_string(), value);
    }
    cx.variables = values;
    let declared: BTreeSet<&str> = names.keys().map(String::as_str).collect();
    for name in given.given.keys().filter(|name| !declared.contains(name.as_str())) {
        let message =
            format!("a value is given for `{}`, but the file has no such variable", shown(name));
        let hint = did_you_mean(name, declared.iter().copied()).unwrap_or_else(|| {
            format!("declare it: `variable \"{}\" {{ type = string }}`", shown(name))
        });
        cx.report(Mistake::new(ErrorCode::Variable, 0..0, message).hint(hint));
    }
}

fn read_one(cx: &mut Evaluator, block: &Block, name: &Text, given: Option<&str>) -> Located {
    let declared = block.body.get_attribute("type").map(|attribute| &attribute.value);
    let declared = declared.map(|expression| read_type(cx, expression));
    // The type is a word of its own kind, no expression: it must not be evaluated with the rest.
    let mut rest = (*block).clone();
    rest.body = block
        .body
        .iter()
        .filter(|structure| !matches!(structure, Structure::Attribute(a) if a.has_key("type")))
        .cloned()
        .collect();
    let mut section = Section::of_block(cx, &rest, format!("variable `{}`", shown(&name.value)));
    section.text(cx, "description");
    let default = section.take("default").map(|value| {
        // Converting goes through all of it.
        let affordable = cx.charge(value.value.weight(), 0, &value.span);
        if affordable { value } else { Located::unknown(value.span) }
    });
    section.take("type");
    section.finish(cx);
    let wanted = declared.unwrap_or_else(|| default.as_ref().map_or(Type::String, type_of));
    let default = default.map(|default| match wanted.convert(&default) {
        Some(value) => value,
        None => {
            let message = format!(
                "the default of variable `{}` must be of type `{}`, not {}",
                name.value,
                wanted.text(),
                default.value.kind()
            );
            cx.report(Mistake::new(ErrorCode::WrongType, default.span.clone(), message));
            Located::unknown(default.span)
        }
    });
    match (given, default) {
        (Some(given), _) => from_outside(cx, &wanted, given, name),
        (None, Some(default)) => default,
        (None, None) => {
            cx.report(
                Mistake::new(
                    ErrorCode::Variable,
                    header(block),
                    format!("variable `{}` has no value", shown(&name.value)),
                )
                .hint(format!(
                    "give it one by `--var {0}=…` or `{VARIABLE_PREFIX}{0}`, or set a `default`",
                    shown(&name.value)
                )),
            );
            Located::unknown(name.span.clone())
        }
    }
}

/// The type that a default suggests.
fn type_of(default: &Located) -> Type {
    match default.value {
        Value::String(_) => Type::String,
        Value::Number(_) => Type::Number,
        Value::Bool(_) => Type::Bool,
        Value::Null | Value::List(_) | Value::Map(_) | Value::Reference(_) | Value::Unknown => {
            Type::Any
        }
    }
}

fn read_type(cx: &mut Evaluator, expression: &Expression) -> Type {
    const NAMES: [&str; 6] = ["string", "number", "bool", "any", "list(…)", "map(…)"];
    let word = match expression {
        Expression::Variable(name) => name.value().as_str().to_owned(),
        Expression::String(text) => text.value().clone(),
        Expression::FuncCall(call) => call.name.name.value().as_str().to_owned(),
        _ => String::new(),
    };
    let inner = match expression {
        Expression::FuncCall(call) if call.args.len() == 1 => call.args.get(0),
        _ => None,
    };
    match (word.as_str(), inner) {
        ("string", None) => Type::String,
        ("number", None) => Type::Number,
        ("bool", None) => Type::Bool,
        ("any", None) => Type::Any,
        ("list", None) => Type::List(Box::new(Type::Any)),
        ("map", None) => Type::Map(Box::new(Type::Any)),
        ("list", Some(inner)) => Type::List(Box::new(read_type(cx, inner))),
        ("map", Some(inner)) => Type::Map(Box::new(read_type(cx, inner))),
        _ => {
            cx.report(
                Mistake::new(
                    ErrorCode::InvalidValue,
                    expression.span().unwrap_or_default(),
                    "this is not a type of variable",
                )
                .hint(format!("a type is {}", one_of(NAMES))),
            );
            Type::Any
        }
    }
}

/// A value given as text: as it stands for a string, else as HCL.
fn from_outside(cx: &mut Evaluator, wanted: &Type, given: &str, name: &Text) -> Located {
    let at = name.span.clone();
    let plain = Located::new(Value::string(given), at.clone());
    let value = match wanted {
        Type::String | Type::Number | Type::Bool => wanted.convert(&plain),
        Type::Any | Type::List(_) | Type::Map(_) => {
            literal(given, &at).and_then(|value| wanted.convert(&value))
        }
    };
    value.unwrap_or_else(|| {
        let message = format!(
            "the value given for variable `{}` is not of type `{}`: `{}`",
            shown(&name.value),
            wanted.text(),
            shown(given)
        );
        let hint = match wanted {
            Type::Number => Some("write a number such as `3`"),
            Type::Bool => Some("write `true` or `false`"),
            Type::List(_) | Type::Any => Some("write it as in the file, such as `[\"a\", \"b\"]`"),
            Type::Map(_) => Some("write it as in the file, such as `{ key = \"value\" }`"),
            Type::String => None,
        };
        let mistake = Mistake::new(ErrorCode::Variable, at.clone(), message);
        cx.report(mistake.maybe_hint(hint.map(str::to_owned)));
        Located::unknown(at)
    })
}

/// Evaluates a text that may use no names; every place in it becomes that of the variable.
fn literal(text: &str, at: &Span) -> Option<Located> {
    if text.len() > crate::limits::ARGUMENT_BYTES {
        return None;
    }
    let expression: Expression = text.parse().ok()?;
    let mut alone = Evaluator::default();
    let value = alone.evaluate(&expression);
    let small = value.value.weight() <= crate::limits::EVALUATION_STEPS;
    (small && alone.mistakes.is_empty()).then(|| moved(&value, at))
}

fn moved(value: &Located, at: &Span) -> Located {
    let inner = match &value.value {
        Value::List(items) => Value::list(items.iter().map(|item| moved(item, at)).collect()),
        Value::Map(fields) => {
            let mut fields = BTreeMap::clone(fields);
            for field in fields.values_mut() {
                field.key_span = at.clone();
                field.value = moved(&field.value, at);
            }
            Value::Map(fields.into())
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Reference(_)
        | Value::Unknown => value.value.clone(),
    };
    Located::new(inner, at.clone())
}
