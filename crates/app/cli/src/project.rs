//! The directory a command works on: its `hornero.hcl` and its variables.

use std::{fs::File, io::Read as _, path::PathBuf};

use hornero_bake::sources::DirectorySources;
use hornero_spec::{FILE_NAME, Spec, Variables, limits};
use serde_json::json;

use crate::{
    arguments::Source,
    failure::{Failure, exit},
    output::print_json,
};

/// A directory whose `hornero.hcl` was read.
pub struct Project {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// What its `hornero.hcl` declares.
    pub spec: Spec,
}

/// Reads the `hornero.hcl` of a directory; every mistake in it is told at once.
pub fn read(source: &Source, json_wanted: bool) -> Result<Project, Failure> {
    let dir = std::path::absolute(&source.dir)?;
    let path = dir.join(FILE_NAME);
    let shown = source.dir.join(FILE_NAME).display().to_string();
    let shown = shown.strip_prefix("./").unwrap_or(&shown);
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too much and says so.
    let limit = limits::FILE_BYTES as u64 + 1;
    let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(exit::USAGE, format!("`{shown}` can't be read: {error}"))
            .hint("name the directory with `hornero.hcl`, as in `hornero build examples/site`")
    })?;
    let variables = variables(source);
    match hornero_spec::parse(shown, &bytes, &variables, &DirectorySources::new(&dir)) {
        Ok(spec) => Ok(Project { dir, spec }),
        Err(errors) => {
            if json_wanted {
                let error = json!({
                    "message": format!("`{FILE_NAME}` has mistakes"), "hint": null, "exit": exit::USAGE,
                });
                print_json(&json!({ "error": error, "errors": errors.errors() }))?;
            }
            eprint!("{}", errors.render(crate::output::coloured_stderr()));
            Err(Failure::reported(exit::USAGE))
        }
    }
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
