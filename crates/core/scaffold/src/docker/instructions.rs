//! What an instruction of a Dockerfile does to an image, step by step.

use crate::{
    Entry, Found,
    dockerfile::{Instruction, assignments, command, words},
    draft::{Check, Copy, Draft, Image},
    shell,
    sources::copies,
};

/// What an instruction leaves for those behind it.
#[derive(Default)]
pub(super) struct State<'s> {
    pub(super) workdir: String,
    pub(super) ports: Vec<u16>,
    pub(super) command: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    /// Names of stages.
    pub(super) built: Vec<&'s str>,
}

/// Does what an instruction says.
pub(super) fn apply(
    found: &Found,
    instruction: &Instruction,
    image: &mut Image,
    state: &mut State<'_>,
    draft: &mut Draft,
) {
    let rest = instruction.rest.as_str();
    match instruction.keyword.as_str() {
        "RUN" => run(instruction, image, state, draft),
        "COPY" | "ADD" => copy(found, instruction, image, state, draft),
        "WORKDIR" => {
            state.workdir = below(&state.workdir, rest);
            image.workdir = Some(state.workdir.clone());
        }
        "ENV" => {
            for (name, value) in assignments(rest) {
                image.env.retain(|(other, _)| *other != name);
                image.env.push((name, value));
            }
        }
        "USER" => {
            let user = rest.split(':').next().unwrap_or(rest);
            image.user = Some(user.to_owned());
            if rest.contains(':') {
                draft.note(format!("the group of `USER {rest}` is that of the user here"));
            }
        }
        "EXPOSE" => {
            for word in rest.split_whitespace() {
                let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
                match port.parse() {
                    Ok(port) if protocol == "tcp" => state.ports.push(port),
                    _ => draft.note(format!(
                        "`EXPOSE {word}` can't be mapped: ports are single ones of TCP"
                    )),
                }
            }
        }
        "CMD" => state.command = Some(command(rest)),
        "ENTRYPOINT" => state.entrypoint = Some(command(rest)),
        "VOLUME" => {
            let paths = serde_json::from_str(rest).unwrap_or_else(|_| words(rest));
            for path in paths {
                draft.note(format!(
                    "`VOLUME {path}` becomes scratch, which is empty at each start: data that must stay needs a \
                     stateful service with a `volume`"
                ));
                image.scratch.push(path);
            }
        }
        "HEALTHCHECK" => match asked(rest) {
            Some((port, path)) => image.test = Some(Check::Http { port, path }),
            None => draft
                .note("`HEALTHCHECK` could not be read as a request: see `health` of the service"),
        },
        "LABEL" | "MAINTAINER" => {}
        other => draft.note(format!("`{other}` has no counterpart: `{other} {}`", shortened(rest))),
    }
}

fn run(instruction: &Instruction, image: &mut Image, state: &State<'_>, draft: &mut Draft) {
    let line = match (&instruction.heredoc, serde_json::from_str::<Vec<String>>(&instruction.rest))
    {
        (Some(body), _) => body.clone(),
        (None, Ok(words)) => words.join(" "),
        (None, Err(_)) => {
            let flags = instruction
                .rest
                .split_whitespace()
                .take_while(|word| word.starts_with("--"))
                .count();
            let rest = instruction.rest.splitn(flags + 1, char::is_whitespace).last();
            rest.unwrap_or_default().to_owned()
        }
    };
    let commands = shell::taken_apart(&line);
    image.packages.extend(commands.packages);
    commands.notes.into_iter().for_each(|note| draft.note(note));
    for command in commands.run {
        if command
            .split_whitespace()
            .next()
            .is_some_and(|word| word == "apk" || word == "yum" || word == "dnf")
        {
            draft.note(format!("`{}` is for another distribution", shortened(&command)));
            continue;
        }
        // Each `RUN` begins where the last `WORKDIR` said.
        let command = match state.workdir.as_str() {
            "/" => command,
            workdir => format!("cd {workdir} && {command}"),
        };
        image.run.push(command);
    }
}

