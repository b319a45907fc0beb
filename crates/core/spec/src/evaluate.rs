//! Evaluates expressions, with a place for every value and a budget for the whole file.

use std::{collections::BTreeMap, rc::Rc};

use hcl_edit::{
    Ident, Span as _,
    expr::{
        BinaryOp, BinaryOperator, Conditional, Expression, Object, ObjectKey, UnaryOp,
        UnaryOperator,
    },
};

use crate::{
    ErrorCode,
    error::Mistake,
    limits,
    suggest::{did_you_mean, nearest},
    value::{BlockKind, Field, Located, NUMBER_MAX, Reference, Span, Value},
};

/// Knows what is declared, and collects what goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Evaluator {
    /// What is wrong so far.
    pub mistakes: Vec<Mistake>,
    /// The names of each kind of block, with the place of the first of each.
    pub declared: BTreeMap<BlockKind, BTreeMap<String, Span>>,
    /// Variables and their values.
    pub variables: BTreeMap<String, Located>,
    /// Names bound by `for`, innermost last.
    pub(crate) locals: Vec<(String, Located)>,
    steps: u64,
    bytes: u64,
    exhausted: bool,
}

impl Evaluator {
    /// Reports a mistake.
    pub(crate) fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Reports a mistake in an expression; what comes of it is unknown.
    pub(crate) fn fail(&mut self, span: Span, message: impl Into<String>) -> Value {
        self.report(Mistake::new(ErrorCode::Expression, span, message));
        Value::Unknown
    }

    /// Takes from the budget; false once it is used up, which is reported once.
    pub(crate) fn charge(&mut self, steps: u64, bytes: u64, span: &Span) -> bool {
        self.steps = self.steps.saturating_add(steps);
        self.bytes = self.bytes.saturating_add(bytes);
        let spent = self.steps > limits::EVALUATION_STEPS || self.bytes > limits::EVALUATION_BYTES;
        if spent && !self.exhausted {
            self.exhausted = true;
            self.report(
                Mistake::new(
                    ErrorCode::TooLarge,
                    span.clone(),
                    "evaluating this takes more work than a `hornero.hcl` may",
                )
                .hint(format!(
                    "all expressions together may take {} steps and make {} bytes of text",
                    limits::EVALUATION_STEPS,
                    limits::EVALUATION_BYTES
                )),
            );
        }
        !spent
    }

