//! Reads `image` blocks.

use std::{collections::BTreeMap, rc::Rc};

use hcl_edit::structure::Block;
use hornero_model::{Digest, ImageName, ImageTest, Millis, Scratch, TestCheck};

use crate::{
    ArchiveDefinition, Base, CopySource, ErrorCode, Provision, SecretName, SecretSource, Sources,
    StoredImage, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, path, read_archive,
    read_check::{self, NamedPorts},
    read_copy, read_provision,
    read_value::{reference, shown, text, wrong_type},
    section::{At, Section, Text, header, label},
    value::{BlockKind, Field, Located, Span, Value},
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
    let (base, from_span) = base(cx, &mut section);
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

fn base(cx: &mut Evaluator, section: &mut Section<'_>) -> (Base, Option<Span>) {
    let on_image = section.has("from");
    let both = on_image && section.has("debian");
    let neither = !on_image && !section.has("debian");
    let suite = section.text(cx, "debian");
    let from = parent(cx, section);
    let mirror = section.text(cx, "mirror");
    let keyring = section.text(cx, "keyring");
    if let (true, Some(suite), Some(from)) = (both, &suite, &from) {
        let message = format!("{} has both `debian` and `from`", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, from.span.clone(), message)
                .related(suite.span.clone(), "the other is here")
                .hint("an image is made on a Debian suite or on another image"),
        );
    }
    if neither {
        let hint = "write `debian = \"bookworm\"`, or `from = image.NAME` for one on another image";
        section.missing(cx, "debian` or `from", hint);
    }
    if on_image {
        for (key, value) in [("mirror", &mirror), ("keyring", &keyring)] {
            if let Some(value) = value {
                let message = format!("`{key}` goes with `debian`, not with `from`");
                cx.report(
                    Mistake::new(ErrorCode::Conflict, value.span.clone(), message)
                        .hint("set it in the image that this one is made from"),
                );
            }
        }
    }
    let suite = suite.filter(|suite| suite_name(cx, suite));
    let mirror = mirror.filter(|mirror| mirror_address(cx, mirror));
    let keyring = keyring.filter(|keyring| keyring_path(cx, "keyring", keyring));
    let base = match &from {
        Some(from) => from.value.clone(),
        None => Base::Debian {
            suite: suite.map(|suite| suite.value.to_string()).unwrap_or_default(),
            mirror: mirror.map(|mirror| mirror.value.to_string()),
            keyring: keyring.map(|keyring| keyring.value.to_string()),
        },
    };
    (base, from.map(|from| from.span))
}

/// What `from` names: an image of the file, or one of the store.
fn parent(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<At<Base>> {
    let value = section.take("from")?;
    let name = format!("`from` of {}", section.what);
    let Value::String(written) = &value.value else {
        let image = reference(cx, &name, &value, BlockKind::Image)?;
        let base = Base::Image(ImageName::new(&*image.value).ok()?);
        return Some(At { value: base, span: image.span });
    };
    let declared = cx.declared.get(&BlockKind::Image);
    if let Some(place) = declared.and_then(|images| images.get(&**written)) {
        let message = format!(
            "{name} names an image of the store, but `{}` is one of this file",
            shown(written)
        );
        let place = place.clone();
        cx.report(
            Mistake::new(ErrorCode::WrongType, value.span.clone(), message)
                .related(place, "declared here")
                .hint(format!("write it without quotes: `image.{}`", shown(written))),
        );
        return None;
    }
    let stored = match written.parse::<Digest>() {
        Ok(digest) => Some(StoredImage::Digest(digest)),
        Err(_) => ImageName::new(&**written).ok().map(StoredImage::Name),
    };
    let text = Text { value: Rc::clone(written), span: value.span };
    let Some(stored) = stored else {
        let hint = "write `image.NAME` for one of this file, and for one of the store the name it was imported under \
                    or its whole digest in quotes";
        invalid(cx, &text, "the name or digest of an image", hint);
        return None;
    };
    Some(At { value: Base::Stored(stored), span: text.span })
}

fn suite_name(cx: &mut Evaluator, suite: &Text) -> bool {
    let fine = !suite.value.is_empty()
        && suite.value.len() <= 64
        && suite.value.starts_with(|letter: char| letter.is_ascii_lowercase())
        && suite.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        invalid(cx, suite, "a Debian suite", "write its name, such as `bookworm`");
    }
    fine
}

