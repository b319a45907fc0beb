//! Reads `image` blocks.

use std::{collections::BTreeMap, rc::Rc};

use hcl_edit::structure::Block;
use hornero_model::{ImageName, ImageTest, Millis, Scratch, TestCheck};

use crate::{
    ArchiveDefinition, Base, CopySource, ErrorCode, Provision, SecretName, SecretSource, Sources,
    defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, path, read_archive, read_base,
    read_check::{self, NamedPorts},
    read_command::{account, command, env, words},
    read_copy, read_provision,
    read_value::{invalid, shown, wrong_type},
    section::{At, Section, Text, header, label},
    value::{Span, Value},
};

/// An image before it inherits what its block leaves out.
#[derive(Debug)]
pub(crate) struct ImageDraft {
    pub name: ImageName,
    pub span: Span,
    pub base: Base,
    /// Where `from` stands, for one that is made from another.
    pub from_span: Option<Span>,
    pub archives: Vec<ArchiveDefinition>,
    pub packages: Vec<String>,
    pub packages_span: Span,
    pub copies: Vec<CopySource>,
    pub provisions: Vec<Provision>,
    pub secrets: BTreeMap<SecretName, SecretSource>,
    pub run: Vec<String>,
    pub network: bool,
    pub max_size_bytes: Option<u64>,
    pub user: Option<String>,
    pub command: Option<Vec<String>>,
    pub workdir: Option<String>,
    pub env: BTreeMap<String, String>,
    pub scratch: Vec<Scratch>,
    pub tests: Vec<ImageTest>,
}

/// Reads a block whose name was found to be valid. What is wrong in it is reported and left out.
pub(crate) fn read(
    cx: &mut Evaluator,
    block: &Block,
    name: ImageName,
    sources: &dyn Sources,
) -> ImageDraft {
    let what = format!("image `{name}`");
    let mut section = Section::of_block(cx, block, what);
    let (base, from_span) = read_base::base(cx, &mut section);
    let copies = section
        .take_blocks(cx, "copy", limits::LIST)
        .into_iter()
        .filter_map(|block| read_copy::read(cx, block, sources))
        .collect();
    let tests = tests(cx, &mut section);
    let network = section.flag(cx, "network").unwrap_or(false);
    let secrets = read_provision::secrets(cx, &mut section);
    let provisions = section
        .take_blocks(cx, "provision", limits::LIST)
        .into_iter()
        .filter_map(|block| read_provision::read(cx, block, &secrets, network, sources))
        .collect();
    let archives = read_archive::archives(cx, &mut section);
    let packages_span = section.place("packages");
    let draft = ImageDraft {
        span: header(block),
        base,
        from_span,
        archives,
        packages: packages(cx, &mut section),
        packages_span,
        copies,
        provisions,
        secrets,
        run: run(cx, &mut section),
        network,
        max_size_bytes: section.size(cx, "max_size", 1 << 20),
        user: section.text(cx, "user").and_then(|user| account(cx, "user", &user)),
        command: command(cx, &mut section),
        workdir: section
            .text(cx, "workdir")
            .and_then(|path| path::in_image(cx, "`workdir`", &path)),
        env: env(cx, &mut section),
        scratch: scratch(cx, &mut section),
        tests,
        name,
    };
    section.finish(cx);
    draft
}

fn packages(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for package in section.texts(cx, "packages").unwrap_or_default() {
        // Debian Policy 5.6.1.
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        let name = &*package.value;
        let fine = (2..=200).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.bytes().all(letters);
        if !fine {
            let hint = if name.contains('=') {
                "versions are pinned by `hornero.lock`: write the name alone"
            } else {
                "lower-case letters, digits, `+`, `-` and `.` make the name of a package"
            };
            invalid(cx, &package, "the name of a Debian package", hint);
        } else if !packages.iter().any(|known| known == name) {
            packages.push(name.to_owned());
        }
    }
    packages
}

