//! The directory a command works on: its `hornero.hcl` and its variables.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use hornero_bake::sources::DirectorySources;
use hornero_model::ServiceName;
use hornero_spec::{Errors, FILE_NAME, Places, Spec, Variables, limits};

use crate::{
    arguments::Source,
    failure::{ErrorReport, Failure, exit},
    output::print_json,
    reports::MistakesReport,
};

/// A directory whose `hornero.hcl` was read.
pub struct Project {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// What its `hornero.hcl` declares.
    pub spec: Spec,
    /// The name of that file as it is shown.
    pub file: String,
    bytes: Vec<u8>,
}

impl Project {
    /// Where its `hornero.hcl` declares what it does.
    pub fn places(&self) -> DeclaredPlaces<'_> {
        DeclaredPlaces { file: &self.file, places: Places::of(&self.bytes) }
    }
}

/// Where a file declares what it does.
pub struct DeclaredPlaces<'f> {
    /// The file's name as it is shown.
    pub file: &'f str,
    /// Its declarations; none where it changed into no HCL.
    pub places: Option<Places>,
}

/// Reads the `hornero.hcl` of a directory; every mistake in it is told at once.
pub fn read(source: &Source, json_wanted: bool) -> Result<Project, Failure> {
    let dir = std::path::absolute(&source.dir)?;
    let (shown, bytes) = contents(&source.dir)?;
    let variables = variables(source);
    let spec = hornero_spec::parse(&shown, &bytes, &variables, &DirectorySources::new(&dir));
    let spec = spec.or_else(|errors| mistaken(FILE_NAME, &errors, json_wanted))?;
    Ok(Project { dir, spec, file: shown, bytes })
}

/// The services that the `hornero.hcl` of a directory declares; their names need no variables.
pub fn services(dir: &Path, json_wanted: bool) -> Result<Vec<ServiceName>, Failure> {
    let (shown, bytes) = contents(dir)?;
    hornero_spec::declared_services(&shown, &bytes)
        .or_else(|errors| mistaken(FILE_NAME, &errors, json_wanted))
}

/// The name of a directory's `hornero.hcl`, as it is shown, and what it holds.
fn contents(dir: &Path) -> Result<(String, Vec<u8>), Failure> {
    let shown = dir.join(FILE_NAME).display().to_string();
    let shown = shown.strip_prefix("./").unwrap_or(&shown).to_owned();
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too much and says so.
    let limit = limits::FILE_BYTES as u64 + 1;
    let file = File::open(std::path::absolute(dir)?.join(FILE_NAME));
    let read = file.and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(exit::USAGE, format!("`{shown}` can't be read: {error}"))
            .hint("name the directory with `hornero.hcl`; `hornero init` writes a first one")
    })?;
    Ok((shown, bytes))
}

/// Tells every mistake of a file, which has this name.
pub fn mistaken<T>(file: &str, errors: &Errors, json_wanted: bool) -> Result<T, Failure> {
    if json_wanted {
        let message = format!("`{file}` has mistakes");
        let error = ErrorReport { message: &message, hint: None, exit: exit::USAGE, code: None };
        print_json(&MistakesReport { error, errors: errors.errors() })?;
    }
    crate::output::write_stderr(&errors.render(crate::output::coloured_stderr()));
    Err(Failure::reported(exit::USAGE))
}

/// Variables of the environment, overridden by those of the command line.
fn variables(source: &Source) -> Variables {
    let mut variables = Variables::new();
    let environment = std::env::vars_os();
    variables.set_environment(
        environment.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    );
    for (name, value) in &source.variables {
        variables.set(name, value);
    }
    variables
}