pub(crate) fn mirror_address(cx: &mut Evaluator, mirror: &Text) -> bool {
    let rest = ["http://", "https://", "file:///"]
        .iter()
        .find_map(|scheme| mirror.value.strip_prefix(scheme));
    let fine = rest.is_some_and(|rest| {
        !rest.is_empty() && mirror.value.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if !fine {
        invalid(
            cx,
            mirror,
            "the address of a mirror",
            "write `http://HOST/PATH`, `https://HOST/PATH` or `file:///PATH`",
        );
    }
    fine
}

pub(crate) fn keyring_path(cx: &mut Evaluator, key: &str, keyring: &Text) -> bool {
    let outside = keyring.value.split('/').any(|part| part == "..");
    if outside {
        let message = format!("`{key}` must not contain `..`: `{}`", shown(&keyring.value));
        cx.report(
            Mistake::new(ErrorCode::PathEscapes, keyring.span.clone(), message)
                .hint("write an absolute path, or one relative to the directory of `hornero.hcl`"),
        );
    } else if keyring.value.is_empty() {
        invalid(cx, keyring, "a path", "write the path of a keyring file");
        return false;
    }
    !outside
}

/// Reports a text that is not what it should be.
pub(crate) fn invalid(cx: &mut Evaluator, text: &Text, what: &str, hint: &str) {
    let message = format!("`{}` is not {what}", shown(&text.value));
    cx.report(Mistake::new(ErrorCode::InvalidValue, text.span.clone(), message).hint(hint));
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

pub(crate) fn command(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Vec<String>> {
    let items = section.list(cx, "command", "a list of strings such as `[\"/usr/bin/app\"]`")?;
    words(cx, &format!("`command` of {}", section.what), &items)
}

fn words(cx: &mut Evaluator, name: &str, items: &At<Vec<Located>>) -> Option<Vec<String>> {
    let element = format!("an element of {name}");
    let words: Vec<Text> = items.value.iter().filter_map(|item| text(cx, &element, item)).collect();
    match words.first() {
        Some(first) if first.value.is_empty() => {
            let message = format!("the first element of {name} is empty");
            cx.report(Mistake::new(ErrorCode::InvalidValue, first.span.clone(), message));
        }
        None if items.value.is_empty() => {
            let message = format!("{name} is empty");
            cx.report(
                Mistake::new(ErrorCode::InvalidValue, items.span.clone(), message)
                    .hint("its first element is the program"),
            );
        }
        Some(_) | None => {}
    }
    Some(words.into_iter().map(|word| word.value.to_string()).collect())
}

/// A user or group, by name or number.
pub(crate) fn account(cx: &mut Evaluator, key: &str, name: &Text) -> Option<String> {
    let text = &*name.value;
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fine = if number {
        // The largest id is -1, which means none.
        text.parse::<u32>().is_ok_and(|id| id < u32::MAX)
    } else {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    if fine {
        return Some(text.to_owned());
    }
    let hint = if text.contains(':') && key == "user" {
        "write the user alone: the groups are those of the image's `/etc/group`"
    } else {
        "write a name or a number in quotes, such as `www-data` or `1000`"
    };
    invalid(cx, name, &format!("a {key}"), hint);
    None
}

pub(crate) fn env(cx: &mut Evaluator, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let Some(value) = section.take("env") else { return BTreeMap::new() };
    let Value::Map(fields) = &value.value else {
        let name = format!("`env` of {}", section.what);
        wrong_type(cx, &name, "an object such as `{ LANG = \"C.UTF-8\" }`", &value);
        return BTreeMap::new();
    };
    fields.iter().filter_map(|(name, field)| variable(cx, name, field)).collect()
}

/// One environment variable; numbers and bools are written out.
fn variable(cx: &mut Evaluator, name: &str, field: &Field) -> Option<(String, String)> {
    let fine = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fine {
        let message = format!("`{}` is not the name of an environment variable", shown(name));
        cx.report(
            Mistake::new(ErrorCode::InvalidName, field.key_span.clone(), message)
                .hint("use letters, digits and `_`, not beginning with a digit"),
        );
        return None;
    }
    let mut value = field.value.clone();
    if let Value::Number(_) | Value::Bool(_) = value.value {
        value.value = Value::String(crate::library::text_of(&value.value).unwrap_or_default());
    }
    if let Value::Null = value.value {
        return None;
    }
    let text = text(cx, &format!("`env.{}`", shown(name)), &value)?;
    Some((name.to_owned(), text.value.to_string()))
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
