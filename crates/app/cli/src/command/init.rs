//! `init`: a first `hornero.hcl`, from what a directory holds.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path},
};

use hornero_scaffold::{ENTRIES_MAX, Entry, Found, Origin, Scaffold, TEXT_BYTES_MAX, scaffold};
use hornero_spec::{FILE_NAME, canonical};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    arguments::InitArguments,
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
};

/// What `init --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitReport {
    /// What the file was made from.
    pub from: String,
    /// Files that were written, relative to the directory.
    pub files: Vec<String>,
    /// What could not be mapped, or has to be looked at.
    pub notes: Vec<String>,
}

/// Files whose text tells what a directory is.
const TELLING: [&str; 18] = [
    "Dockerfile",
    "Containerfile",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "go.mod",
    "Cargo.toml",
    "app.py",
    "main.py",
    "wsgi.py",
    "asgi.py",
    "server.py",
    "manage.py",
    "index.html",
];

/// Directories that hold what tools made, by the thousand.
const SKIPPED: [&str; 6] = [".git", "node_modules", "target", "venv", ".venv", "__pycache__"];

/// The suite that is proposed where the host is no Debian.
const SUITE: &str = "bookworm";

/// Writes `hornero.hcl` and what it needs; never over a file that is there.
pub fn run(json: bool, arguments: &InitArguments) -> Result<(), Failure> {
    let dir = std::path::absolute(&arguments.dir)?;
    let there = dir.join(FILE_NAME);
    if !arguments.dry_run && fs::symlink_metadata(&there).is_ok() {
        let failure =
            Failure::new(exit::REFUSED, format!("`{}` is there already", there.display()));
        return Err(failure.hint("`hornero init --dry-run` prints what would be written; `hornero up` uses what is there"));
    }
    let from = arguments.from.as_deref().map(|from| inside(&dir, from)).transpose()?;
    let found = look(&dir, from.as_deref())?;
    let origin = from.as_deref().map_or(Ok(Origin::Anything), |path| origin(&found, path))?;
    let made = scaffold(&found, &origin).map_err(|error| {
        let hint = "`--from` names another file; without a Dockerfile or compose file, `init` looks at what is there";
        Failure::new(exit::USAGE, error).hint(hint)
    })?;
    let text = canonical(FILE_NAME, made.text.as_bytes()).map_err(|errors| {
        Failure::new(exit::FAILED, "what was written is no HCL: a mistake of Hornero's")
            .hint(errors.render(false))
    })?;
    if arguments.dry_run {
        return print_text(&text);
    }
    let Scaffold { from, files, mut notes, .. } = made;
    let mut written = Vec::new();
    for (path, contents) in &files {
        let target = dir.join(path);
        if fs::symlink_metadata(&target).is_ok() {
            notes.push(format!("`{path}` was there already and is used as it is"));
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| cannot_write(path, &error))?;
        }
        write_new(&target, contents).map_err(|error| cannot_write(path, &error))?;
        written.push(path.clone());
    }
    // Last: while it is missing, `init` can be run again.
    write_new(&there, &text).map_err(|error| cannot_write(FILE_NAME, &error))?;
    written.insert(0, FILE_NAME.to_owned());
    if json {
        return print_json(&InitReport { from, files: written, notes });
    }
    let mut out = format!("wrote    {} from {}\n", written.join(", "), harmless(&from));
    for note in &notes {
        out.push_str(&format!("look at  {}\n", harmless(note)));
    }
    out.push_str("next     `hornero plan` shows what would be done, `hornero up` does it\n");
    print_text(&out)
}

fn cannot_write(path: &str, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("write `{path}`: {error}"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A path as seen from the directory: what `hornero.hcl` copies lies in it.
fn inside(dir: &Path, path: &Path) -> Result<String, Failure> {
    let outside = || {
        let text = format!("`{}` is not in `{}`", path.display(), dir.display());
        let hint = "an image takes files of its own directory only: name that as DIR, or put the file into it";
        Failure::new(exit::USAGE, text).hint(hint)
    };
    // As the user sees it: relative to where the command runs, else to the directory.
    let candidates = [std::path::absolute(path)?, dir.join(path)];
    let whole = candidates
        .into_iter()
        .find(|candidate| candidate.exists())
        .ok_or_else(|| Failure::new(exit::USAGE, format!("`{}` is not there", path.display())))?;
    let relative = fs::canonicalize(&whole)?;
    let relative = relative.strip_prefix(fs::canonicalize(dir)?).map_err(|_| outside())?;
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    relative.to_str().filter(|_| plain).map(str::to_owned).ok_or_else(outside)
}

fn origin(found: &Found, path: &str) -> Result<Origin, Failure> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match found.entries.get(path) {
        Some(Entry::Program) => Ok(Origin::Program(path.to_owned())),
        Some(Entry::File) if name.ends_with(".yaml") || name.ends_with(".yml") => {
            Ok(Origin::Compose(path.to_owned()))
        }
        Some(Entry::File) if name.contains("ockerfile") || name.contains("ontainerfile") => {
            Ok(Origin::Dockerfile(path.to_owned()))
        }
        _ if path.is_empty() => Ok(Origin::Anything),
        _ => {
            let text = format!("`{path}` is no Dockerfile, compose file or program");
            Err(Failure::new(exit::USAGE, text)
                .hint("for a directory, name it as DIR: `hornero init DIR`"))
        }
    }
}

/// Looks at a directory, and at those in it.
fn look(dir: &Path, from: Option<&str>) -> Result<Found, Failure> {
    let name = dir
        .file_name()
        .map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut found = Found { name, suite: suite(), ..Found::default() };
    list(dir, "", &mut found).map_err(|error| {
        Failure::new(exit::USAGE, format!("`{}` can't be read: {error}", dir.display()))
    })?;
    if let Some(path) = from.filter(|path| !path.is_empty()) {
        see(dir, path, true, &mut found)?;
    }
    Ok(found)
}

fn list(dir: &Path, below: &str, found: &mut Found) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(below))? {
        let entry = entry?;
        // What is no text can't be named in the file; the rest of the directory can.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if found.entries.len() >= ENTRIES_MAX {
            return Ok(());
        }
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()) {
            found.entries.insert(path.clone(), Entry::Directory);
            if below.is_empty() && !SKIPPED.contains(&name.as_str()) {
                // One that can't be read is one of which nothing is known.
                let _ = list(dir, &path, found);
            }
        } else {
            see(dir, &path, TELLING.contains(&name.as_str()), found)?;
        }
    }
    Ok(())
}

/// Notes what a file is, and its text where that tells something.
fn see(dir: &Path, path: &str, telling: bool, found: &mut Found) -> io::Result<()> {
    let whole = dir.join(path);
    let Ok(metadata) = fs::metadata(&whole) else { return Ok(()) };
    if !metadata.is_file() {
        return Ok(());
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mut start = [0; 4];
    let is_elf = executable
        && File::open(&whole).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"\x7fELF";
    found.entries.insert(path.to_owned(), if is_elf { Entry::Program } else { Entry::File });
    if telling && !is_elf && metadata.len() <= TEXT_BYTES_MAX {
        let mut bytes = Vec::new();
        File::open(&whole)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
        found.texts.insert(path.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(())
}

/// The suite of this host where it is a Debian (os-release(5)).
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"'))
    };
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) if !suite.is_empty() => suite.to_owned(),
        _ => SUITE.to_owned(),
    }
}
