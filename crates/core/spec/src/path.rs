//! Paths: in the image, and beside `hornero.hcl`.

use std::collections::VecDeque;

use crate::{
    AtPath, ErrorCode, SourceKind, Sources, error::Mistake, evaluate::Evaluator, limits,
    read_value::shown, section::Text,
};

/// Directories that the kernel fills; nothing of an image can be there.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// An absolute path in an image, normalised; none where it is no such path, which is reported.
pub(crate) fn in_image(cx: &mut Evaluator, name: &str, path: &Text) -> Option<String> {
    let text = &*path.value;
    let mistake = if !text.starts_with('/') {
        Mistake::new(
            ErrorCode::InvalidValue,
            path.span.clone(),
            format!("{name} must be an absolute path, not `{}`", shown(text)),
        )
        .hint("begin it with `/`: it is a path inside the image")
    } else if text.split('/').any(|part| part == "..") {
        Mistake::new(
            ErrorCode::PathEscapes,
            path.span.clone(),
            format!("{name} must not contain `..`: `{}`", shown(text)),
        )
        .hint("write the path it comes to")
    } else if text.len() > limits::PATH_BYTES {
        too_long(name, path)
    } else if text.chars().any(char::is_control) {
        Mistake::new(
            ErrorCode::InvalidValue,
            path.span.clone(),
            format!("{name} holds a control character"),
        )
    } else {
        let normal = normal(text);
        match KERNEL.iter().find(|root| below(&normal, root)) {
            None => return Some(normal),
            Some(root) => Mistake::new(
                ErrorCode::InvalidValue,
                path.span.clone(),
                format!("{name} must not be in `{root}`, which the kernel fills"),
            ),
        }
    };
    cx.report(mistake);
    None
}

/// Whether `path` is `root` or below it.
pub(crate) fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn normal(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn too_long(name: &str, path: &Text) -> Mistake {
    let message = format!("{name} is longer than {} bytes", limits::PATH_BYTES);
    Mistake::new(ErrorCode::TooLarge, path.span.clone(), message)
}

/// A copy source: its path without symlinks, its own last name, and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub path: String,
    pub name: String,
    pub kind: SourceKind,
}

/// Finds a copy source; none where it is missing or outside, which is reported.
pub(crate) fn source(
    cx: &mut Evaluator,
    sources: &dyn Sources,
    name: &str,
    path: &Text,
) -> Option<Source> {
    match find(sources, name, path) {
        Ok(source) => Some(source),
        Err(mistake) => {
            cx.report(mistake);
            None
        }
    }
}

fn find(sources: &dyn Sources, name: &str, path: &Text) -> Result<Source, Mistake> {
    let text = &*path.value;
    let mistake = |code, message: String| Mistake::new(code, path.span.clone(), message);
    let inside = "a source is relative to the directory of `hornero.hcl` and stays in it";
    if text.is_empty() {
        return Err(mistake(ErrorCode::InvalidValue, format!("{name} is empty"))
            .hint("`.` is the directory of `hornero.hcl` itself"));
    }
    if text.starts_with('/') {
        let message = format!("{name} must not be absolute: `{}`", shown(text));
        return Err(mistake(ErrorCode::PathEscapes, message).hint(inside));
    }
    if text.split('/').any(|part| part == "..") {
        let message = format!("{name} must not contain `..`: `{}`", shown(text));
        return Err(mistake(ErrorCode::PathEscapes, message).hint(inside));
    }
    if text.len() > limits::PATH_BYTES {
        return Err(too_long(name, path));
    }
    if text.chars().any(char::is_control) {
        return Err(mistake(ErrorCode::InvalidValue, format!("{name} holds a control character")));
    }
    let normal = normal(text);
    let own_name = normal.rsplit('/').next().unwrap_or_default().to_owned();
    let (path, kind) = walk(sources, &normal, &mistake, name, inside)?;
    if text.ends_with('/') && kind == SourceKind::File {
        let message = format!("{name} ends in `/`, but `{}` is a file", shown(text));
        return Err(mistake(ErrorCode::InvalidValue, message).hint("leave out the last `/`"));
    }
    Ok(Source { path, name: own_name, kind })
}

fn leads_out(
    mistake: &dyn Fn(ErrorCode, String) -> Mistake,
    name: &str,
    at: &str,
    target: &str,
) -> Mistake {
    let (at, target) = (shown(at), shown(target));
    let message = format!("{name} leaves the directory: `{at}` is a symlink to `{target}`");
    mistake(ErrorCode::PathEscapes, message)
}

/// Follows `path` one component at a time, symlinks included, and refuses to leave the directory.
fn walk(
    sources: &dyn Sources,
    path: &str,
    mistake: &dyn Fn(ErrorCode, String) -> Mistake,
    name: &str,
    inside: &str,
) -> Result<(String, SourceKind), Mistake> {
    let components = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    let missing = |at: &str, why: &str| {
        let message = format!("{name} does not exist: {why} `{}`", shown(at));
        mistake(ErrorCode::SourceMissing, message)
            .hint("the path is relative to the directory of `hornero.hcl`")
    };
    let mut waiting: VecDeque<String> = components(path).into();
    let mut reached: Vec<String> = Vec::new();
    let mut kind = SourceKind::Directory;
    let mut symlinks = 0;
    while let Some(part) = waiting.pop_front() {
        if part == ".." {
            if reached.pop().is_none() {
                let message = format!("{name} leaves the directory through a symlink");
                return Err(mistake(ErrorCode::PathEscapes, message).hint(inside));
            }
            kind = SourceKind::Directory;
            continue;
        }
        if kind == SourceKind::File {
            return Err(missing(&reached.join("/"), "there is a file, not a directory, at"));
        }
        reached.push(part);
        let at = reached.join("/");
        kind = match sources.look(&at) {
            AtPath::File => SourceKind::File,
            AtPath::Directory => SourceKind::Directory,
            AtPath::Symlink(target) => {
                symlinks += 1;
                if target.starts_with('/') {
                    return Err(leads_out(mistake, name, &at, &target).hint(inside));
                }
                if symlinks > limits::SYMLINKS || target.len() > limits::PATH_BYTES {
                    let message = format!("{name} leads through too many symlinks");
                    return Err(mistake(ErrorCode::InvalidValue, message)
                        .hint("look for symlinks that point at each other"));
                }
                reached.pop();
                for part in components(&target).into_iter().rev() {
                    waiting.push_front(part);
                }
                SourceKind::Directory
            }
            AtPath::Other => {
                let message = format!("{name} is neither a file nor a directory: `{}`", shown(&at));
                return Err(mistake(ErrorCode::InvalidValue, message)
                    .hint("sockets, pipes and devices can't be copied"));
            }
            AtPath::Missing => return Err(missing(&at, "there is nothing at")),
            AtPath::Unreadable(why) => {
                let message = format!("{name} can't be read at `{}`: {why}", shown(&at));
                return Err(mistake(ErrorCode::SourceMissing, message));
            }
        };
    }
    let path = if reached.is_empty() { ".".to_owned() } else { reached.join("/") };
    Ok((path, kind))
}
