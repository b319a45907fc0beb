//! The way in: bytes to a [`Spec`], or every mistake in them.

use std::collections::BTreeMap;

use hcl_edit::{
    Span as _,
    structure::{Attribute, Block, Body, Structure},
};
use hornero_model::{ImageName, KeyName, NameError, PublicKey, ServiceName, VolumeName};

use crate::{
    ErrorCode, Errors, Sources, Spec, Variables,
    error::{Mistake, errors, floor},
    evaluate::Evaluator,
    limits, read_freeze, read_image, read_job, read_schedule, read_service, read_trust,
    read_value::{shown, valid},
    read_volume, resolve, scan,
    section::{At, header, label},
    suggest::{did_you_mean, one_of},
    value::BlockKind,
    variable,
};

/// Kinds of blocks at the top of the file.
pub(crate) const KINDS: [&str; 8] =
    ["image", "service", "job", "schedule", "freeze", "volume", "variable", "trust"];

/// Reads a `hornero.hcl`.
///
/// `file` is the name that errors show; `sources` looks at what `copy` blocks name.
///
/// # Errors
///
/// Every mistake that could be found, in the order of their places. A mistake against the grammar of HCL hides all
/// others.
pub fn parse(
    file: &str,
    bytes: &[u8],
    variables: &Variables,
    sources: &dyn Sources,
) -> Result<Spec, Errors> {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (shown, mistake) = *error;
            return Err(failed(file, &shown, vec![mistake]));
        }
    };
    let body = body(file, text)?;
    let mut cx = Evaluator::default();
    let spec = read(&mut cx, &body, variables, sources);
    match errors(file, text, cx.mistakes) {
        Some(errors) => Err(errors),
        None => Ok(spec),
    }
}

/// The services that a file declares, whatever else may be wrong with it and whichever variables it lacks.
///
/// # Errors
/// Where the file is no HCL.
pub fn declared_services(file: &str, bytes: &[u8]) -> Result<Vec<ServiceName>, Errors> {
    let text = text(bytes).map_err(|error| failed(file, &error.0, vec![error.1]))?;
    let body = body(file, text)?;
    let blocks = collect(&mut Evaluator::default(), &body);
    Ok(blocks.services.into_iter().map(|(name, _)| name).collect())
}

/// The file's structure, where it is HCL.
pub(crate) fn body(file: &str, text: &str) -> Result<Body, Errors> {
    if let Some(mistake) = scan::large_object(text) {
        return Err(failed(file, text, vec![mistake]));
    }
    hcl_edit::parser::parse_body(text)
        .map_err(|error| failed(file, text, vec![grammar(text, &error)]))
}

pub(crate) fn failed(file: &str, text: &str, mistakes: Vec<Mistake>) -> Errors {
    errors(file, text, mistakes).expect("the caller gives at least one mistake")
}

/// The file as text that says something; else what can be shown of it, and what is wrong.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Box<(String, Mistake)>> {
    let text = any_text(bytes)?;
    if text.trim().is_empty() {
        return Err(Box::new((text.to_owned(), empty("the file is empty"))));
    }
    Ok(text)
}

