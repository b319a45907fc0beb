//! Holds what commands print with `--json` against `docs/reference/reports.json`: what is required there is printed, and
//! what is printed is described there.
//!
//! It understands what our schemas are made of, and fails at any other keyword. A validator for all of JSON Schema would
//! let through what nobody described, and brings more than this file (decision 0042).

use std::{collections::BTreeSet, fs, path::Path, sync::OnceLock};

use serde_json::{Deserializer, Value, json};

use crate::home::Answer;

/// Keywords that say nothing about what may be printed, or only what the types of the values hold anyway.
const REMARKS: &[&str] =
    &["description", "title", "default", "format", "pattern", "required", "unevaluatedProperties"];

/// What schemas describe of an object.
enum Described {
    /// These fields.
    Fields(BTreeSet<String>),
    /// Whatever is there.
    Anything,
}

impl Described {
    fn none() -> Self {
        Self::Fields(BTreeSet::new())
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fields(mut fields), Self::Fields(more)) => {
                fields.extend(more);
                Self::Fields(fields)
            }
            (Self::Anything, _) | (_, Self::Anything) => Self::Anything,
        }
    }
}

type Found = Result<Described, String>;

/// The page.
struct Schemas(Value);

impl Schemas {
    fn read() -> &'static Self {
        static READ: OnceLock<Schemas> = OnceLock::new();
        READ.get_or_init(|| {
            let page = "../../../docs/reference/reports.json";
            let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page));
            Self(serde_json::from_str(&page.unwrap()).unwrap())
        })
    }

    /// What the page says of a command as it was typed, and of that command with an argument that it was given; nothing for
    /// one that prints no data of Hornero's.
    fn entries(&self, typed: &[&str]) -> Vec<&Value> {
        let mut fitting = Vec::new();
        for (key, entry) in self.0["commands"].as_object().unwrap() {
            let words: Vec<&str> = key.split(' ').collect();
            let is_word = |word: &&&str| word.chars().all(|one| one.is_lowercase() || one == '-');
            let is_option = |word: &str| word.starts_with("--");
            let command = words.iter().take_while(|word| is_word(word) && !is_option(word)).count();
            let is_given = match words.get(command) {
                None => true,
                Some(option) if is_option(option) => typed.contains(option),
                Some(_) => typed.get(command).is_some_and(|word| !word.starts_with('-')),
            };
            if typed.starts_with(&words[..command]) && is_given {
                fitting.push((command, entry));
            }
        }
        let longest = fitting.iter().map(|(command, _)| *command).max();
        fitting.retain(|(command, _)| Some(*command) == longest);
        fitting.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Why a value is nothing of what a command prints that ended with `code`.
    fn refuses_all(&self, entries: &[&Value], code: i32, value: &Value) -> Option<String> {
        let tried = entries.iter().map(|entry| self.refuses(entry, code, value.clone()));
        let refused: Option<Vec<String>> = tried.collect();
        Some(refused?.join("; or "))
    }

    /// Why a value is not what one entry says.
    fn refuses(&self, entry: &Value, code: i32, mut value: Value) -> Option<String> {
        if code == 0 || value.get("error").is_none() {
            return self.whole(&entry["schema"], &value, "").err();
        }
        if value.get("errors").is_some() {
            return self.whole(&self.0["mistakes"], &value, "").err();
        }
        let error = value.as_object_mut().and_then(|fields| fields.remove("error"));
        if let Err(why) = self.whole(&self.0["error"], &error.unwrap(), "/error") {
            return Some(why);
        }
        let beside = entry.get("beside_error").map(|schema| self.whole(schema, &value, ""));
        if value == json!({}) || matches!(beside, Some(Ok(()))) {
            return None;
        }
        self.whole(&entry["schema"], &value, "").err()
    }

    /// Whether a value is as its schema says, and described to its last field.
    fn whole(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let described = self.part(schema, value, place)?;
        let (Described::Fields(described), Some(fields)) = (described, value.as_object()) else {
            return Ok(());
        };
        match fields.keys().find(|name| !described.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(format!("{place}/{name} is not described")),
        }
    }

    /// What one schema of perhaps several describes of a value, or why it refuses it.
    fn part(&self, schema: &Value, value: &Value, place: &str) -> Found {
        if let Value::Bool(anything) = schema {
            return if *anything {
                Ok(Described::Anything)
            } else {
                Err(format!("{place} is there"))
            };
        }
        let keywords = schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}"));
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if value.get(name).is_none() {
                return Err(format!("{place}/{name} is missing"));
            }
        }
        if keywords.keys().all(|keyword| REMARKS.contains(&&**keyword)) {
            return Ok(Described::Anything);
        }
        let mut described = Described::none();
        for (keyword, says) in keywords {
            described = described.and(self.keyword(keyword, says, schema, value, place)?);
        }
        Ok(described)
    }

    fn keyword(
        &self,
        keyword: &str,
        says: &Value,
        schema: &Value,
        value: &Value,
        place: &str,
    ) -> Found {
        let refuse = |fits: bool| match fits {
            true => Ok(Described::none()),
            false => Err(format!("{place} is {value}, and `{keyword}` says {says}")),
        };
        match keyword {
            "$ref" => {
                let pointer = says.as_str().unwrap().trim_start_matches('#');
                let schema = self.0.pointer(pointer).unwrap_or_else(|| panic!("no `{says}`"));
                self.part(schema, value, place)
            }
            "type" => {
                let types = says.as_array().map_or(std::slice::from_ref(says), Vec::as_slice);
                refuse(types.iter().any(|name| is_a(value, name.as_str().unwrap())))
            }
            "const" => refuse(value == says),
            "enum" => refuse(says.as_array().unwrap().contains(value)),
            "minimum" => refuse(value.as_f64() >= says.as_f64() || !value.is_number()),
            "maximum" => refuse(value.as_f64() <= says.as_f64()),
            "minItems" => refuse(!value.is_array() || length(value) >= says.as_u64()),
            "maxItems" => refuse(length(value) <= says.as_u64()),
            "items" | "prefixItems" => self.items(says, value, place),
            "properties" => self.properties(says, value, place),
            "additionalProperties" | "patternProperties" => {
                self.others(keyword, says, schema, value, place)
            }
            "oneOf" | "anyOf" => self.alternatives(keyword, says, value, place),
            "allOf" => {
                says.as_array().unwrap().iter().try_fold(Described::none(), |all, one| {
                    Ok(all.and(self.part(one, value, place)?))
                })
            }
            remark if REMARKS.contains(&remark) => Ok(Described::none()),
            other => panic!("`{other}` of {schema} is not understood here"),
        }
    }

    fn items(&self, says: &Value, value: &Value, place: &str) -> Found {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            let schema = if says.is_array() { &says[index] } else { says };
            self.whole(schema, item, &format!("{place}/{index}"))?;
        }
        Ok(Described::none())
    }

    fn properties(&self, says: &Value, value: &Value, place: &str) -> Found {
        let known = says.as_object().unwrap();
        for (name, schema) in known {
            if let Some(field) = value.get(name) {
                self.whole(schema, field, &format!("{place}/{name}"))?;
            }
        }
        Ok(Described::Fields(known.keys().cloned().collect()))
    }

    /// Fields that are not named one by one, as those of a map.
    fn others(
        &self,
        keyword: &str,
        says: &Value,
        schema: &Value,
        value: &Value,
        place: &str,
    ) -> Found {
        if *says == json!(false) {
            return Ok(Described::none());
        }
        // The names' patterns are those of the types that the maps have as keys.
        let says = match keyword {
            "patternProperties" => says.as_object().unwrap().values().next().unwrap(),
            _ => says,
        };
        for (name, field) in value.as_object().into_iter().flatten() {
            if schema["properties"].get(name).is_none() {
                self.whole(says, field, &format!("{place}/{name}"))?;
            }
        }
        Ok(Described::Anything)
    }

    fn alternatives(&self, keyword: &str, says: &Value, value: &Value, place: &str) -> Found {
        let tried = says.as_array().unwrap().iter().map(|one| self.part(one, value, place));
        let (fitting, refused): (Vec<_>, Vec<_>) = tried.partition(Result::is_ok);
        if fitting.is_empty() || (keyword == "oneOf" && fitting.len() > 1) {
            let why: Vec<String> = refused.into_iter().filter_map(Result::err).collect();
            let count = fitting.len();
            return Err(format!("{place} fits {count} of `{keyword}`: {}", why.join("; ")));
        }
        let fitting = fitting.into_iter().flatten();
        Ok(fitting.fold(Described::none(), Described::and))
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type: {other}"),
    }
}