    /// The value of an expression; unknown where that has been reported.
    pub(crate) fn evaluate(&mut self, expression: &Expression) -> Located {
        let span = expression.span().unwrap_or_default();
        if !self.charge(1, 0, &span) {
            return Located::unknown(span);
        }
        let value = match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(*value.value()),
            Expression::Number(number) => match number.value().as_f64() {
                Some(number) => self.number(number, span.clone()),
                None => self.fail(span.clone(), "this is not a finite number"),
            },
            Expression::String(text) => self.text(text.value(), &span),
            Expression::Array(items) => {
                Value::list(items.iter().map(|item| self.evaluate(item)).collect())
            }
            Expression::Object(object) => self.object(object),
            Expression::StringTemplate(template) => self.template(template, span.clone()),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template, span.clone()),
            Expression::Parenthesis(inner) => self.evaluate(inner.inner()).value,
            Expression::Variable(name) => self.name(name.value(), &span),
            Expression::Conditional(conditional) => self.conditional(conditional),
            Expression::FuncCall(call) => self.call(call, &span),
            Expression::Traversal(traversal) => self.traverse(traversal, &span),
            Expression::UnaryOp(operation) => self.unary(operation, &span),
            Expression::BinaryOp(operation) => self.binary(operation, &span),
            Expression::ForExpr(expression) => self.for_expression(expression, &span),
        };
        Located::new(value, span)
    }

    /// A number, refused when it is not finite or too large to be exact.
    pub(crate) fn number(&mut self, number: f64, span: Span) -> Value {
        if number.is_finite() && number.abs() <= NUMBER_MAX {
            Value::Number(number)
        } else {
            self.report(Mistake::new(
                ErrorCode::OutOfRange,
                span,
                format!("this number is too large: at most {NUMBER_MAX} is exact"),
            ));
            Value::Unknown
        }
    }

    /// A string, paid for.
    pub(crate) fn text(&mut self, text: &str, span: &Span) -> Value {
        if self.charge(0, text.len() as u64, span) { Value::string(text) } else { Value::Unknown }
    }

    /// A name on its own: bound by `for`, or a mistake.
    fn name(&mut self, name: &Ident, span: &Span) -> Value {
        if let Some(value) = self.local(name.as_str()) {
            return value;
        }
        if name.as_str() == "var" || BlockKind::of(name.as_str()).is_some() {
            self.report(
                Mistake::new(
                    ErrorCode::UnknownReference,
                    span.clone(),
                    format!("`{name}` alone means nothing"),
                )
                .hint(format!("add the name of the one you mean: `{name}.NAME`")),
            );
            return Value::Unknown;
        }
        let names: Vec<String> = self.locals.iter().map(|(name, _)| name.clone()).collect();
        let meant = did_you_mean(name.as_str(), names.iter().map(String::as_str));
        self.report(
            Mistake::new(
                ErrorCode::UnknownReference,
                span.clone(),
                format!("nothing is called `{name}`"),
            )
            .hint(meant.unwrap_or_else(|| format!("for a string, quote it: `\"{name}\"`"))),
        );
        Value::Unknown
    }

    /// The value bound to `name` by the innermost `for`.
    pub(crate) fn local(&self, name: &str) -> Option<Value> {
        self.locals.iter().rev().find(|(bound, _)| bound == name).map(|(_, at)| at.value.clone())
    }

    /// A block or variable meant by `root.name`.
    pub(crate) fn reference(&mut self, root: &str, name: &str, span: &Span) -> Value {
        if root == "var" {
            if let Some(value) = self.variables.get(name) {
                return value.value.clone();
            }
            let names: Vec<String> = self.variables.keys().cloned().collect();
            return self.undeclared("variable", "var", name, &names, span);
        }
        let kind = BlockKind::of(root).expect("the caller knows the roots");
        let declared = self.declared.get(&kind);
        if declared.is_some_and(|names| names.contains_key(name)) {
            return Value::Reference(Reference { kind, name: name.into() });
        }
        let names: Vec<String> = declared.into_iter().flat_map(|all| all.keys().cloned()).collect();
        self.undeclared(kind.word(), root, name, &names, span)
    }

    fn undeclared(
        &mut self,
        kind: &str,
        root: &str,
        name: &str,
        names: &[String],
        span: &Span,
    ) -> Value {
        let hint = match nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{root}.{meant}`?"),
            None if names.is_empty() => format!("the file declares no {kind}"),
            None => format!(
                "declared are {}",
                names
                    .iter()
                    .take(10)
                    .map(|name| format!("`{root}.{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        self.report(
            Mistake::new(
                ErrorCode::UnknownReference,
                span.clone(),
                format!("there is no {kind} `{name}`"),
            )
            .hint(hint),
        );
        Value::Unknown
    }

    fn object(&mut self, object: &Object) -> Value {
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        for (key, value) in object.iter() {
            let key_span = key.span().unwrap_or_default();
            let name = match key {
                ObjectKey::Ident(name) => Some(name.value().as_str().to_owned()),
                ObjectKey::Expression(expression) => self.key(expression),
            };
            let value = self.evaluate(value.expr());
            let Some(name) = name else { continue };
            if let Some(first) = fields.get(&name) {
                self.report(
                    Mistake::new(
                        ErrorCode::DuplicateName,
                        key_span,
                        format!("key `{name}` is set twice"),
                    )
                    .related(first.key_span.clone(), "first set here"),
                );
                continue;
            }
            fields.insert(name, Field { key_span, value });
        }
        Value::Map(Rc::new(fields))
    }

    /// The text of an expression that stands as a key.
    pub(crate) fn key(&mut self, expression: &Expression) -> Option<String> {
        let key = self.evaluate(expression);
        match key.value {
            Value::String(text) => Some(text.to_string()),
            Value::Number(number) => Some(crate::value::number_text(number)),
            Value::Bool(value) => Some(value.to_string()),
            Value::Unknown => None,
            other => {
                self.fail(key.span, format!("a key must be a string, not {}", other.kind()));
                None
            }
        }
    }

    fn conditional(&mut self, conditional: &Conditional) -> Value {
        match self.condition(&conditional.cond_expr) {
            Some(true) => self.evaluate(&conditional.true_expr).value,
            Some(false) => self.evaluate(&conditional.false_expr).value,
            None => Value::Unknown,
        }
    }

    /// The truth of a condition.
    pub(crate) fn condition(&mut self, expression: &Expression) -> Option<bool> {
        let condition = self.evaluate(expression);
        match condition.value {
            Value::Bool(value) => Some(value),
            Value::Unknown => None,
            other => {
                self.fail(
                    condition.span,
                    format!("a condition must be a bool, not {}", other.kind()),
                );
                None
            }
        }
    }

    fn unary(&mut self, operation: &UnaryOp, span: &Span) -> Value {
        let operand = self.evaluate(&operation.expr);
        match (operation.operator.value(), operand.value) {
            (_, Value::Unknown) => Value::Unknown,
            (UnaryOperator::Not, Value::Bool(value)) => Value::Bool(!value),
            (UnaryOperator::Neg, Value::Number(number)) => Value::Number(-number),
            (operator, other) => self.fail(
                span.clone(),
                format!("`{}` does not apply to {}", operator.as_str(), other.kind()),
            ),
        }
    }

    fn binary(&mut self, operation: &BinaryOp, span: &Span) -> Value {
        let left = self.evaluate(&operation.lhs_expr);
        let right = self.evaluate(&operation.rhs_expr);
        let operator = *operation.operator.value();
        match (left.value, right.value) {
            (Value::Unknown, _) | (_, Value::Unknown) => Value::Unknown,
            (left, right) if matches!(operator, BinaryOperator::Eq | BinaryOperator::NotEq) => {
                if !self.charge(left.weight().min(right.weight()), 0, span) {
                    return Value::Unknown;
                }
                Value::Bool(left.same(&right) == (operator == BinaryOperator::Eq))
            }
            (Value::Number(left), Value::Number(right)) => {
                self.arithmetic(operator, left, right, span)
            }
            (Value::Bool(left), Value::Bool(right)) if operator == BinaryOperator::And => {
                Value::Bool(left && right)
            }
            (Value::Bool(left), Value::Bool(right)) if operator == BinaryOperator::Or => {
                Value::Bool(left || right)
            }
            (left, right) => self.fail(
                span.clone(),
                format!(
                    "`{}` does not apply to {} and {}",
                    operator.as_str(),
                    left.kind(),
                    right.kind()
                ),
            ),
        }
    }

    fn arithmetic(
        &mut self,
        operator: BinaryOperator,
        left: f64,
        right: f64,
        span: &Span,
    ) -> Value {
        let number = match operator {
            BinaryOperator::Plus => left + right,
            BinaryOperator::Minus => left - right,
            BinaryOperator::Mul => left * right,
            BinaryOperator::Div | BinaryOperator::Mod if right == 0.0 => {
                return self.fail(span.clone(), "this divides by zero");
            }
            BinaryOperator::Div => left / right,
            BinaryOperator::Mod => left % right,
            BinaryOperator::Less => return Value::Bool(left < right),
            BinaryOperator::LessEq => return Value::Bool(left <= right),
            BinaryOperator::Greater => return Value::Bool(left > right),
            BinaryOperator::GreaterEq => return Value::Bool(left >= right),
            BinaryOperator::Eq => return Value::Bool(left == right),
            BinaryOperator::NotEq => return Value::Bool(left != right),
            BinaryOperator::And | BinaryOperator::Or => {
                return self.fail(
                    span.clone(),
                    format!("`{}` does not apply to a number and a number", operator.as_str()),
                );
            }
        };
        self.number(number, span.clone())
    }
}
