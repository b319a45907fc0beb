//! Where a file declares what was found wrong after it was read.

use hcl_edit::{
    Span as _,
    expr::{Expression, ObjectKey},
    structure::{Block, Body, Structure},
};
use hornero_model::{ImageName, ServiceName};

use crate::{
    Place,
    error::Lines,
    parse::{body, text},
    section::header,
    value::Span,
};

/// The declarations of a file that was read before.
#[derive(Debug)]
pub struct Places {
    text: String,
    body: Body,
}

impl Places {
    /// Of a file's bytes; none where it is no HCL.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = text(bytes).ok()?.to_owned();
        let body = body("", &text).ok()?;
        Some(Self { text, body })
    }

    /// A key of a service's route, counted from 0; the route where it does not set that key itself.
    pub fn route(&self, service: &ServiceName, index: usize, key: &[&str]) -> Option<Place> {
        let service = named(&self.body, "service", service.as_str())?;
        let route = blocks(&service.body, "route").nth(index)?;
        Some(self.place(key_in(&route.body, key).unwrap_or_else(|| header(route))))
    }

    /// A package of an image; the list of them, or the image, where it is not written out.
    pub fn package(&self, image: &ImageName, package: &str) -> Option<Place> {
        let image = named(&self.body, "image", image.as_str())?;
        let Some(list) = image.body.get_attribute("packages").map(|attribute| &attribute.value)
        else {
            return Some(self.place(header(image)));
        };
        let literals = list.as_array().into_iter().flat_map(|items| items.iter());
        let literal = literals.into_iter().find(|item| item.as_str() == Some(package));
        let span = literal.and_then(|item| item.span()).or_else(|| list.span());
        Some(self.place(span.unwrap_or_else(|| header(image))))
    }

    fn place(&self, span: Span) -> Place {
        Lines::of(&self.text).place(span, String::new())
    }
}

fn blocks<'b>(body: &'b Body, kind: &'b str) -> impl Iterator<Item = &'b Block> {
    body.iter().filter_map(move |structure| match structure {
        Structure::Block(block) if block.ident.value().as_str() == kind => Some(block),
        Structure::Block(_) | Structure::Attribute(_) => None,
    })
}

fn named<'b>(body: &'b Body, kind: &'b str, name: &str) -> Option<&'b Block> {
    blocks(body, kind)
        .find(|block| block.labels.first().is_some_and(|label| label.as_str() == name))
}

/// The value of a key below a block, through blocks and objects.
fn key_in(body: &Body, key: &[&str]) -> Option<Span> {
    let (first, rest) = key.split_first()?;
    if let Some(attribute) = body.get_attribute(first) {
        return value_in(&attribute.value, rest);
    }
    let block = blocks(body, first).next()?;
    key_in(&block.body, rest).or_else(|| Some(header(block)))
}

fn value_in(value: &Expression, key: &[&str]) -> Option<Span> {
    let Some((first, rest)) = key.split_first() else { return value.span() };
    let fields = value.as_object().into_iter().flat_map(|object| object.iter());
    let field = fields.into_iter().find(|(name, _)| match name {
        ObjectKey::Ident(ident) => ident.value().as_str() == *first,
        ObjectKey::Expression(expression) => expression.as_str() == Some(*first),
    });
    field.and_then(|(_, field)| value_in(field.expr(), rest)).or_else(|| value.span())
}
