//! The functions that expressions can call, as HCL users know them.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    format::format,
    function::{Arguments, CallError, Function, sized},
    value::{Field, Located, Value, text_of},
};

type CallResult = Result<Value, CallError>;

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    body: fn(&Arguments) -> CallResult,
) -> Function {
    Function { name, least, most, body }
}

const ANY: usize = usize::MAX;

/// All functions, by name.
pub(crate) const FUNCTIONS: &[Function] = &[
    function("abs", 1, 1, |a| Ok(Value::Number(a.number(0)?.abs()))),
    function("ceil", 1, 1, |a| Ok(Value::Number(a.number(0)?.ceil()))),
    function("coalesce", 1, ANY, coalesce),
    function("compact", 1, 1, compact),
    function("concat", 1, ANY, concat),
    function("contains", 2, 2, contains),
    function("distinct", 1, 1, distinct),
    function("element", 2, 2, element),
    function("endswith", 2, 2, |a| Ok(Value::Bool(a.text(0)?.ends_with(&*a.text(1)?)))),
    function("flatten", 1, 1, flatten),
    function("floor", 1, 1, |a| Ok(Value::Number(a.number(0)?.floor()))),
    function("format", 1, ANY, format),
    function("join", 2, 2, join),
    function("keys", 1, 1, keys),
    function("length", 1, 1, length),
    function("lookup", 2, 3, lookup),
    function("lower", 1, 1, |a| Ok(Value::string(a.text(0)?.to_lowercase()))),
    function("max", 1, ANY, |a| extreme(a, f64::max)),
    function("merge", 1, ANY, merge),
    function("min", 1, ANY, |a| extreme(a, f64::min)),
    function("range", 1, 3, range),
    function("replace", 3, 3, replace),
    function("reverse", 1, 1, |a| Ok(Value::list(a.list(0)?.iter().rev().cloned().collect()))),
    function("sort", 1, 1, sort),
    function("split", 2, 2, split),
    function("startswith", 2, 2, |a| Ok(Value::Bool(a.text(0)?.starts_with(&*a.text(1)?)))),
    function("substr", 3, 3, substr),
    function("tobool", 1, 1, to_bool),
    function("tonumber", 1, 1, to_number),
    function("tostring", 1, 1, |a| Ok(Value::String(a.text(0)?))),
    function("trim", 2, 2, trim),
    function("trimprefix", 2, 2, trim_prefix),
    function("trimspace", 1, 1, |a| Ok(Value::string(a.text(0)?.trim()))),
    function("trimsuffix", 2, 2, trim_suffix),
    function("upper", 1, 1, |a| Ok(Value::string(a.text(0)?.to_uppercase()))),
    function("values", 1, 1, values),
];

fn coalesce(a: &Arguments) -> CallResult {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let first = a.items.iter().find(|item| !empty(&item.value));
    first.map(|item| item.value.clone()).ok_or_else(|| CallError::new("every argument is empty"))
}

fn compact(a: &Arguments) -> CallResult {
    let filled = |item: &&Located| match &item.value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    Ok(Value::list(a.list(0)?.iter().filter(filled).cloned().collect()))
}

fn concat(a: &Arguments) -> CallResult {
    let mut items = Vec::new();
    for index in 0..a.len() {
        items.extend_from_slice(a.list(index)?);
    }
    Ok(Value::list(items))
}

fn contains(a: &Arguments) -> CallResult {
    let wanted = a.value(1);
    Ok(Value::Bool(a.list(0)?.iter().any(|item| item.value.same(wanted))))
}

