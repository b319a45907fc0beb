//! `editor`: what editors need to know `hornero.hcl`: a JSON schema and a TextMate grammar, both from the vocabulary.

use std::collections::BTreeSet;

use hornero_spec::vocabulary::{BlockWords, KeyWords, TOP, ValueKind, functions};
use serde_json::{Map, Value, json};

use crate::arguments::EditorFile;

/// The file's contents.
pub fn contents(file: EditorFile) -> Value {
    match file {
        EditorFile::Schema => schema(),
        EditorFile::Grammar => grammar(),
    }
}

/// JSON Schema 2020-12 of the file in HCL's JSON form (HCL JSON Syntax Specification, "Structural Elements").
fn schema() -> Value {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    for block in TOP {
        properties.insert(block.name.to_owned(), labelled(block, "", &mut definitions));
    }
    definitions.insert(
        "expression".to_owned(),
        json!({
            "type": "string",
            "pattern": "\\$\\{",
            "description": "text with an expression, such as `${var.port}`",
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hornero.hcl",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn labelled(block: &BlockWords, parent: &str, definitions: &mut Map<String, Value>) -> Value {
    let body = json!({ "$ref": format!("#/$defs/{}", define(block, parent, definitions)) });
    match (block.label, block.part) {
        (Some(label), _) => json!({
            "type": "object",
            "description": format!("{}, by {label}", block.meaning),
            "additionalProperties": body,
        }),
        (None, true) => body,
        (None, false) => json!({ "anyOf": [body, { "type": "array", "items": body }] }),
    }
}

/// Adds the definition of a block; gives its name, which tells by its parent two kinds of blocks apart that are called alike.
fn define(block: &BlockWords, parent: &str, definitions: &mut Map<String, Value>) -> String {
    let mut properties = Map::new();
    for key in block.keys {
        properties.insert(key.name.to_owned(), value(key));
    }
    for inner in block.blocks {
        properties.insert(inner.name.to_owned(), labelled(inner, block.name, definitions));
    }
    let required: Vec<&str> =
        block.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let definition = json!({
        "type": "object",
        "description": block.meaning,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let is_taken = definitions.get(block.name).is_some_and(|other| *other != definition);
    let name = match is_taken {
        true => format!("{parent}_{}", block.name),
        false => block.name.to_owned(),
    };
    definitions.insert(name.clone(), definition);
    name
}

fn value(key: &KeyWords) -> Value {
    let text = json!({ "type": "string" });
    let described = |mut value: Value| {
        value["description"] = key.meaning.into();
        value
    };
    // Where no text stands, text can only be an expression.
    let or_expression =
        |value: Value| described(json!({ "anyOf": [value, { "$ref": "#/$defs/expression" }] }));
    match key.value {
        ValueKind::Text | ValueKind::Reference => described(text),
        ValueKind::Word(words) => or_expression(json!({ "enum": words })),
        ValueKind::Flag => or_expression(json!({ "type": "boolean" })),
        ValueKind::Whole => or_expression(json!({ "type": "integer" })),
        ValueKind::Number => or_expression(json!({ "type": "number" })),
        ValueKind::Duration => {
            or_expression(json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$" }))
        }
        ValueKind::Size => or_expression(
            json!({ "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)$" }),
        ),
        ValueKind::Texts | ValueKind::References => {
            or_expression(json!({ "type": "array", "items": text }))
        }
        ValueKind::Commands => or_expression(json!({
            "type": "array",
            "items": { "type": "array", "items": { "type": "string" } },
        })),
        ValueKind::Map => or_expression(json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        })),
        ValueKind::Scratch => {
            let sized = json!({
                "type": "object",
                "properties": { "path": text, "size": text },
                "required": ["path"],
                "additionalProperties": false,
            });
            or_expression(json!({ "type": "array", "items": { "anyOf": [text, sized] } }))
        }
        ValueKind::Any => described(json!({})),
    }
}

/// A TextMate grammar (macromates.com/manual/en/language_grammars).
fn grammar() -> Value {
    let (mut blocks, mut keys) = (BTreeSet::new(), BTreeSet::new());
    TOP.iter().for_each(|block| collect(block, &mut blocks, &mut keys));
    let either = |words: &BTreeSet<&str>| words.iter().copied().collect::<Vec<_>>().join("|");
    let functions: BTreeSet<&str> = functions().collect();
    json!({
        "name": "hornero.hcl",
        "scopeName": "source.hornero",
        "fileTypes": ["hornero.hcl"],
        "patterns": [
            { "include": "#comments" },
            {
                "match": format!("^\\s*({})(?=[\\s{{\"])(?!\\s*=)", either(&blocks)),
                "captures": { "1": { "name": "entity.name.type.block.hornero" } },
            },
            {
                "match": format!("\\b({})\\s*(=)(?![=>])", either(&keys)),
                "captures": {
                    "1": { "name": "variable.other.property.hornero" },
                    "2": { "name": "keyword.operator.assignment.hornero" },
                },
            },
            { "include": "#expression" },
        ],
        "repository": {
            "comments": { "patterns": [
                { "name": "comment.line.hornero", "match": "(#|//).*$" },
                { "name": "comment.block.hornero", "begin": "/\\*", "end": "\\*/" },
            ] },
            "expression": { "patterns": expressions(&either(&functions)) },
            "string": {
                "name": "string.quoted.double.hornero",
                "begin": "\"",
                "end": "\"",
                "patterns": [
                    { "name": "constant.character.escape.hornero", "match": "\\\\.|\\$\\$\\{|%%\\{" },
                    { "include": "#interpolation" },
                ],
            },
            "interpolation": {
                "name": "meta.interpolation.hornero",
                "begin": "[$%]\\{",
                "end": "\\}",
                "patterns": [{ "include": "#expression" }],
            },
        },
    })
}

/// What stands where a value does; `functions` are the names of all, with `|` between them.
fn expressions(functions: &str) -> Value {
    json!([
        { "include": "#comments" },
        { "include": "#string" },
        {
            "name": "string.unquoted.heredoc.hornero",
            "begin": "<<-?\\s*([A-Za-z_][A-Za-z0-9_-]*)",
            "end": "^\\s*\\1\\s*$",
            "patterns": [{ "include": "#interpolation" }],
        },
        {
            "name": "constant.numeric.hornero",
            "match": "\\b[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?\\b",
        },
        { "name": "constant.language.hornero", "match": "\\b(true|false|null)\\b" },
        { "name": "keyword.control.hornero", "match": "\\b(for|in|if)\\b" },
        {
            "match": format!("\\b({functions})(?=\\()"),
            "name": "support.function.hornero",
        },
        {
            "match": "\\b(image|service|volume|var)(\\.)([A-Za-z_][A-Za-z0-9_-]*)",
            "captures": {
                "1": { "name": "support.constant.hornero" },
                "3": { "name": "variable.other.member.hornero" },
            },
        },
        {
            "name": "keyword.operator.hornero",
            "match": "=>|==|!=|<=|>=|&&|\\|\\||\\.\\.\\.|[+*/%<>!?:-]",
        },
    ])
}

fn collect(
    block: &'static BlockWords,
    blocks: &mut BTreeSet<&'static str>,
    keys: &mut BTreeSet<&'static str>,
) {
    blocks.insert(block.name);
    keys.extend(block.keys.iter().map(|key| key.name));
    for inner in block.blocks {
        if inner.part {
            keys.insert(inner.name);
        }
        collect(inner, blocks, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    /// The files that are published are those that this program prints.
    #[test]
    fn published_files_are_up_to_date() {
        let text = |file| serde_json::to_string_pretty(&contents(file)).expect("it is JSON") + "\n";
        expect_file!["../../../../../editors/hornero.schema.json"]
            .assert_eq(&text(EditorFile::Schema));
        expect_file!["../../../../../editors/hornero.tmLanguage.json"]
            .assert_eq(&text(EditorFile::Grammar));
    }
}
