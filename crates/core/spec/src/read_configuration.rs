//! Reads what a service's release carries beside its image: the environment of its command, and files.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;
use hornero_model::SecretLabel;

use crate::{
    ConfigDefinition, ErrorCode, SecretDefinition, SourceKind, Sources,
    error::Mistake,
    evaluate::Evaluator,
    limits, path, read_command, read_copy,
    read_value::{shown, valid},
    section::{Section, Text, label},
    value::Span,
};

/// Files that are made for every instance.
const MADE: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The `env` of a service, within its limit.
pub(crate) fn env(cx: &mut Evaluator, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let place = section.place("env");
    let env = read_command::env(cx, section);
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= limits::SERVICE_ENV_BYTES {
        return env;
    }
    let most = limits::SERVICE_ENV_BYTES;
    let message =
        format!("`env` of {} is {bytes} bytes, and at most {most} are taken", section.what);
    cx.report(
        Mistake::new(ErrorCode::TooLarge, place, message).hint("put what is larger into a file"),
    );
    BTreeMap::new()
}

/// The `config` blocks of a service, sorted by path, each with the place of its path.
pub(crate) fn config(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    sources: &dyn Sources,
) -> Vec<(ConfigDefinition, Span)> {
    let blocks = section.take_blocks(cx, "config", limits::CONFIG_FILES);
    let mut files: Vec<(ConfigDefinition, Span)> =
        blocks.into_iter().filter_map(|block| one(cx, block, sources)).collect();
    files.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    files
}

/// The `secret` blocks of a service, sorted by path, each with the place of its path.
pub(crate) fn secrets(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
) -> Vec<(SecretDefinition, Span)> {
    let mut names: BTreeMap<SecretLabel, Span> = BTreeMap::new();
    let mut secrets = Vec::new();
    for block in section.take_blocks(cx, "secret", limits::SERVICE_SECRETS) {
        let Some(label) = label(cx, block, "a secret needs a name", "db-password") else {
            continue;
        };
        let mut inner = Section::of_block(cx, block, format!("secret `{}`", shown(&label.value)));
        if !inner.has("path") {
            inner.missing(cx, "path", "write `path = \"/run/secrets/NAME\"`");
        }
        let path = inner.text(cx, "path").and_then(|path| file_path(cx, "a secret", &path));
        let mode = mode(cx, &mut inner, 0o400);
        let owner = owner(cx, &mut inner).unwrap_or_default();
        inner.finish(cx);
        let Some(name) = valid(cx, SecretLabel::new(&*label.value), label) else { continue };
        if let Some(first) = names.get(&name.value) {
            let message = format!("{} has two secrets `{}`", section.what, name.value);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        names.insert(name.value.clone(), name.span);
        let Some((path, span)) = path else { continue };
        secrets.push((SecretDefinition { name: name.value, path, mode, owner }, span));
    }
    secrets.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    secrets
}

/// Reports files of which one is another, or lies below it.
pub(crate) fn apart(cx: &mut Evaluator, what: &str, mut sorted: Vec<(&str, &Span)>) {
    sorted.sort_by_key(|(path, _)| *path);
    for (index, (path, span)) in sorted.iter().enumerate() {
        let above = sorted[..index].iter().find(|(other, _)| path::below(path, other));
        let Some((other, first)) = above else { continue };
        let (code, message) = match path == other {
            true => (ErrorCode::DuplicateName, format!("{what} has two files at `{path}`")),
            false => (
                ErrorCode::Conflict,
                format!("`{path}` of {what} can't lie below `{other}`, which is a file"),
            ),
        };
        cx.report(
            Mistake::new(code, (*span).clone(), message)
                .related((*first).clone(), "the other is here"),
        );
    }
}

fn one(
    cx: &mut Evaluator,
    block: &Block,
    sources: &dyn Sources,
) -> Option<(ConfigDefinition, Span)> {
    let path = label(cx, block, "a configuration file needs a path", "/etc/shop.conf");
    let shown_path = path.as_ref().map(|path| shown(&path.value)).unwrap_or_default();
    let mut inner = Section::of_block(cx, block, format!("config `{shown_path}`"));
    let content = content(cx, &mut inner, sources);
    let mode = mode(cx, &mut inner, 0o644);
    let owner = owner(cx, &mut inner).unwrap_or_else(|| "root".to_owned());
    inner.finish(cx);
    let (path, span) = file_path(cx, "a configuration file", &path?)?;
    Some((ConfigDefinition { path, content: content?, mode, owner }, span))
}

/// A path at which a file can be laid over the root.
pub(crate) fn file_path(cx: &mut Evaluator, name: &str, text: &Text) -> Option<(String, Span)> {
    let path = path::in_image(cx, name, text)?;
    let mistake = if path == "/" || text.value.ends_with('/') || path == "/tmp" {
        format!("{name} can't be at `{}`, which is a directory", shown(&text.value))
    } else if MADE.iter().any(|made| path::below(&path, made)) {
        format!("{name} can't be at `{path}`, which is made for every instance")
    } else {
        return Some((path, text.span.clone()));
    };
    cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), mistake));
    None
}