/// The file as text, which may be empty; else what can be shown of it, and what is wrong.
pub(crate) fn any_text(bytes: &[u8]) -> Result<&str, Box<(String, Mistake)>> {
    if bytes.len() > limits::FILE_BYTES {
        let message = format!(
            "the file is {} bytes long; at most {} are allowed",
            bytes.len(),
            limits::FILE_BYTES
        );
        let mistake = Mistake::new(ErrorCode::TooLarge, 0..0, message)
            .hint("is this the file you meant? Contents belong in files that `copy` names");
        return Err(Box::new((String::new(), mistake)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let message = format!("the file is not UTF-8: byte 0x{:02x} at offset {at}", bytes[at]);
        let mistake =
            Mistake::new(ErrorCode::Syntax, at..at + 1, message).hint("save the file as UTF-8");
        Box::new((String::from_utf8_lossy(bytes).into_owned(), mistake))
    })?;
    // Some editors on Windows begin a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn empty(message: &str) -> Mistake {
    Mistake::new(ErrorCode::Syntax, 0..0, message)
        .hint("declare at least an image: `image \"base\" { debian = \"bookworm\" }`")
}

/// A mistake against the grammar, with the hint that its usual cause calls for.
fn grammar(text: &str, error: &hcl_edit::parser::Error) -> Mistake {
    // The parser of HCL can stop in the middle of a letter.
    let at = floor(text, error.location().offset());
    let end = text[at..].chars().next().map_or(at, |letter| at + letter.len_utf8());
    let message = error.message();
    if message.contains("redefined attribute") {
        return redefined(text, at);
    }
    if message.contains("at most") {
        let message = format!("this nests too deep: {message}");
        return Mistake::new(ErrorCode::TooLarge, at..end, message);
    }
    let begin = |at: usize| text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    // The parser may stop at the key whose value it is.
    if let Some(quote) = scan::unclosed_string(text).filter(|quote| begin(*quote) <= at) {
        let line = text[quote..].lines().next().unwrap_or_default().trim_end();
        return Mistake::new(
            ErrorCode::Syntax,
            quote..quote + line.len(),
            "this string has no closing quote on its line",
        )
        .hint("a string ends where it began: write longer texts as `<<EOT`, lines, `EOT`");
    }
    let before = text[begin(at)..at].trim_end();
    let hint = if text[at..].trim().is_empty() {
        Some("the file ends in the middle: is a `}` or a quote missing?")
    } else if before.contains('{') && !before.ends_with('{') && !before.contains('}') {
        Some("a one-line block holds one attribute: put each attribute on a line of its own")
    } else if text[at..].starts_with('\'') {
        Some("strings are written in double quotes")
    } else {
        None
    };
    Mistake::new(ErrorCode::Syntax, at..end, format!("this is not HCL: {message}"))
        .maybe_hint(hint.map(str::to_owned))
}

fn redefined(text: &str, at: usize) -> Mistake {
    let rest = &text[at..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
    let key = &rest[..end.unwrap_or(rest.len())];
    Mistake::new(
        ErrorCode::DuplicateName,
        at..at + key.len(),
        format!("key `{}` is set twice in one block", shown(key)),
    )
    .hint("keep one of the two")
}

/// Blocks by kind.
#[derive(Default)]
struct Blocks<'b> {
    images: Vec<(ImageName, &'b Block)>,
    services: Vec<(ServiceName, &'b Block)>,
    jobs: Vec<&'b Block>,
    freezes: Vec<&'b Block>,
    schedules: Vec<&'b Block>,
    volumes: Vec<(VolumeName, &'b Block)>,
    variables: Vec<&'b Block>,
    trust: Vec<&'b Block>,
}

fn read(cx: &mut Evaluator, body: &Body, given: &Variables, sources: &dyn Sources) -> Spec {
    let blocks = collect(cx, body);
    variable::read(cx, &blocks.variables, given);
    let images: BTreeMap<_, _> = blocks
        .images
        .into_iter()
        .map(|(name, block)| (name.clone(), read_image::read(cx, block, name, sources)))
        .collect();
    let (volumes, guards): (BTreeMap<_, _>, BTreeMap<_, _>) = blocks
        .volumes
        .into_iter()
        .map(|(name, block)| (name.clone(), read_volume::read_volume(cx, block, name)))
        .map(|(name, (volume, guards))| ((name.clone(), volume), (name, guards)))
        .unzip();
    let services = blocks
        .services
        .into_iter()
        .filter_map(|(name, block)| read_service::read(cx, block, name, sources))
        .collect();
    let jobs = blocks.jobs.iter().filter_map(|block| read_job::read(cx, block, sources)).collect();
    let freezes = read_freeze::read_all(cx, &blocks.freezes);
    let schedules = read_schedule::read_all(cx, &blocks.schedules);
    let trust = trust(cx, &blocks.trust);
    let images = resolve::images(cx, images);
    let services = resolve::services(cx, services, &images, (&trust, &guards));
    let jobs = resolve::jobs(cx, jobs, &images, &trust);
    Spec { images, services, jobs, freezes, schedules, volumes, trust }
}

fn trust(cx: &mut Evaluator, blocks: &[&Block]) -> BTreeMap<KeyName, PublicKey> {
    let mut spans = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for block in blocks {
        let Some(read_trust::Trust { name, key }) = read_trust::read(cx, block) else { continue };
        if let Some(first) = spans.get(&name.value) {
            let message = format!("there are two trusts `{}`", name.value);
            let first = Clone::clone(first);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name.span, message)
                    .related(first, "the first is here"),
            );
            continue;
        }
        spans.insert(name.value.clone(), name.span);
        keys.insert(name.value, key);
    }
    keys
}

/// Sorts blocks by kind and declares their names, so that references may point forward.
fn collect<'b>(cx: &mut Evaluator, body: &'b Body) -> Blocks<'b> {
    let mut blocks = Blocks::default();
    if body.is_empty() {
        cx.report(empty("the file holds nothing but comments"));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for structure in body.iter() {
        let block = match structure {
            Structure::Block(block) => block,
            Structure::Attribute(attribute) => {
                cx.report(outside_of_blocks(attribute));
                continue;
            }
        };
        let kind = block.ident.value().as_str();
        let count = counts.entry(kind).or_default();
        *count += 1;
        if *count > limits::BLOCKS {
            if *count == limits::BLOCKS + 1 && KINDS.contains(&kind) {
                let message = format!("there are more than {} `{kind}` blocks", limits::BLOCKS);
                cx.report(Mistake::new(ErrorCode::TooLarge, header(block), message));
            }
            continue;
        }
        match kind {
            "variable" => blocks.variables.push(block),
            "trust" => blocks.trust.push(block),
            "job" => blocks.jobs.push(block),
            "freeze" => blocks.freezes.push(block),
            "schedule" => blocks.schedules.push(block),
            "image" => {
                let declared = declare(cx, block, BlockKind::Image, |text| ImageName::new(text));
                blocks.images.extend(declared);
            }
            "service" => {
                let declared =
                    declare(cx, block, BlockKind::Service, |text| ServiceName::new(text));
                blocks.services.extend(declared);
            }
            "volume" => {
                let declared = declare(cx, block, BlockKind::Volume, |text| VolumeName::new(text));
                blocks.volumes.extend(declared);
            }
            _ => cx.report(unknown_block(block, kind)),
        }
    }
    blocks
}

fn outside_of_blocks(attribute: &Attribute) -> Mistake {
    let key = attribute.key.value().as_str();
    let hint = if KINDS.contains(&key) {
        format!("`{key}` is a block: write `{key} \"NAME\" {{ … }}`")
    } else {
        format!("at the top of the file stand blocks: {}", one_of(KINDS))
    };
    let message = format!("key `{}` stands outside of any block", shown(key));
    Mistake::new(ErrorCode::UnknownKey, attribute.key.span().unwrap_or_default(), message)
        .hint(hint)
}

fn unknown_block(block: &Block, kind: &str) -> Mistake {
    let hint = did_you_mean(kind, KINDS).unwrap_or_else(|| format!("a block is {}", one_of(KINDS)));
    let message = format!("there is no block `{}`", shown(kind));
    Mistake::new(ErrorCode::UnknownBlock, header(block), message).hint(hint)
}

/// Declares the name of a block; none where it has none, an invalid one, or another's.
fn declare<'b, N>(
    cx: &mut Evaluator,
    block: &'b Block,
    kind: BlockKind,
    parse: fn(&str) -> Result<N, NameError>,
) -> Option<(N, &'b Block)> {
    let word = kind.word();
    let article = if kind == BlockKind::Image { "an" } else { "a" };
    let name = label(cx, block, &format!("{article} {word} needs a name"), "site")?;
    if let Some(first) = cx.declared.get(&kind).and_then(|names| names.get(&*name.value)) {
        let first = first.clone();
        let message = format!("there are two {word}s `{}`", shown(&name.value));
        cx.report(
            Mistake::new(ErrorCode::DuplicateName, name.span, message)
                .related(first, "the first is here"),
        );
        return None;
    }
    // A name that breaks the rule is declared too, so that what refers to it is not wrong as well.
    cx.declared.entry(kind).or_default().insert(name.value.to_string(), name.span.clone());
    let parsed = parse(&name.value);
    valid(cx, parsed, name).map(|At { value, .. }| (value, block))
}
