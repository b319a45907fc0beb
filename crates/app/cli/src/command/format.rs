//! `fmt`: files of HCL in their canonical form.

use std::{
    fs::{self, File},
    io::{Read as _, stdin},
    path::Path,
};

use hornero_spec::{FILE_NAME, canonical, limits};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    arguments::FormatArguments,
    failure::{Failure, exit},
    output::{print_json, print_text},
};

/// What `fmt --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FormatReport {
    /// Every file that was looked at, in the order given.
    pub files: Vec<FormattedFile>,
}

/// A file that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FormattedFile {
    /// Its path as it was given.
    pub file: String,
    /// Whether it was not in its canonical form: written anew, or with `--check` left as it is.
    pub changed: bool,
}

/// Writes every file anew that is not in its canonical form; names them on stdout.
pub fn run(json: bool, arguments: &FormatArguments) -> Result<(), Failure> {
    if arguments.paths.iter().any(|path| path.as_os_str() == "-") {
        return stream(arguments);
    }
    let mut files = Vec::new();
    let mut mistaken = None;
    for path in &arguments.paths {
        // A mistake in one file keeps no other from being written.
        match one(path, arguments.check) {
            Ok(file) => files.push(file),
            Err(failure) => mistaken = Some(failure),
        }
    }
    let changed = files.iter().filter(|file| file.changed).count();
    if json {
        print_json(&FormatReport { files })?;
    } else {
        for file in files.iter().filter(|file| file.changed) {
            print_text(&format!("{}\n", file.file))?;
        }
    }
    match mistaken {
        Some(failure) => Err(failure),
        None if arguments.check && changed > 0 => {
            tell!("hint: `hornero fmt` puts them into their canonical form");
            Err(Failure::reported(exit::FAILED))
        }
        None => Ok(()),
    }
}

/// From stdin to stdout.
fn stream(arguments: &FormatArguments) -> Result<(), Failure> {
    if arguments.paths.len() > 1 {
        return Err(Failure::new(exit::USAGE, "`-` stands alone: stdin is one file"));
    }
    let bytes = limited(stdin().lock())?;
    let formatted = canonical_or_told("-", &bytes)?;
    match arguments.check {
        true if formatted.as_bytes() != bytes => {
            tell!("stdin is not in its canonical form");
            Err(Failure::reported(exit::FAILED))
        }
        true => Ok(()),
        false => print_text(&formatted),
    }
}

fn one(path: &Path, check: bool) -> Result<FormattedFile, Failure> {
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let shown = path.display().to_string();
    let shown = shown.strip_prefix("./").unwrap_or(&shown).to_owned();
    let bytes = File::open(&path).and_then(limited).map_err(|error| {
        let failure = Failure::new(exit::USAGE, format!("`{shown}` can't be read: {error}"));
        failure.hint(format!("name a file, or a directory with `{FILE_NAME}`"))
    });
    // Told here: more files may follow.
    let bytes = bytes.map_err(told)?;
    let formatted = canonical_or_told(&shown, &bytes)?;
    let changed = formatted.as_bytes() != bytes;
    if changed && !check {
        replace(&path, &formatted)
            .map_err(|error| Failure::new(exit::FAILED, format!("write `{shown}`: {error}")))
            .map_err(told)?;
    }
    Ok(FormattedFile { file: shown, changed })
}

fn told(failure: Failure) -> Failure {
    let code = failure.code();
    failure.report(false);
    Failure::reported(code)
}

fn canonical_or_told(shown: &str, bytes: &[u8]) -> Result<String, Failure> {
    canonical(shown, bytes).map_err(|errors| {
        crate::output::write_stderr(&errors.render(crate::output::coloured_stderr()));
        Failure::reported(exit::USAGE)
    })
}

/// One byte more than allowed, so that the parser sees that it is too much and says so.
fn limited(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limits::FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file in one step, with its mode and owner; a symbolic link stays one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let path = fs::canonicalize(path)?;
    let before = fs::metadata(&path)?;
    crate::replace::replace(&path, text.as_bytes(), |file| {
        file.set_permissions(before.permissions())?;
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()))?;
        }
        Ok(())
    })
}
