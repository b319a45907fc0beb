//! Reads `provision` and `secret` blocks of an image.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;

use crate::{
    AnsibleProvision, ErrorCode, Provision, ProvisionWork, SecretName, SecretSource, SourceKind,
    Sources,
    error::Mistake,
    evaluate::Evaluator,
    limits, path,
    read_command::env,
    read_value::{invalid, shown, wrong_type},
    section::{Section, Text, label},
    suggest::{did_you_mean, one_of},
    value::{Located, Span, Value},
};

/// Kinds of provisions.
const KINDS: [&str; 2] = ["ansible", "shell"];

/// Reads the `secret` blocks of an image.
pub(crate) fn secrets(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
) -> BTreeMap<SecretName, SecretSource> {
    let mut spans: BTreeMap<SecretName, Span> = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for block in section.take_blocks(cx, "secret", limits::SECRETS) {
        let Some(label) = label(cx, block, "a secret needs a name", "npm_token") else { continue };
        let mut inner = Section::of_block(cx, block, format!("secret `{}`", shown(&label.value)));
        let source = secret_source(cx, &mut inner);
        inner.finish(cx);
        let Some(name) = SecretName::new(&label.value) else {
            let message = format!("`{}` is not a valid secret name", shown(&label.value));
            cx.report(
                Mistake::new(ErrorCode::InvalidName, label.span, message).hint(SecretName::RULE),
            );
            continue;
        };
        if let Some(first) = spans.get(&name) {
            let message = format!("{} has two secrets `{name}`", section.what);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, label.span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        spans.insert(name.clone(), label.span);
        // One whose source is wrong is declared all the same, so that who names it is not wrong as well.
        let source = source.unwrap_or_else(|| SecretSource::Environment(String::new()));
        secrets.insert(name, source);
    }
    secrets
}

fn secret_source(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<SecretSource> {
    let written = ["env", "file"].iter().filter(|key| section.has(key)).count();
    let variable = section.text(cx, "env");
    let file = section.text(cx, "file");
    match written {
        0 => section.missing(cx, "env` or `file", "write `env = \"NPM_TOKEN\"`"),
        1 => {}
        _ => cx.report(
            Mistake::new(
                ErrorCode::Conflict,
                section.span.clone(),
                format!("{} has both `env` and `file`", section.what),
            )
            .hint("its value comes from one place"),
        ),
    }
    if let Some(variable) = variable {
        let name = &*variable.value;
        let fine = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fine {
            let hint = "write the name of the variable alone, without `$`; a value has no place in this file";
            invalid(cx, &variable, "the name of an environment variable", hint);
            return None;
        }
        return Some(SecretSource::Environment(name.to_owned()));
    }
    let file = file?;
    if file.value.is_empty() || file.value.len() > limits::PATH_BYTES {
        invalid(cx, &file, "a path", "write the path of the file that holds the secret");
        return None;
    }
    Some(SecretSource::File(file.value.to_string()))
}

/// Reads a `provision` block; none where it can't be used, which is reported.
pub(crate) fn read(
    cx: &mut Evaluator,
    block: &Block,
    secrets: &BTreeMap<SecretName, SecretSource>,
    network: bool,
    sources: &dyn Sources,
) -> Option<Provision> {
    let kind = label(cx, block, "a provision needs a kind", "shell")?;
    if !KINDS.contains(&&*kind.value) {
        let hint = did_you_mean(&kind.value, KINDS)
            .unwrap_or_else(|| format!("a provision is {}", one_of(KINDS)));
        let message = format!("there is no provision `{}`", shown(&kind.value));
        cx.report(Mistake::new(ErrorCode::UnknownBlock, kind.span, message).hint(hint));
        return None;
    }
    let mut section = Section::of_block(cx, block, format!("provision `{}`", kind.value));
    let work = match &*kind.value {
        "ansible" => ansible(cx, &mut section, sources).map(ProvisionWork::Ansible),
        _ => shell(cx, &mut section, sources),
    };
    let env = env(cx, &mut section);
    let network = section.flag(cx, "network").unwrap_or(network);
    let secrets = named_secrets(cx, &mut section, secrets);
    section.finish(cx);
    Some(Provision { work: work?, env, network, secrets })
}

fn shell(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    sources: &dyn Sources,
) -> Option<ProvisionWork> {
    let (inline_written, script_written) = (section.has("inline"), section.has("script"));
    let inline = section.texts(cx, "inline");
    let script = section.text(cx, "script");
    match (inline_written, script_written) {
        (false, false) => section.missing(
            cx,
            "inline` or `script",
            "write `inline = [\"command\"]`, or `script = \"setup.sh\"` for a file of the directory",
        ),
        (true, true) => cx.report(
            Mistake::new(
                ErrorCode::Conflict,
                section.span.clone(),
                format!("{} has both `inline` and `script`", section.what),
            )
            .hint("write two provisions: they run in the order they are written"),
        ),
        (true, false) | (false, true) => {}
    }
    if let Some(script) = script {
        return file(cx, "the script of a provision", &script, sources).map(ProvisionWork::Script);
    }
    let inline = inline?;
    if inline.is_empty() || inline.iter().any(|command| command.value.trim().is_empty()) {
        let what = if inline.is_empty() { "`inline`" } else { "a command in `inline`" };
        let message = format!("{what} of {} is empty", section.what);
        let span = inline.iter().find(|command| command.value.trim().is_empty());
        let span = span.map_or_else(|| section.span.clone(), |command| command.span.clone());
        cx.report(Mistake::new(ErrorCode::InvalidValue, span, message));
        return None;
    }
    Some(ProvisionWork::Inline(inline.into_iter().map(|text| text.value.to_string()).collect()))
}

fn ansible(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    sources: &dyn Sources,
) -> Option<AnsibleProvision> {
    let written = section.has("playbook");
    let playbook = section.text(cx, "playbook");
    if !written {
        section.missing(cx, "playbook", "write `playbook = \"ansible/site.yml\"`");
    }
    let extra_vars = extra_vars(cx, section);
    let groups = groups(cx, section);
    let playbook = file(cx, "the playbook of a provision", &playbook?, sources)?;
    Some(AnsibleProvision { playbook, extra_vars, groups })
}

/// A file beside `hornero.hcl`.
fn file(cx: &mut Evaluator, name: &str, path: &Text, sources: &dyn Sources) -> Option<String> {
    let source = path::source(cx, sources, name, path)?;
    if source.kind == SourceKind::Directory {
        let message = format!("{name} is a directory: `{}`", shown(&path.value));
        cx.report(
            Mistake::new(ErrorCode::InvalidValue, path.span.clone(), message)
                .hint("name a file in it"),
        );
        return None;
    }
    Some(source.path)
}

fn groups(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in section.texts(cx, "groups").unwrap_or_default() {
        let name = &*group.value;
        let fine = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !["all", "ungrouped"].contains(&name);
        if !fine {
            let hint =
                "letters, digits and `_` make the name of a group; `all` has every host already";
            invalid(cx, &group, "a group of an inventory", hint);
        } else if !groups.iter().any(|known| known == name) {
            groups.push(name.to_owned());
        }
    }
    groups
}

fn extra_vars(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
) -> BTreeMap<String, serde_json::Value> {
    let Some(value) = section.take("extra_vars") else { return BTreeMap::new() };
    let name = format!("`extra_vars` of {}", section.what);
    let Value::Map(fields) = &value.value else {
        wrong_type(cx, &name, "an object such as `{ port = 8080 }`", &value);
        return BTreeMap::new();
    };
    if value.value.weight() > limits::EXTRA_VARS {
        let message = format!("{name} hold more than {} values", limits::EXTRA_VARS);
        cx.report(
            Mistake::new(ErrorCode::TooLarge, value.span.clone(), message)
                .hint("put them into a file beside the playbook"),
        );
        return BTreeMap::new();
    }
    let mut variables = BTreeMap::new();
    for (key, field) in fields.iter() {
        let fine = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        // These decide where Ansible runs what: in the image, and nowhere else.
        let reserved = key.starts_with("ansible_");
        if !fine || reserved {
            let message = format!("`{}` is not the name of a variable of a playbook", shown(key));
            let hint = if reserved {
                "names with `ansible_` are Ansible's own: set such a variable in the playbook"
            } else {
                "use letters, digits and `_`, not beginning with a digit"
            };
            cx.report(
                Mistake::new(ErrorCode::InvalidName, field.key_span.clone(), message).hint(hint),
            );
            continue;
        }
        if let Some(json) = json(cx, &name, &field.value) {
            variables.insert(key.clone(), json);
        }
    }
    variables
}

/// A value as JSON; none for what has no form there, which is reported.
fn json(cx: &mut Evaluator, name: &str, value: &Located) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match &value.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number) if number.fract() == 0.0 => Json::from(*number as i64),
        Value::Number(number) => Json::from(*number),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(items) => {
            Json::Array(items.iter().filter_map(|item| json(cx, name, item)).collect())
        }
        Value::Map(fields) => Json::Object(
            fields
                .iter()
                .filter_map(|(key, field)| Some((key.clone(), json(cx, name, &field.value)?)))
                .collect(),
        ),
        Value::Reference(_) | Value::Unknown => {
            wrong_type(cx, &format!("a value in {name}"), "plain data", value);
            return None;
        }
    })
}

fn named_secrets(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    declared: &BTreeMap<SecretName, SecretSource>,
) -> Vec<SecretName> {
    let mut named = Vec::new();
    for text in section.texts(cx, "secrets").unwrap_or_default() {
        let name = SecretName::new(&text.value).filter(|name| declared.contains_key(name));
        let Some(name) = name else {
            let names = declared.keys().map(SecretName::as_str);
            let hint = did_you_mean(&text.value, names).unwrap_or_else(|| {
                "declare it in the image: `secret \"NAME\" { env = \"VARIABLE\" }`".to_owned()
            });
            let message = format!("the image has no secret `{}`", shown(&text.value));
            cx.report(Mistake::new(ErrorCode::UnknownReference, text.span, message).hint(hint));
            continue;
        };
        named.push(name);
    }
    named.sort();
    named.dedup();
    named
}
