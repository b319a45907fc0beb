//! String templates: interpolation, `%{if}` and `%{for}`, and the `~` that strips spaces.

use hcl_edit::template::{Directive, Element, ForDirective, IfDirective, Strip, Template};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    value::{Span, Value, number_text},
};

impl Evaluator {
    /// The value of a template; one that is nothing but an interpolation keeps its value's type, as in HCL.
    pub(crate) fn template(&mut self, template: &Template, span: Span) -> Value {
        if let Some(Element::Interpolation(only)) = template.as_single_element() {
            return self.evaluate(&only.expr).value;
        }
        let mut text = String::new();
        match self.render(&mut text, template, Strip::None, Strip::None, &span) {
            Some(()) => Value::string(text),
            None => Value::Unknown,
        }
    }

    /// The text that a file's template comes to; none where something is wrong with it, which is reported at `span`, the
    /// place that names the file.
    pub(crate) fn template_of_file(
        &mut self,
        file: &str,
        text: &str,
        span: &Span,
    ) -> Option<String> {
        let template = match hcl_edit::parser::parse_template(text) {
            Ok(template) => template,
            Err(error) => {
                let at = error.location().offset();
                let mistake = Mistake::new(ErrorCode::Syntax, at..at, error.message());
                self.report(mistake.in_file(file, text, span.clone()).hint(
                    "`${` and `%{` begin expressions; write `$${` and `%%{` for the letters themselves",
                ));
                return None;
            }
        };
        let before = self.mistakes.len();
        let value = self.template(&template, span.clone());
        let found = self.mistakes.split_off(before);
        self.mistakes.extend(found.into_iter().map(|it| it.in_file(file, text, span.clone())));
        let rendered = crate::value::text_of(&value);
        if rendered.is_none() && !matches!(value, Value::Unknown) {
            self.fail(span.clone(), format!("`{file}` comes to {}, not to text", value.kind()));
        }
        rendered.map(|text| text.to_string())
    }

    /// Appends a template's text; none where something in it is unknown.
    fn render(
        &mut self,
        out: &mut String,
        template: &Template,
        before: Strip,
        after: Strip,
        span: &Span,
    ) -> Option<()> {
        let elements: Vec<&Element> = template.iter().collect();
        let mut known = Some(());
        for (index, element) in elements.iter().enumerate() {
            let left = index.checked_sub(1).map_or(before, |left| right_strip(elements[left]));
            let right = elements.get(index + 1).map_or(after, |right| left_strip(right));
            let part = match element {
                Element::Literal(literal) => {
                    let literal = stripped(literal.value(), left, right);
                    self.push(out, literal, span)
                }
                Element::Interpolation(interpolation) => {
                    self.interpolate(out, &interpolation.expr, span)
                }
                Element::Directive(directive) => match &**directive {
                    Directive::If(directive) => self.render_if(out, directive, span),
                    Directive::For(directive) => self.render_for(out, directive, span),
                },
            };
            known = known.and(part);
        }
        known
    }

    fn push(&mut self, out: &mut String, text: &str, span: &Span) -> Option<()> {
        // What is written is paid for at each step, so that the text never outgrows the budget.
        self.charge(1, text.len() as u64, span).then(|| out.push_str(text))
    }

    fn interpolate(
        &mut self,
        out: &mut String,
        expression: &hcl_edit::expr::Expression,
        span: &Span,
    ) -> Option<()> {
        let found = self.evaluate(expression);
        match found.value {
            Value::String(text) => self.push(out, &text, span),
            Value::Number(number) => self.push(out, &number_text(number), span),
            Value::Bool(value) => self.push(out, if value { "true" } else { "false" }, span),
            Value::Unknown => None,
            other @ (Value::Null | Value::List(_) | Value::Map(_) | Value::Reference(_)) => {
                self.fail(found.span, format!("{} has no text to put here", other.kind()));
                None
            }
        }
    }

    fn render_if(&mut self, out: &mut String, directive: &IfDirective, span: &Span) -> Option<()> {
        let end = directive.endif_expr.strip;
        let start = directive.if_expr.strip;
        match (self.condition(&directive.if_expr.cond_expr)?, &directive.else_expr) {
            (true, other) => {
                let after = other.as_ref().map_or(end, |other| other.strip);
                self.render(out, &directive.if_expr.template, start, after, span)
            }
            (false, Some(other)) => self.render(out, &other.template, other.strip, end, span),
            (false, None) => Some(()),
        }
    }

    fn render_for(
        &mut self,
        out: &mut String,
        directive: &ForDirective,
        span: &Span,
    ) -> Option<()> {
        let head = &directive.for_expr;
        let collection = self.evaluate(&head.collection_expr);
        for (key, value) in self.entries(collection)? {
            if !self.charge(1, 0, span) {
                return None;
            }
            let key_name = head.key_var.as_ref().map(|name| name.value());
            let bound = self.bind(key_name, head.value_var.value(), key, value);
            let known =
                self.render(out, &head.template, head.strip, directive.endfor_expr.strip, span);
            self.locals.truncate(bound);
            known?;
        }
        Some(())
    }
}

/// What an element asks of the literal before it.
fn left_strip(element: &Element) -> Strip {
    match element {
        Element::Literal(_) => Strip::None,
        Element::Interpolation(interpolation) => interpolation.strip,
        Element::Directive(directive) => match &**directive {
            Directive::If(directive) => directive.if_expr.strip,
            Directive::For(directive) => directive.for_expr.strip,
        },
    }
}

/// What an element asks of the literal after it.
fn right_strip(element: &Element) -> Strip {
    match element {
        Element::Literal(_) => Strip::None,
        Element::Interpolation(interpolation) => interpolation.strip,
        Element::Directive(directive) => match &**directive {
            Directive::If(directive) => directive.endif_expr.strip,
            Directive::For(directive) => directive.endfor_expr.strip,
        },
    }
}

/// A literal without the spaces, and the one line break, that a `~` beside it strips.
fn stripped(literal: &str, before: Strip, after: Strip) -> &str {
    let space = |letter: char| letter.is_whitespace() && letter != '\r' && letter != '\n';
    let mut literal = literal;
    if before.strip_end() {
        literal = literal.trim_start_matches(space);
        literal = literal.strip_prefix("\r\n").or(literal.strip_prefix('\n')).unwrap_or(literal);
    }
    if after.strip_start() {
        literal = literal.trim_end_matches(space);
        literal = literal.strip_suffix("\r\n").or(literal.strip_suffix('\n')).unwrap_or(literal);
    }
    literal
}
