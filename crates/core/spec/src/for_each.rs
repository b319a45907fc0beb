//! `for`: expressions that make lists and objects of others, and the names they bind.

use std::{collections::BTreeMap, rc::Rc};

use hcl_edit::{Ident, Span as _, expr::ForExpr};

use crate::{
    evaluate::Evaluator,
    value::{Field, Located, Span, Value},
};

impl Evaluator {
    /// The value of a `for` expression.
    pub(crate) fn for_expression(&mut self, expression: &ForExpr, span: &Span) -> Value {
        let collection = self.evaluate(&expression.intro.collection_expr);
        let Some(entries) = self.entries(collection) else { return Value::Unknown };
        let names = (&expression.intro.key_var, &expression.intro.value_var);
        let mut items = Vec::new();
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        for (key, value) in entries {
            if !self.charge(1, 0, span) {
                return Value::Unknown;
            }
            let bound = self.bind(names.0.as_ref().map(|name| name.value()), names.1, key, value);
            let keep = expression
                .cond
                .as_ref()
                .is_none_or(|condition| self.condition(&condition.expr).unwrap_or(false));
            if keep {
                let value = self.evaluate(&expression.value_expr);
                match &expression.key_expr {
                    None => items.push(value),
                    Some(key) => {
                        let key_span = key.span().unwrap_or_default();
                        if let Some(name) = self.key(key) {
                            self.collect(&mut fields, name, key_span, value, expression.grouping);
                        }
                    }
                }
            }
            self.locals.truncate(bound);
        }
        match expression.key_expr {
            None => Value::list(items),
            Some(_) => Value::Map(Rc::new(fields)),
        }
    }

    /// Puts a value under a key that a `for` made; `grouping` makes lists of those with one key.
    fn collect(
        &mut self,
        fields: &mut BTreeMap<String, Field>,
        name: String,
        key_span: Span,
        value: Located,
        grouping: bool,
    ) {
        if !grouping {
            if fields.contains_key(&name) {
                self.fail(key_span, format!("this makes the key `{name}` twice"));
                return;
            }
            fields.insert(name, Field { key_span, value });
            return;
        }
        let span = value.span.clone();
        let field = fields
            .entry(name)
            .or_insert_with(|| Field { key_span, value: Located::new(Value::list(vec![]), span) });
        if let Value::List(items) = &mut field.value.value {
            Rc::make_mut(items).push(value);
        }
    }

    /// Binds the names of a `for`; returns how many were bound before.
    pub(crate) fn bind(
        &mut self,
        key_name: Option<&Ident>,
        value_name: &Ident,
        key: Located,
        value: Located,
    ) -> usize {
        let before = self.locals.len();
        if let Some(name) = key_name {
            self.locals.push((name.as_str().to_owned(), key));
        }
        self.locals.push((value_name.as_str().to_owned(), value));
        before
    }

    /// The keys and values that a `for` goes through.
    pub(crate) fn entries(&mut self, collection: Located) -> Option<Vec<(Located, Located)>> {
        match collection.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        (Located::new(Value::Number(index as f64), item.span.clone()), item.clone())
                    })
                    .collect(),
            ),
            Value::Map(fields) => Some(
                fields
                    .iter()
                    .map(|(name, field)| {
                        let key =
                            Located::new(Value::string(name.as_str()), field.key_span.clone());
                        (key, field.value.clone())
                    })
                    .collect(),
            ),
            Value::Unknown => None,
            other => {
                self.fail(
                    collection.span,
                    format!("`for` goes through a list or an object, not {}", other.kind()),
                );
                None
            }
        }
    }
}