fn distinct(a: &Arguments) -> CallResult {
    /// Comparing each with each takes the square of this.
    const MOST: usize = 1_000;
    let items = a.list(0)?;
    if items.len() > MOST {
        return Err(CallError::at(0, format!("a list of more than {MOST} elements is too long")));
    }
    let mut kept: Vec<Located> = Vec::new();
    for item in items {
        if !kept.iter().any(|known| known.value.same(&item.value)) {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn element(a: &Arguments) -> CallResult {
    let items = a.list(0)?;
    if items.is_empty() {
        return Err(CallError::at(0, "this list is empty"));
    }
    Ok(items[a.count(1)? % items.len()].value.clone())
}

fn flatten(a: &Arguments) -> CallResult {
    fn into(items: &[Located], out: &mut Vec<Located>) {
        for item in items {
            match &item.value {
                Value::List(inner) => into(inner, out),
                _ => out.push(item.clone()),
            }
        }
    }
    let mut out = Vec::new();
    into(a.list(0)?, &mut out);
    Ok(Value::list(out))
}

fn join(a: &Arguments) -> CallResult {
    let separator = a.text(0)?;
    let items = a.list(1)?;
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        let text = text_of(&item.value).ok_or_else(|| {
            CallError::at(1, format!("an element is {}, not a string", item.value.kind()))
        })?;
        parts.push(text);
    }
    let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>()
        + (separator.len() as u64).saturating_mul(parts.len() as u64);
    sized(bytes)?;
    Ok(Value::string(parts.join(&separator)))
}

fn keys(a: &Arguments) -> CallResult {
    let fields = a.map(0)?.iter();
    let keys = fields
        .map(|(name, field)| Located::new(Value::string(name.as_str()), field.key_span.clone()));
    Ok(Value::list(keys.collect()))
}

fn values(a: &Arguments) -> CallResult {
    Ok(Value::list(a.map(0)?.values().map(|field| field.value.clone()).collect()))
}

fn length(a: &Arguments) -> CallResult {
    let count = match a.value(0) {
        Value::String(text) => text.chars().count(),
        Value::List(items) => items.len(),
        Value::Map(fields) => fields.len(),
        other => {
            let kind = other.kind();
            return Err(CallError::at(0, format!("{kind} has no length")));
        }
    };
    Ok(Value::Number(count as f64))
}

fn lookup(a: &Arguments) -> CallResult {
    let key = a.text(1)?;
    if let Some(field) = a.map(0)?.get(&*key) {
        return Ok(field.value.value.clone());
    }
    match a.items.get(2) {
        Some(default) => Ok(default.value.clone()),
        None => Err(CallError::at(1, format!("there is no key `{key}`, and no default is given"))),
    }
}

fn extreme(a: &Arguments, choose: fn(f64, f64) -> f64) -> CallResult {
    let mut best = a.number(0)?;
    for index in 1..a.len() {
        best = choose(best, a.number(index)?);
    }
    Ok(Value::Number(best))
}

fn merge(a: &Arguments) -> CallResult {
    let mut merged: BTreeMap<String, Field> = BTreeMap::new();
    for index in 0..a.len() {
        merged.extend(a.map(index)?.iter().map(|(key, field)| (key.clone(), field.clone())));
    }
    Ok(Value::Map(Rc::new(merged)))
}

fn range(a: &Arguments) -> CallResult {
    /// As Terraform has it.
    const MOST: usize = 1_024;
    let (start, end) =
        if a.len() == 1 { (0.0, a.number(0)?) } else { (a.number(0)?, a.number(1)?) };
    let step = match a.len() {
        3 => a.number(2)?,
        _ if end < start => -1.0,
        _ => 1.0,
    };
    if step == 0.0 {
        return Err(CallError::at(2, "a step of 0 never ends"));
    }
    let mut items = Vec::new();
    let mut next = start;
    while (step > 0.0 && next < end) || (step < 0.0 && next > end) {
        if items.len() == MOST {
            return Err(CallError::new(format!("this makes more than {MOST} numbers")));
        }
        items.push(Located::new(Value::Number(next), a.span.clone()));
        next += step;
    }
    Ok(Value::list(items))
}

fn replace(a: &Arguments) -> CallResult {
    let (text, from, to) = (a.text(0)?, a.text(1)?, a.text(2)?);
    if from.is_empty() {
        return Err(CallError::at(1, "there is nothing to look for"));
    }
    let count = text.matches(&*from).count() as u64;
    sized(count.saturating_mul(to.len() as u64).saturating_add(text.len() as u64))?;
    Ok(Value::string(text.replace(&*from, &to)))
}

fn sort(a: &Arguments) -> CallResult {
    let items = a.list(0)?;
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let text = text_of(&item.value).ok_or_else(|| {
            CallError::at(0, format!("an element is {}, not a string", item.value.kind()))
        })?;
        texts.push((text, item.span.clone()));
    }
    texts.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted = texts.into_iter().map(|(text, span)| Located::new(Value::String(text), span));
    Ok(Value::list(sorted.collect()))
}

fn split(a: &Arguments) -> CallResult {
    let (separator, text) = (a.text(0)?, a.text(1)?);
    if separator.is_empty() {
        return Err(CallError::at(0, "the separator is empty"));
    }
    let span = &a.items[1].span;
    let parts = text.split(&*separator).map(|part| Located::new(Value::string(part), span.clone()));
    Ok(Value::list(parts.collect()))
}

fn substr(a: &Arguments) -> CallResult {
    let text = a.text(0)?;
    let start = a.count(1)?;
    let length = if a.number(2)? == -1.0 { usize::MAX } else { a.count(2)? };
    Ok(Value::string(text.chars().skip(start).take(length).collect::<String>()))
}

fn to_bool(a: &Arguments) -> CallResult {
    match (a.value(0), text_of(a.value(0)).as_deref()) {
        (Value::Bool(value), _) => Ok(Value::Bool(*value)),
        (Value::String(_), Some("true")) => Ok(Value::Bool(true)),
        (Value::String(_), Some("false")) => Ok(Value::Bool(false)),
        _ => Err(CallError::at(0, "this is neither `true` nor `false`")),
    }
}

fn to_number(a: &Arguments) -> CallResult {
    match a.value(0) {
        Value::Number(number) => Ok(Value::Number(*number)),
        Value::String(text) => number_of(text)
            .map(Value::Number)
            .ok_or_else(|| CallError::at(0, format!("`{text}` is not a number"))),
        _ => Err(CallError::at(0, "this is not a number")),
    }
}

/// A number as HCL writes it; Rust's own parser takes `inf` and `nan` too.
pub(crate) fn number_of(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

fn trim(a: &Arguments) -> CallResult {
    let cut = a.text(1)?;
    let cut: Vec<char> = cut.chars().collect();
    // Every letter is looked for among these.
    if cut.len() > 64 {
        return Err(CallError::at(1, "more than 64 letters to trim are too many"));
    }
    Ok(Value::string(a.text(0)?.trim_matches(cut.as_slice())))
}

fn trim_prefix(a: &Arguments) -> CallResult {
    let (text, prefix) = (a.text(0)?, a.text(1)?);
    Ok(Value::string(text.strip_prefix(&*prefix).unwrap_or(&text)))
}

fn trim_suffix(a: &Arguments) -> CallResult {
    let (text, suffix) = (a.text(0)?, a.text(1)?);
    Ok(Value::string(text.strip_suffix(&*suffix).unwrap_or(&text)))
}