fn copy(
    found: &Found,
    instruction: &Instruction,
    image: &mut Image,
    state: &State<'_>,
    draft: &mut Draft,
) {
    let (mut owner, mut mode, mut stage) = (None, None, None);
    let mut paths =
        serde_json::from_str(&instruction.rest).unwrap_or_else(|_| words(&instruction.rest));
    paths.retain(|word: &String| {
        let Some(flag) = word.strip_prefix("--") else { return true };
        match flag.split_once('=') {
            Some(("chown", value)) => owner = Some(value.to_owned()),
            Some(("chmod", value)) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                mode = Some(format!("{value:0>4}"));
            }
            Some(("from", value)) => stage = Some(value.to_owned()),
            _ => {}
        }
        false
    });
    let Some(to) = paths.pop() else { return };
    let to = below(&state.workdir, &to);
    if instruction.heredoc.is_some() {
        draft.note(format!(
            "`{} <<…` writes `{to}`: put its text into a file and `copy` that",
            instruction.keyword
        ));
        return;
    }
    for source in paths {
        let source = source.trim_start_matches("./").to_owned();
        if let Some(stage) = &stage {
            let known = state.built.contains(&stage.to_lowercase().as_str());
            let file = source.rsplit('/').next().unwrap_or(&source);
            draft.note(match known {
                true => format!(
                    "`{source}` comes out of the stage `{stage}`: build it beforehand and put it here as `{file}`"
                ),
                false => format!("`{source}` comes out of the image `{stage}`: put it here as `{file}`"),
            });
            image.copies.push(Copy {
                source: file.to_owned(),
                to: to.clone(),
                owner: owner.clone(),
                mode: mode.clone(),
            });
        } else if source.contains("://") {
            draft.note(format!("`ADD {source}` fetches: use a `run` with `network = true`, or a file of the directory"));
        } else if source.is_empty() || source == "." {
            for copy in copies(found, &to) {
                image.copies.push(Copy { owner: owner.clone(), mode: mode.clone(), ..copy });
            }
        } else {
            for source in matching(found, &source, draft) {
                image.copies.push(Copy {
                    source,
                    to: to.clone(),
                    owner: owner.clone(),
                    mode: mode.clone(),
                });
            }
        }
    }
}

/// The entries that a source with `*` means; a source without is taken as it is.
fn matching(found: &Found, source: &str, draft: &mut Draft) -> Vec<String> {
    let Some((head, tail)) = source.split_once('*') else {
        let directory = found.entries.get(source.trim_end_matches('/')) == Some(&Entry::Directory);
        return vec![if directory && !source.ends_with('/') {
            format!("{source}/")
        } else {
            source.to_owned()
        }];
    };
    let fits = |path: &&String| {
        path.len() >= head.len() + tail.len()
            && path.starts_with(head)
            && path.ends_with(tail)
            && path.matches('/').count() == source.matches('/').count()
    };
    let all: Vec<String> = found.entries.keys().filter(fits).cloned().collect();
    if all.is_empty() {
        draft.note(format!("nothing here is called `{source}`"));
    }
    all
}

/// A path as seen from a working directory.
fn below(workdir: &str, path: &str) -> String {
    match path {
        "." | "./" => format!("{}/", workdir.trim_end_matches('/')),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => {
            format!("{}/{}", workdir.trim_end_matches('/'), relative.trim_start_matches("./"))
        }
    }
}

/// Port and path of `curl http://localhost:8080/health` in a health check.
pub(crate) fn asked(check: &str) -> Option<(u16, String)> {
    let (_, rest) =
        check.split_once("http://localhost").or_else(|| check.split_once("http://127.0.0.1"))?;
    let end = rest.find([' ', '"', '\'', '|', ';', ',', ']']).unwrap_or(rest.len());
    let (port, path) = rest[..end].split_once('/').unwrap_or((&rest[..end], ""));
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None => 80,
    };
    Some((port, format!("/{path}")))
}

fn shortened(text: &str) -> String {
    const LETTERS_MAX: usize = 60;
    match text.char_indices().nth(LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
