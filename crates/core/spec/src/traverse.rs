//! Traversals: `var.sizes[0]`, `image.base`, `var.ports[*].name`.

use hcl_edit::{
    Span as _,
    expr::{Expression, Traversal, TraversalOperator},
};

use crate::{
    evaluate::Evaluator,
    suggest::did_you_mean,
    value::{BlockKind, Located, Span, Value},
};

impl Evaluator {
    /// The value of a traversal.
    pub(crate) fn traverse(&mut self, traversal: &Traversal, span: &Span) -> Value {
        let operators: Vec<&TraversalOperator> =
            traversal.operators.iter().map(|operator| operator.value()).collect();
        if let (Expression::Variable(root), [first, rest @ ..]) =
            (&traversal.expr, operators.as_slice())
        {
            let root = root.value().as_str();
            let known = root == "var" || BlockKind::of(root).is_some();
            if known && self.local(root).is_none() {
                let Some(name) = self.name_of(first) else { return Value::Unknown };
                let from = traversal.expr.span().unwrap_or_default().start;
                let to = traversal.operators[0].span().map_or(span.end, |first| first.end);
                let value = self.reference(root, &name, &(from..to));
                return self.follow(value, rest, span);
            }
        }
        let value = self.evaluate(&traversal.expr).value;
        self.follow(value, &operators, span)
    }

    /// The name after a root, as `.name` or `["name"]`.
    fn name_of(&mut self, operator: &TraversalOperator) -> Option<String> {
        match operator {
            TraversalOperator::GetAttr(name) => Some(name.value().as_str().to_owned()),
            TraversalOperator::Index(index) => {
                let index = self.evaluate(index);
                match index.value {
                    Value::String(name) => Some(name.to_string()),
                    Value::Unknown => None,
                    other => {
                        self.fail(
                            index.span,
                            format!("a name must be a string, not {}", other.kind()),
                        );
                        None
                    }
                }
            }
            TraversalOperator::AttrSplat(_)
            | TraversalOperator::FullSplat(_)
            | TraversalOperator::LegacyIndex(_) => {
                let span = operator.span().unwrap_or_default();
                self.fail(span, "a reference names one thing, such as `image.base`");
                None
            }
        }
    }

    fn follow(&mut self, value: Value, operators: &[&TraversalOperator], span: &Span) -> Value {
        let mut value = value;
        let mut rest = operators;
        while let [operator, after @ ..] = rest {
            rest = after;
            if matches!(value, Value::Unknown) || !self.charge(1, 0, span) {
                return Value::Unknown;
            }
            let at = operator.span().unwrap_or_else(|| span.clone());
            value = match operator {
                TraversalOperator::GetAttr(name) => {
                    self.attribute(&value, name.value().as_str(), &at)
                }
                TraversalOperator::Index(index) => {
                    let index = self.evaluate(index);
                    self.index(&value, &index)
                }
                TraversalOperator::LegacyIndex(index) => {
                    let index = Located::new(Value::Number(*index.value() as f64), at);
                    self.index(&value, &index)
                }
                TraversalOperator::AttrSplat(_) => {
                    let count = rest
                        .iter()
                        .take_while(|next| matches!(next, TraversalOperator::GetAttr(_)))
                        .count();
                    let (each, after) = rest.split_at(count);
                    rest = after;
                    self.splat(value, each, span)
                }
                TraversalOperator::FullSplat(_) => {
                    let each = std::mem::take(&mut rest);
                    self.splat(value, each, span)
                }
            };
        }
        value
    }

    /// Follows `operators` from every element; a value that is no list counts as a list of one, `null` as none.
    fn splat(&mut self, value: Value, operators: &[&TraversalOperator], span: &Span) -> Value {
        let items = match value {
            Value::Null => return Value::list(vec![]),
            Value::List(items) => items.to_vec(),
            other => vec![Located::new(other, span.clone())],
        };
        if !self.charge(items.len() as u64, 0, span) {
            return Value::Unknown;
        }
        let items = items.into_iter().map(|item| {
            let value = self.follow(item.value, operators, span);
            Located::new(value, item.span)
        });
        Value::list(items.collect())
    }

    fn attribute(&mut self, value: &Value, name: &str, span: &Span) -> Value {
        match value {
            Value::Map(fields) => match fields.get(name) {
                Some(field) => field.value.value.clone(),
                None => {
                    let meant = did_you_mean(name, fields.keys().map(String::as_str));
                    self.report(
                        crate::error::Mistake::new(
                            crate::ErrorCode::Expression,
                            span.clone(),
                            format!("this object has no key `{name}`"),
                        )
                        .maybe_hint(meant),
                    );
                    Value::Unknown
                }
            },
            Value::Reference(reference) => self.fail(
                span.clone(),
                format!("`{reference}` can only be referred to: it has no attributes to read"),
            ),
            other => self.fail(span.clone(), format!("{} has no key `{name}`", other.kind())),
        }
    }

    fn index(&mut self, value: &Value, index: &Located) -> Value {
        match (value, &index.value) {
            (_, Value::Unknown) => Value::Unknown,
            (Value::Map(_), Value::String(name)) => self.attribute(value, name, &index.span),
            (Value::List(items), Value::Number(number)) => {
                let found = (number.fract() == 0.0 && *number >= 0.0)
                    .then(|| items.get(*number as usize))
                    .flatten();
                match found {
                    Some(item) => item.value.clone(),
                    None => self.fail(
                        index.span.clone(),
                        format!("this list of {} has no element {number}", items.len()),
                    ),
                }
            }
            (value, key) => self.fail(
                index.span.clone(),
                format!("{} can't be indexed by {}", value.kind(), key.kind()),
            ),
        }
    }
}
