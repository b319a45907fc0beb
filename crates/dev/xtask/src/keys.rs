//! Keys that outlive a rename: what is hashed or becomes an id is never made of `Debug` text.
//!
//! A derived `Debug` prints names of the code, so renaming a type or a variant would silently change every cache key
//! made of it. The rule is one of text: in a function that feeds a digest, or whose name says that it makes a key or an
//! id, no `{:?}` may stand. Formatting in the way of `rustfmt` says where a function ends.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::run;

/// What feeds a digest.
const HASHING: &[&str] = &["Digest::of(", "Sha256::", "hasher.update(", "Digest::from_bytes("];

/// Checks every source file of the program.
pub fn check() -> Result<()> {
    let listed = run::read(Command::new("git").args(["ls-files", "-z", "crates"]))?;
    let mut faults = Vec::new();
    for path in listed.split('\0').filter(|path| is_program(path)) {
        // Deleted and not yet committed: nothing to check.
        let Ok(text) = fs::read_to_string(path) else { continue };
        check_file(path, &text, &mut faults);
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn is_program(path: &str) -> bool {
    path.ends_with(".rs")
        && path.contains("/src/")
        && !path.starts_with("crates/dev/")
        && !path.contains("/tests/")
        && !path.ends_with("/tests.rs")
}

fn check_file(path: &str, text: &str, faults: &mut Vec<String>) {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().collect();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[first..].iter().take_while(|line| **line != end);
        let body: Vec<(usize, &str)> = (first + 1..).zip(body.copied()).collect();
        let makes_key = name == "key"
            || name.ends_with("_key")
            || name.ends_with("_id")
            || body.iter().any(|(_, line)| HASHING.iter().any(|call| line.contains(call)));
        for (number, _) in body.iter().filter(|(_, line)| makes_key && shows_debug(line)) {
            faults.push(format!(
                "{path}:{number}: `{name}` makes a key or a digest: spell its words out, `{{:?}}` changes with a rename"
            ));
        }
    }
}

/// The name of the function whose signature begins in this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let words = before.split_whitespace();
    let mut qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"].iter();
    if !words.into_iter().all(|word| qualifiers.any(|known| *known == word)) {
        return None;
    }
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .filter(|name| !name.is_empty())
}

fn shows_debug(line: &str) -> bool {
    let line = line.split("// ").next().unwrap_or_default();
    line.contains(":?}") || line.contains(":#?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_file("a.rs", text, &mut faults);
        faults
    }

    #[test]
    fn debug_text_in_a_digest_is_found() {
        let text = "\
impl X {
    fn of(kind: Kind) -> Digest {
        let text = format!(\"{kind:?}\");
        Digest::of(text.as_bytes())
    }
}

pub(crate) fn request_key(request: &Request) -> String {
    format!(\"{request:?}\")
}
";
        assert_eq!(check(text).len(), 2, "{:?}", check(text));
        assert!(check(text)[0].starts_with("a.rs:3: `of` makes a key"));
    }

    #[test]
    fn debug_text_elsewhere_is_fine() {
        let text = "\
fn told(kind: Kind) -> String {
    format!(\"{kind:?}\")
}

fn key(kind: Kind) -> Digest {
    // as {kind:?} once
    Digest::of(kind.word().as_bytes())
}

#[cfg(test)]
mod tests {
    fn key(kind: Kind) -> Digest {
        Digest::of(format!(\"{kind:?}\").as_bytes())
    }
}
";
        assert_eq!(check(text), Vec::<String>::new());
    }
}
