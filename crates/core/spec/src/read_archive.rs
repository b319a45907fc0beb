//! Reads `archive` blocks of an image.

use std::{collections::BTreeMap, rc::Rc};

use hcl_edit::structure::Block;

use crate::{
    ArchiveDefinition, ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    limits,
    read_base::{keyring_path, mirror_address},
    read_value::{invalid, shown},
    section::{Section, Text, label},
    value::Span,
};

/// Reads the `archive` blocks of an image.
pub(crate) fn archives(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<ArchiveDefinition> {
    let mut spans: BTreeMap<Rc<str>, Span> = BTreeMap::new();
    let mut archives = Vec::new();
    for block in section.take_blocks(cx, "archive", limits::LIST) {
        let Some(name) = label(cx, block, "an archive needs a name", "nodesource") else {
            continue;
        };
        if let Some(first) = spans.get(&name.value) {
            let message = format!("{} has two archives `{}`", section.what, shown(&name.value));
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span.clone(), message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        spans.insert(Rc::clone(&name.value), name.span.clone());
        archives.extend(archive(cx, block, &name));
    }
    archives
}

fn archive(cx: &mut Evaluator, block: &Block, name: &Text) -> Option<ArchiveDefinition> {
    let mut section = Section::of_block(cx, block, format!("archive `{}`", shown(&name.value)));
    for (key, hint) in [
        ("url", "write the address of the archive: `url = \"https://HOST/PATH\"`"),
        (
            "suite",
            "write its suite, such as `suite = \"bookworm\"`, or `\"./\"` where it has no `dists`",
        ),
        ("signed_by", "write the file with its key: `signed_by = \"keys/NAME.asc\"`"),
    ] {
        if !section.has(key) {
            section.missing(cx, key, hint);
        }
    }
    let url = section.text(cx, "url").filter(|url| mirror_address(cx, url));
    let suite = section.text(cx, "suite").filter(|suite| word(cx, suite, "a suite"));
    let components = section.texts(cx, "components");
    let signed_by =
        section.text(cx, "signed_by").filter(|path| keyring_path(cx, "signed_by", path));
    let what = section.what.clone();
    section.finish(cx);
    let fine = !name.value.is_empty()
        && name.value.len() <= 64
        && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !fine {
        let message = format!("`{}` is not a name for an archive", shown(&name.value));
        cx.report(
            Mistake::new(ErrorCode::InvalidName, name.span.clone(), message)
                .hint("use 1 to 64 letters, digits, `_`, `-` and `.`"),
        );
    }
    let suite = suite?;
    let flat = suite.value.ends_with('/');
    let components = components.unwrap_or_default();
    if let (true, Some(first)) = (flat, components.first()) {
        let message = format!("{what} has `components`, but its suite ends in `/`");
        cx.report(
            Mistake::new(ErrorCode::Conflict, first.span.clone(), message)
                .hint("an archive whose lists lie in a directory has no components"),
        );
    }
    let components: Vec<String> = components
        .iter()
        .filter(|component| word(cx, component, "a component"))
        .map(|component| component.value.to_string())
        .collect();
    let main = || vec!["main".to_owned()];
    fine.then_some(ArchiveDefinition {
        name: name.value.to_string(),
        url: url?.value.to_string(),
        suite: suite.value.to_string(),
        components: if flat || !components.is_empty() { components } else { main() },
        signed_by: signed_by?.value.to_string(),
    })
}

/// Suites and components are directories of the archive.
fn word(cx: &mut Evaluator, text: &Text, what: &str) -> bool {
    let value = &*text.value;
    let fine = !value.is_empty()
        && value.len() <= 200
        && !value.split('/').any(|part| part == "..")
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./+~".contains(&b));
    if !fine {
        invalid(
            cx,
            text,
            what,
            "write it as the archive's owner tells, such as `bookworm` or `main`",
        );
    }
    fine
}
