//! Runs the commands of a page of documentation: what a reader would type is what is tried.
//!
//! Every `console` block is run from top to bottom. A line that begins with `$ ` is a command of a shell, continued on
//! the next line by a `\` at its end; it has to end with 0, or with the code of a comment such as `# exit 3`. Lines
//! below it, up to the next command, have to be in what it prints, in that order; `…` stands for anything. Lines that
//! begin with `#` say something to the reader.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::home::Home;

/// A command of a page.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    line: usize,
    command: String,
    exit: i32,
    printed: Vec<String>,
}

/// Runs every command of `page` (below `docs/`) as a reader of it would in the home's project; `places` are the paths of
/// the page and what they are in this test. `hornero` is the binary under test, and its home the test's.
#[track_caller]
pub fn run(home: &Home, page: &str, places: &[(&str, PathBuf)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs").join(page);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let typed = commands(&text);
    assert!(!typed.is_empty(), "{page} has no command");
    let binary = Path::new(env!("CARGO_BIN_EXE_hornero")).parent().unwrap();
    let search = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let placed = |text: &str| {
        let replace = |text: String, (from, to): &(&str, PathBuf)| {
            text.replace(from, &to.display().to_string())
        };
        places.iter().fold(text.to_owned(), replace)
    };
    for Typed { line, command, exit, printed } in typed {
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", &placed(&command)])
            .env("PATH", &search)
            .env("HORNERO_HOME", home.path());
        let output = shell.current_dir(home.project()).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let place = format!("{page}:{line}: `{command}`");
        assert_eq!(output.status.code(), Some(exit), "{place}\n{text}");
        let mut rest = text.as_str();
        for expected in printed {
            for part in placed(&expected).split('…').map(str::trim).filter(|part| !part.is_empty())
            {
                let at = rest.find(part);
                let at = at.unwrap_or_else(|| panic!("{place} does not print `{part}`:\n{text}"));
                rest = &rest[at + part.len()..];
            }
        }
    }
}

/// The commands of a page, in order.
fn commands(text: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            (inside, continued) = (line == "```console", false);
            continue;
        }
        if !inside || (line.starts_with('#') && !continued) {
            continue;
        }
        let mut piece = None;
        if let Some(command) = line.strip_prefix("$ ") {
            typed.push(Typed {
                line: number,
                command: String::new(),
                exit: 0,
                printed: Vec::new(),
            });
            piece = Some(command);
        } else if continued {
            piece = Some(line.trim_start());
        }
        let Some(last) = typed.last_mut() else { continue };
        match piece {
            Some(piece) => {
                let (piece, exit) = piece.split_once("# exit ").unwrap_or((piece, "0"));
                last.exit = last.exit.max(exit.trim().parse().expect("an exit code"));
                continued = piece.ends_with('\\');
                last.command.push_str(piece.trim_end_matches('\\').trim_end());
                last.command.push(if continued { ' ' } else { '\n' });
            }
            None => last.printed.push(line.to_owned()),
        }
    }
    typed.iter_mut().for_each(|typed| typed.command.truncate(typed.command.trim_end().len()));
    typed
}

#[test]
fn commands_are_those_that_a_reader_would_type() {
    let page = "# Page\n```console\n# first\n$ one \\\n    --two   # exit 3\nsays … this\n$ three\n```\n```sh\n$ four\n```\n";
    let typed = |line, command: &str, exit, printed: &[&str]| Typed {
        line,
        command: command.to_owned(),
        exit,
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(
        commands(page),
        [typed(4, "one --two", 3, &["says … this"]), typed(7, "three", 0, &[])]
    );
}