/// The `mode` of a file.
pub(crate) fn mode(cx: &mut Evaluator, section: &mut Section<'_>, default: u32) -> u32 {
    let Some(text) = section.text(cx, "mode") else { return default };
    let Some(mode) = read_copy::file_mode(cx, &text) else { return default };
    if mode > 0o777 {
        let message = format!("`mode` of {} has more than permission bits", section.what);
        cx.report(
            Mistake::new(ErrorCode::OutOfRange, text.span, message)
                .hint("the highest is `0777`: what is laid over a root has no set-id bits"),
        );
    }
    mode
}

/// The `owner` of a file.
pub(crate) fn owner(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<String> {
    let text = section.text(cx, "owner")?;
    let owner = read_copy::file_owner(cx, &text)?;
    Some(match owner.group {
        Some(group) => format!("{}:{group}", owner.user),
        None => owner.user,
    })
}

/// What a file holds: a template beside `hornero.hcl`, or text in it.
fn content(cx: &mut Evaluator, section: &mut Section<'_>, sources: &dyn Sources) -> Option<String> {
    let written = ["source", "content"].iter().filter(|key| section.has(key)).count();
    let place = section.place("content");
    let source = section.text(cx, "source");
    let content = section.text(cx, "content");
    match written {
        0 => section.missing(cx, "source` or `content", "write `source = \"shop.conf.tmpl\"`"),
        1 => {}
        _ => cx.report(
            Mistake::new(
                ErrorCode::Conflict,
                section.span.clone(),
                format!("{} has both `source` and `content`", section.what),
            )
            .hint("it has one content"),
        ),
    }
    let (content, place) = match (content, source) {
        (Some(content), _) => (content.value.to_string(), place),
        (None, Some(source)) => (rendered(cx, section, &source, sources)?, source.span),
        (None, None) => return None,
    };
    if content.len() <= limits::CONFIG_BYTES {
        return Some(content);
    }
    too_large(cx, place, format!("{} comes to {} bytes", section.what, content.len()));
    None
}

fn rendered(
    cx: &mut Evaluator,
    section: &Section<'_>,
    source: &Text,
    sources: &dyn Sources,
) -> Option<String> {
    let name = format!("`source` of {}", section.what);
    let found = path::source(cx, sources, &name, source)?;
    if found.kind != SourceKind::File {
        let message = format!("{name} must be a file, and `{}` is a directory", found.path);
        cx.report(Mistake::new(ErrorCode::InvalidValue, source.span.clone(), message));
        return None;
    }
    let bytes = match sources.read(&found.path, limits::CONFIG_BYTES) {
        Ok(bytes) if bytes.len() <= limits::CONFIG_BYTES => bytes,
        Ok(_) => {
            let what = format!("`{}` is larger than that", shown(&found.path));
            too_large(cx, source.span.clone(), what);
            return None;
        }
        Err(why) => {
            let message = format!("{name} can't be read at `{}`: {why}", shown(&found.path));
            cx.report(Mistake::new(ErrorCode::SourceMissing, source.span.clone(), message));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        let message = format!("`{}` is not UTF-8", shown(&found.path));
        cx.report(
            Mistake::new(ErrorCode::Syntax, source.span.clone(), message)
                .hint("files that are no text belong into the image: `copy`"),
        );
        return None;
    };
    cx.template_of_file(&found.path, &text, &source.span)
}

fn too_large(cx: &mut Evaluator, span: Span, what: String) {
    let message = format!("at most {} bytes are taken, and {what}", limits::CONFIG_BYTES);
    cx.report(
        Mistake::new(ErrorCode::TooLarge, span, message)
            .hint("files that are large belong into the image: `copy`"),
    );
}