fn length(value: &Value) -> Option<u64> {
    value.as_array().map(|items| items.len() as u64)
}

/// Insists that what a command printed with `--json` is of its schema.
#[track_caller]
pub fn check(typed: &[&str], answer: &Answer) {
    if !typed.iter().take_while(|word| **word != "--").any(|word| *word == "--json") {
        return;
    }
    let schemas = Schemas::read();
    let entries = schemas.entries(typed);
    if entries.is_empty() {
        return;
    }
    for value in Deserializer::from_str(&answer.stdout).into_iter::<Value>() {
        let value = value.unwrap_or_else(|error| panic!("{typed:?}: {error}:\n{}", answer.stdout));
        if let Some(why) = schemas.refuses_all(&entries, answer.code, &value) {
            panic!(
                "what {typed:?} printed is not of its schema in docs/reference/reports.json: {why}\n{}",
                answer.stdout
            );
        }
    }
}

#[test]
fn what_is_not_of_its_schema_is_refused() {
    let schemas = Schemas::read();
    let refused = |typed: &[&str], code, value| {
        schemas.refuses_all(&schemas.entries(typed), code, &value).unwrap_or_default()
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    let pin = |pinned: Value| json!({ "image": digest, "pinned": pinned, "changed": false });
    let typed = ["image", "pin", "site", "--json"];
    assert_eq!(refused(&typed, 0, pin(json!(true))), "");
    assert!(refused(&typed, 0, pin(json!("yes"))).contains("/pinned is \"yes\""));
    assert_eq!(
        refused(&typed, 0, json!({ "image": digest, "pinned": true })),
        "/changed is missing"
    );
    let mut more = pin(json!(true));
    more["why"] = json!("asked");
    assert_eq!(refused(&typed, 0, more), "/why is not described");
    let error = json!({ "message": "no such image", "hint": null, "exit": 5 });
    assert_eq!(refused(&typed, 5, json!({ "error": error })), "");
    assert_eq!(refused(&typed, 5, json!({ "error": { "message": "" } })), "/error/hint is missing");
    let beside = json!({ "error": error, "refusals": [] });
    assert_eq!(refused(&typed, 3, beside.clone()), "/image is missing");
    assert_eq!(refused(&["image", "rebase", "a", "--json"], 3, beside), "");
    let entries = |typed: &[&str]| schemas.entries(typed).len();
    assert_eq!(entries(&["receipt", "--json"]), 1);
    assert_eq!(entries(&["receipt", "3", "--json"]), 2);
    assert_eq!(entries(&["verify", "site", "--json"]), 1);
    assert_eq!(entries(&["verify", "--tree", "a"]), 2);
    assert_eq!(entries(&["audit", "verify"]), 1);
    assert_eq!(entries(&["openapi"]), 0);
}
