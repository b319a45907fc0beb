//! Calls of functions.

use hcl_edit::{Span as _, expr::FuncCall};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    function::{Arguments, Function},
    library,
    suggest::did_you_mean,
    value::{Located, Span, Value},
};

impl Evaluator {
    /// The value of a call.
    pub(crate) fn call(&mut self, call: &FuncCall, span: &Span) -> Value {
        let name = call.name.name.value().as_str();
        let name_span = call.name.name.span().unwrap_or_else(|| span.clone());
        let found = library::FUNCTIONS.iter().find(|function| function.name == name);
        let Some(function) = found.filter(|_| !call.name.is_namespaced()) else {
            let meant = did_you_mean(name, library::FUNCTIONS.iter().map(|known| known.name));
            self.report(
                Mistake::new(
                    ErrorCode::UnknownReference,
                    name_span,
                    format!("there is no function `{}`", call.name.name.value()),
                )
                .maybe_hint(meant),
            );
            return Value::Unknown;
        };
        let Some(arguments) = self.arguments(call, span) else { return Value::Unknown };
        if arguments.len() < function.least || arguments.len() > function.most {
            return self.fail(name_span, arity(function, arguments.len()));
        }
        let weight =
            arguments.items.iter().map(|item| item.value.weight()).fold(0_u64, u64::saturating_add);
        if !self.charge(weight, 0, span) {
            return Value::Unknown;
        }
        match (function.body)(&arguments) {
            Ok(Value::Number(number)) => self.number(number, span.clone()),
            Ok(Value::String(text)) if !self.charge(0, text.len() as u64, span) => Value::Unknown,
            Ok(value) => value,
            Err(error) => {
                let at = error.argument.and_then(|index| arguments.items.get(index));
                let at = at.map_or_else(|| span.clone(), |item| item.span.clone());
                self.fail(at, format!("`{name}`: {}", error.message))
            }
        }
    }

    /// The arguments; none where one of them, or anything in it, is unknown.
    fn arguments(&mut self, call: &FuncCall, span: &Span) -> Option<Arguments> {
        let mut items: Vec<Located> =
            call.args.iter().map(|argument| self.evaluate(argument)).collect();
        if call.args.expand_final() {
            let last = items.pop()?;
            match last.value {
                Value::List(rest) => items.extend(rest.iter().cloned()),
                Value::Unknown => return None,
                other => {
                    self.fail(last.span, format!("`...` follows a list, not {}", other.kind()));
                    return None;
                }
            }
        }
        let known = items.iter().all(|item| !matches!(item.value, Value::Unknown));
        known.then(|| Arguments { items, span: span.clone() })
    }
}

fn arity(function: &Function, given: usize) -> String {
    let takes = match (function.least, function.most) {
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let noun = if takes.ends_with(" 1") || takes == "1" { "argument" } else { "arguments" };
    format!("`{}` takes {takes} {noun}, not {given}", function.name)
}
