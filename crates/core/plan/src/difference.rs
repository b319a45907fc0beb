//! What differs between two service specs, in the words of `hornero.hcl`.

use std::collections::BTreeMap;

use hornero_model::{ConfigFile, Millis, RolloutPolicy, Scale, ServiceSpec, Strategy, ToZero};
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
            fields.entry("secrets").or_insert_with(|| Value::Array(Vec::new()));
            fields.entry("env").or_insert_with(|| Value::Object(Map::new()));
            // It follows from the files, which are told one by one.
            fields.remove("configuration");
            let config = spec.config.iter().map(|file| (file.path.clone(), described(file)));
            fields.insert("config".to_owned(), Value::Object(config.collect()));
            fields.insert("rollout".to_owned(), rollout(&spec.rollout));
            if let Some(scale) = &spec.scale {
                // It follows from the least of them.
                fields.remove("instances");
                fields.insert("scale".to_owned(), described_scale(scale));
            }
            fields
        }
        // A spec is a struct with string keys: it always becomes an object.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// A file of a configuration as it is written; of its content only that it is another one can be told.
fn described(file: &ConfigFile) -> Value {
    let mut fields = Map::new();
    fields.insert("content".to_owned(), file.content.short().into());
    fields.insert("mode".to_owned(), format!("{:04o}", file.mode).into());
    fields.insert("owner".to_owned(), file.owner.clone().into());
    Value::Object(fields)
}

/// Between how many servers the load decides, as it is written.
fn described_scale(scale: &Scale) -> Value {
    let mut fields = serde_json::to_value(scale).unwrap_or_default();
    if let (Some(fields), Some(percent)) = (fields.as_object_mut(), scale.cpu_percent) {
        fields.remove("cpu_percent");
        fields.insert("cpu".to_owned(), format!("{percent}%").into());
    }
    if let (Some(fields), Some(ToZero { idle, hold, hold_requests })) =
        (fields.as_object_mut(), scale.to_zero)
    {
        fields.remove("to_zero");
        fields.insert("idle".to_owned(), idle.0.into());
        fields.insert("hold".to_owned(), hold.0.into());
        fields.insert("hold_requests".to_owned(), hold_requests.into());
    }
    fields
}

/// How releases follow each other, as it is written: the keys of a canary beside the others.
fn rollout(policy: &RolloutPolicy) -> Value {
    let mut fields = serde_json::to_value(policy).unwrap_or_default();
    if let Strategy::Canary(canary) = &policy.strategy {
        fields["strategy"] = "canary".into();
        fields["steps"] = canary.steps_text().into();
        fields["step_timeout"] = canary.step_timeout.0.into();
        fields["on_inconclusive"] =
            serde_json::to_value(canary.on_inconclusive).unwrap_or_default();
        fields["sticky"] = serde_json::to_value(&canary.sticky).unwrap_or_default();
        fields["judge"] = serde_json::to_value(canary.judge).unwrap_or_default();
        fields["probe"] = serde_json::to_value(&canary.probe).unwrap_or_default();
    }
    if let Strategy::Rolling(rolling) = &policy.strategy {
        fields["strategy"] = "rolling".into();
        fields["max_surge"] = rolling.max_surge.into();
    }
    if let Strategy::Replace(replace) = &policy.strategy {
        fields["strategy"] = "replace".into();
        fields["hold"] = replace.hold.0.into();
        fields["hold_requests"] = replace.hold_requests.into();
    }
    fields
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
    if path.strip_prefix("env.").is_some_and(hides_value) {
        out.push(format!("`{path}` changed"));
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
        .replace("secrets.", "secret.")
        .replace("keep.", "keep_")
}

/// A value for people, by the unit that its field's name says.
fn text(path: &str, value: &Value) -> String {
    const SPANS: [&str; 13] = [
        "step_timeout",
        "interval",
        "timeout",
        "start_timeout",
        "drain_timeout",
        "keep_warm",
        "watch",
        "max_age",
        "require_fresh_rollback",
        "stop_grace",
        "idle_timeout",
        "head_timeout",
        "stabilise",
    ];
    let field = path.rsplit('.').next().unwrap_or(path);
    match value.as_u64() {
        Some(ms) if SPANS.contains(&field) => Millis(ms).to_string(),
        Some(bytes) if field == "memory_bytes" => size(bytes),
        Some(millis) if field == "cpu_millis" => (millis as f64 / 1_000.0).to_string(),
        Some(_) | None => match value.as_str() {
            Some(text) => format!("`{}`", beginning(text)),
            None => value.to_string(),
        },
    }
}

/// Whether the value of an environment variable is better not shown: by its name it is a password or the like. Such a
/// value stands in the file all the same, but plans are pasted into tickets and kept by build servers.
fn hides_value(variable: &str) -> bool {
    const WORDS: [&str; 7] =
        ["SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "CREDENTIAL", "KEY"];
    let name = variable.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// As much of a text as a line of a plan has room for.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
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
