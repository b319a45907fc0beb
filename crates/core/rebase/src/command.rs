//! An image's command, its tests and the directory they start in: what starts on the old base has to start on the new.

use hornero_model::{ImageConfig, TestCheck};

use crate::{
    entry,
    programs::{self, Programs, Script, Side},
    refusal::{RebaseRefusal, RefusalKind},
    view::At,
};

/// What the new base lacks of what the image's configuration names.
pub(crate) fn refusals(programs: &Programs<'_>, config: &ImageConfig) -> Vec<RebaseRefusal> {
    let mut refusals = workdir(programs, config);
    let mut check = |words: &[String], by: &str| {
        for name in names(words) {
            refusals.extend(program(programs, &config.workdir, name, by));
        }
    };
    check(&config.command, "the image's command");
    for test in &config.tests {
        if let TestCheck::Run(words) = &test.check {
            check(words, &format!("the image's test `{}`", test.name));
        }
    }
    refusals
}

/// The program of a command, and the one that `env` looks for.
fn names(words: &[String]) -> Vec<&str> {
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let is_env = first == "env" || first.ends_with("/env");
    let named = rest.iter().find(|word| !word.starts_with('-') && !word.contains('='));
    std::iter::once(first.as_str()).chain(named.filter(|_| is_env).map(String::as_str)).collect()
}

/// A program that is not there any more, or another one than before.
fn program(programs: &Programs<'_>, workdir: &str, name: &str, by: &str) -> Vec<RebaseRefusal> {
    let (old, new) = (&programs.old, &programs.new);
    let name = match name.contains('/') && !name.starts_with('/') {
        true => format!("{workdir}/{name}"),
        false => name.to_owned(),
    };
    let Some((path, was)) = old.program(&name) else { return Vec::new() };
    let path = path.trim_start_matches('/').as_bytes();
    let refuse = |kind, need: String, found: String| {
        vec![RebaseRefusal::of_file(kind, path, programs.own_layer(path), need, found)]
    };
    let Some((_, is)) = new.program(&name) else {
        let need = format!("to be there, as {by} runs it");
        return refuse(RefusalKind::CommandMissing, need, new.instead_of(&name));
    };
    if !programs::is_same_place(&was, &is) {
        let need = format!("to be `{}`, as {by} runs it", entry::shown(&was));
        let found = format!("`{}`", entry::shown(&is));
        return refuse(RefusalKind::ProgramChanged, need, found);
    }
    programs.interpreters_changed(path, script(old, &was), script(new, &is))
}

fn script<'v>(side: &Side<'v>, path: &[u8]) -> Script<'v> {
    let At::Entry(found) = side.view.get(path)? else { return None };
    let script = found.layer.script(found.number)?;
    Some((&script.interpreter, script.program.as_deref()))
}

/// The directory that the command starts in, unless it is one of the instance's own.
fn workdir(programs: &Programs<'_>, config: &ImageConfig) -> Vec<RebaseRefusal> {
    let path = config.workdir.trim_matches('/');
    let is_scratch = config.scratch.iter().any(|scratch| scratch.path.trim_matches('/') == path);
    if path.is_empty() || is_scratch {
        return Vec::new();
    }
    let path = path.as_bytes();
    let is_directory = |at: &At<'_>| match at {
        At::Entry(found) => found.entry().is_directory(),
        At::Implied => true,
    };
    let at =
        |side: &Side<'_>| side.view.resolve(path).map(|(_, at)| (is_directory(&at), what(&at)));
    match (at(&programs.old), at(&programs.new)) {
        (Some((true, _)), new) if new.as_ref().is_none_or(|(directory, _)| !directory) => {
            let need = "to be a directory, as the image's command starts there";
            let found = new.map_or_else(|| "nothing there".to_owned(), |(_, what)| what);
            vec![RebaseRefusal::of_file(RefusalKind::WorkdirMissing, path, None, need, found)]
        }
        _ => Vec::new(),
    }
}

fn what(at: &At<'_>) -> String {
    match at {
        At::Entry(found) => found.entry().kind.to_string(),
        At::Implied => "a directory".to_owned(),
    }
}
