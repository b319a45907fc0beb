//! What a function of expressions is: its arguments, checked; [`crate::library`] holds what they do.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    limits,
    value::{Field, Located, Span, Value, text_of},
};

/// Why a call fails, and which argument is at fault where one is.
#[derive(Debug)]
pub(crate) struct CallError {
    pub argument: Option<usize>,
    pub message: String,
}

impl CallError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { argument: None, message: message.into() }
    }

    pub(crate) fn at(argument: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), message: message.into() }
    }
}

/// The evaluated arguments of a call; none of them is unknown.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub items: Vec<Located>,
    pub span: Span,
}

/// A function that expressions can call.
pub(crate) struct Function {
    pub name: &'static str,
    pub least: usize,
    pub most: usize,
    pub body: fn(&Arguments) -> Result<Value, CallError>,
}

impl Arguments {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn value(&self, index: usize) -> &Value {
        &self.items[index].value
    }

    /// An argument as text; numbers and bools are written out, as HCL has it.
    pub(crate) fn text(&self, index: usize) -> Result<Rc<str>, CallError> {
        text_of(self.value(index)).ok_or_else(|| self.expected(index, "a string"))
    }

    pub(crate) fn number(&self, index: usize) -> Result<f64, CallError> {
        match self.value(index) {
            Value::Number(number) => Ok(*number),
            _ => Err(self.expected(index, "a number")),
        }
    }

    /// An argument as a whole number that is not negative.
    pub(crate) fn count(&self, index: usize) -> Result<usize, CallError> {
        let number = self.number(index)?;
        if number.fract() == 0.0 && number >= 0.0 {
            Ok(number as usize)
        } else {
            Err(CallError::at(index, "this must be a whole number that is not negative"))
        }
    }

    pub(crate) fn list(&self, index: usize) -> Result<&[Located], CallError> {
        match self.value(index) {
            Value::List(items) => Ok(items),
            _ => Err(self.expected(index, "a list")),
        }
    }

    pub(crate) fn map(&self, index: usize) -> Result<&BTreeMap<String, Field>, CallError> {
        match self.value(index) {
            Value::Map(fields) => Ok(fields),
            _ => Err(self.expected(index, "an object")),
        }
    }

    fn expected(&self, index: usize, what: &str) -> CallError {
        CallError::at(index, format!("this must be {what}, not {}", self.value(index).kind()))
    }
}

/// Refuses to make a text that alone would use up the budget.
pub(crate) fn sized(bytes: u64) -> Result<(), CallError> {
    if bytes > limits::EVALUATION_BYTES {
        return Err(CallError::new("this makes a text that is too long"));
    }
    Ok(())
}
