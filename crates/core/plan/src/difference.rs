//! What differs between two service specs, in the words of `hornero.hcl`.

use std::collections::BTreeMap;

use hornero_model::{Millis, ServiceSpec};
use serde_json::{Map, Value};

/// What differs, a phrase for each field, in the order of the fields' names; the image first.
pub fn differences(from: &ServiceSpec, to: &ServiceSpec) -> Vec<String> {
    let mut out = Vec::new();
    if from.image != to.image {
        out.push(format!(
            "image `{}` changed from {} to {}",
            to.image_name,
            from.image.short(),
            to.image.short()
        ));
    } else if from.image_name != to.image_name {
        out.push(format!("image is called `{}`, not `{}`", to.image_name, from.image_name));
    }
    let mut from = fields(from);
    let mut to = fields(to);
    for fields in [&mut from, &mut to] {
        fields.remove("image");
        fields.remove("image_name");
    }
    objects(&mut out, "", &from, &to);
    out
}

fn fields(spec: &ServiceSpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(mut fields)) => {
            // What is left out because it is the default is a value to compare all the same.
            fields.insert("keep".to_owned(), serde_json::to_value(spec.keep).unwrap_or_default());
            fields.entry("trust").or_insert_with(|| Value::Array(Vec::new()));
            fields
        }
        // A spec is a struct with string keys: it always becomes an object.
        Ok(_) | Err(_) => Map::new(),
    }
}

fn objects(out: &mut Vec<String>, path: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
    let mut keys: Vec<&String> = from.keys().chain(to.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let inner = join(path, key);
        let null = Value::Null;
        values(out, &inner, from.get(key).unwrap_or(&null), to.get(key).unwrap_or(&null));
    }
}

fn values(out: &mut Vec<String>, path: &str, from: &Value, to: &Value) {
    if from == to {
        return;
    }
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => objects(out, path, from, to),
        (Value::Array(from), Value::Array(to)) => lists(out, path, from, to),
        (Value::Null, Value::Object(_) | Value::Array(_)) => {
            out.push(format!("`{}` added", shown(path)));
        }
        (Value::Object(_) | Value::Array(_), Value::Null) => {
            out.push(format!("`{}` removed", shown(path)));
        }
        (Value::Null, to) => out.push(format!("`{}` set to {}", shown(path), text(path, to))),
        (from, Value::Null) => {
            out.push(format!("`{}` no longer {}", shown(path), text(path, from)));
        }
        (from, to) => out.push(format!(
            "`{}` changed from {} to {}",
            shown(path),
            text(path, from),
            text(path, to)
        )),
    }
}

/// Lists are compared by what names their elements: a port's name, a route's port on the host, a service's name.
fn lists(out: &mut Vec<String>, path: &str, from: &[Value], to: &[Value]) {
    let (from, to) = (named(from), named(to));
    let before = out.len();
    for (name, value) in &from {
        match to.get(name) {
            Some(other) => values(out, &join(path, name), value, other),
            None => out.push(format!("`{}` removed", shown(&join(path, name)))),
        }
    }
    for name in to.keys().filter(|name| !from.contains_key(*name)) {
        out.push(format!("`{}` added", shown(&join(path, name))));
    }
    if out.len() == before {
        out.push(format!("the order of `{}` changed", shown(path)));
    }
}

fn named(items: &[Value]) -> BTreeMap<String, &Value> {
    let mut named = BTreeMap::new();
    for item in items {
        let mut name = match item {
            Value::String(text) => text.clone(),
            Value::Object(fields) => fields
                .get("name")
                .or_else(|| fields.get("listen"))
                .map_or_else(|| item.to_string(), plain),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => item.to_string(),
        };
        // Several routes on one port of the host are told apart by host and path.
        for key in ["address", "host", "path_prefix"] {
            if let Some(part) = item.get(key) {
                name = format!("{name} {}", plain(part));
            }
        }
        while named.contains_key(&name) {
            name.push('+');
        }
        named.insert(name, item);
    }
    named
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A path in the words of `hornero.hcl`.
fn shown(path: &str) -> String {
    path.replace("resources.memory_bytes", "resources.memory")
        .replace("resources.cpu_millis", "resources.cpus")
        .replace("health.check.", "health.")
        .replace("ports.", "port.")
        .replace("routes.", "route.")
        .replace("keep.", "keep_")
}

/// A value for people, by the unit that its field's name says.
fn text(path: &str, value: &Value) -> String {
    const SPANS: [&str; 7] =
        ["interval", "timeout", "start_timeout", "drain_timeout", "keep_warm", "watch", "max_age"];
    let field = path.rsplit('.').next().unwrap_or(path);
    match value.as_u64() {
        Some(ms) if SPANS.contains(&field) => Millis(ms).to_string(),
        Some(bytes) if field == "memory_bytes" => size(bytes),
        Some(millis) if field == "cpu_millis" => (millis as f64 / 1_000.0).to_string(),
        Some(_) | None => match value.as_str() {
            Some(text) => format!("`{text}`"),
            None => value.to_string(),
        },
    }
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
