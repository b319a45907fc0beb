//! No input makes the parser panic, and whatever it says points into the file.

use hornero_spec::{Variables, parse};
use proptest::prelude::*;

use crate::{check::Beside, reads::DESIGN};

/// Parses and renders; every error must point at a line that is there.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let outcome = parse("hornero.hcl", bytes, &Variables::new(), &Beside::usual());
    let Err(errors) = outcome else { return Ok(()) };
    prop_assert!(errors.iter().next().is_some());
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for error in &errors {
        prop_assert!((1..=lines).contains(&error.place.line), "{error}");
        prop_assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error}");
    }
    let plain = errors.render(false);
    prop_assert!(plain.contains(errors.iter().next().unwrap().code.as_str()));
    prop_assert!(errors.render(true).len() > plain.len());
    Ok(())
}

/// Pieces of which a file can be made up that is nearly right.
const PIECES: [&str; 52] = [
    "image",
    "service",
    "volume",
    "variable",
    "\"a\"",
    "\"b\"",
    "{",
    "}",
    "{\n",
    "}\n",
    "\n",
    "=",
    ",",
    "[",
    "]",
    "(",
    ")",
    "debian",
    "from",
    "copy",
    "test",
    "run",
    "command",
    "port",
    "route",
    "health",
    "http",
    "image.a",
    "var.a",
    "service.b",
    "\"${",
    "}\"",
    "\"%{if ",
    "%{endif}\"",
    "for x in",
    ":",
    "?",
    "...",
    "[*]",
    ".x",
    "1",
    "-",
    "1e308",
    "18446744073709551615",
    "true",
    "null",
    "<<X\n",
    "\nX\n",
    "\"1GiB\"",
    "\"public/\"",
    "é",
    "#",
];

#[test]
fn a_mistake_in_the_middle_of_a_letter() {
    survives("\u{1ee51}{\u{10d6f}".as_bytes()).unwrap();
}

proptest! {

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes)?;
    }

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        survives(text.as_bytes())?;
    }

    #[test]
    fn pieces(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        survives(pieces.join(" ").as_bytes())?;
        survives(pieces.concat().as_bytes())?;
    }

    #[test]
    fn expressions(pieces in prop::collection::vec(prop::sample::select(&PIECES[10..]), 0..20)) {
        let text = format!("image \"a\" {{\n  run = [{}]\n}}\n", pieces.join(" "));
        survives(text.as_bytes())?;
    }

    #[test]
    fn a_good_file_with_bytes_changed(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let mut bytes = DESIGN.as_bytes().to_vec();
        for (index, byte, edit) in edits {
            let at = index.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        survives(&bytes)?;
    }

    #[test]
    fn a_good_file_with_lines_moved(
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut lines: Vec<&str> = DESIGN.lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        lines.remove(cut.index(lines.len()));
        survives(lines.join("\n").as_bytes())?;
    }

    #[test]
    fn values_of_every_type_under_every_key(
        key in prop::sample::select(&[
            "debian", "from", "mirror", "keyring", "packages", "run", "network", "user", "command", "env",
            "workdir", "scratch", "image", "kind", "instances", "egress", "depends_on", "max_age", "health",
            "rollout", "resources", "size", "prevent_destroy", "type", "default",
        ][..]),
        value in prop::sample::select(&[
            "null", "true", "-1", "0.5", "9007199254740992", "\"\"", "\"x\"", "\"\\u0000\"", "[]", "[[]]", "[null]",
            "{}", "{ a = null }", "{ port = {} }", "image.a", "[image.a]", "service.a", "volume.a", "var.a",
            "[for x in [1] : x]", "\"${image.a}\"", "upper(1)", "list(string)",
        ][..]),
    ) {
        for kind in ["image", "service", "volume", "variable"] {
            let text = format!("{kind} \"a\" {{\n  {key} = {value}\n}}\n");
            survives(text.as_bytes())?;
        }
    }
}