fn run(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<String> {
    let mut steps = Vec::new();
    for step in section.texts(cx, "run").unwrap_or_default() {
        if step.value.trim().is_empty() {
            let message = format!("a step in `run` of {} is empty", section.what);
            cx.report(Mistake::new(ErrorCode::InvalidValue, step.span, message));
        } else {
            steps.push(step.value.to_string());
        }
    }
    steps
}

fn scratch(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<Scratch> {
    let expected = "a list of paths, or of objects with `path` and `size`";
    let items = section.list(cx, "scratch", expected).map(|items| items.value);
    let items = items.unwrap_or_default();
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let mut scratch = Vec::new();
    for item in items {
        let (path, size_bytes) = match &item.value {
            Value::Map(_) => {
                let what = format!("a scratch directory of {}", section.what);
                let Some(mut inner) = Section::of_value(cx, &item, what) else { continue };
                let size = inner.size(cx, "size", 4_096);
                let path = inner.text(cx, "path");
                if path.is_none() && !matches!(item.value, Value::Unknown) {
                    inner.missing(cx, "path", "write `{ path = \"/run\", size = \"64MiB\" }`");
                }
                inner.finish(cx);
                (path, size.unwrap_or(defaults::SCRATCH_BYTES))
            }
            Value::String(text) => {
                let path = At { value: Rc::clone(text), span: item.span.clone() };
                (Some(path), defaults::SCRATCH_BYTES)
            }
            _ => {
                let name = format!("an element of `scratch` of {}", section.what);
                wrong_type(cx, &name, "a path or an object", &item);
                continue;
            }
        };
        let Some(path) = path.and_then(|path| path::in_image(cx, "a scratch directory", &path))
        else {
            continue;
        };
        if path == "/" {
            let message = "the root can't be a scratch directory: it is read-only";
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, item.span.clone(), message)
                    .hint("name the directories that the command writes to"),
            );
        } else if let Some(first) = seen.get(&path) {
            let message = format!("scratch directory `{path}` is named twice");
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, item.span.clone(), message)
                    .related(first.clone(), "first named here"),
            );
        } else {
            seen.insert(path.clone(), item.span.clone());
            scratch.push(Scratch { path, size_bytes });
        }
    }
    scratch.sort();
    scratch
}

fn tests(cx: &mut Evaluator, section: &mut Section<'_>) -> Vec<ImageTest> {
    let mut seen: BTreeMap<Rc<str>, Span> = BTreeMap::new();
    let mut tests = Vec::new();
    for block in section.take_blocks(cx, "test", limits::LIST) {
        let Some(name) = label(cx, block, "a test needs a name", "serves") else { continue };
        if let Some(first) = seen.get(&name.value) {
            let message = format!("{} has two tests `{}`", section.what, shown(&name.value));
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span.clone(), message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        seen.insert(Rc::clone(&name.value), name.span.clone());
        if name.value.is_empty()
            || name.value.len() > 100
            || name.value.chars().any(char::is_control)
        {
            let message = format!("`{}` is not a name for a test", shown(&name.value));
            cx.report(
                Mistake::new(ErrorCode::InvalidName, name.span.clone(), message)
                    .hint("use 1 to 100 characters"),
            );
            continue;
        }
        tests.extend(test(cx, block, &name));
    }
    tests
}

fn test(cx: &mut Evaluator, block: &Block, name: &Text) -> Option<ImageTest> {
    let mut section = Section::of_block(cx, block, format!("test `{}`", shown(&name.value)));
    let written = ["http", "tcp", "run"]
        .iter()
        .filter(|key| section.has(key) || block.body.has_blocks(key))
        .count();
    let checks = read_check::take(cx, &mut section, &NamedPorts { ports: &[], allowed: false });
    let run = section
        .list(cx, "run", "a list of strings such as `[\"nginx\", \"-t\"]`")
        .and_then(|items| words(cx, &format!("`run` of {}", section.what), &items));
    let timeout = section.duration(cx, "timeout", Millis(1)).unwrap_or(defaults::TEST_TIMEOUT);
    match written {
        0 => section.missing(cx, "http`, `tcp` or `run", "write `http = { port = 8080 }`"),
        1 => {}
        _ => cx.report(
            Mistake::new(
                ErrorCode::Conflict,
                section.span.clone(),
                format!("{} tries more than one thing", section.what),
            )
            .hint("a test has one of `http`, `tcp` and `run`"),
        ),
    }
    section.finish(cx);
    let server = checks.into_iter().next().map(|read| TestCheck::Server(read.check));
    let check = server.or(run.map(TestCheck::Run))?;
    Some(ImageTest { name: name.value.to_string(), check, timeout })
}
