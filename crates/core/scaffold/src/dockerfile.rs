//! Reads a Dockerfile into stages of instructions (docs.docker.com/reference/dockerfile).

use std::collections::BTreeMap;

use crate::ScaffoldError;

/// Instructions of one file; those of people have dozens.
const INSTRUCTIONS_MAX: usize = 2000;

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The image, with arguments filled in.
    pub from: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Keyword in capitals and the rest, with arguments and environment filled in where Docker does that.
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub keyword: String,
    pub rest: String,
    /// The lines of its heredoc, where it has one.
    pub heredoc: Option<String>,
}

/// Every stage, in order; never none.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Stage>, ScaffoldError> {
    let mut reading = Reading::default();
    for (line, instruction) in instructions(text) {
        reading.take(instruction).map_err(|reason| ScaffoldError::Syntax {
            file: file.to_owned(),
            line,
            reason,
        })?;
    }
    if reading.stages.is_empty() {
        return Err(ScaffoldError::Empty {
            file: file.to_owned(),
            reason: "has no `FROM`".to_owned(),
        });
    }
    Ok(reading.stages)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    stages: Vec<Stage>,
    /// Arguments before the first `FROM`, which are known to `FROM` only.
    arguments: BTreeMap<String, String>,
    /// Arguments and environment of the last stage.
    known: BTreeMap<String, String>,
}

impl Reading {
    /// Takes the next instruction, or says why it is none.
    fn take(&mut self, instruction: Instruction) -> Result<(), String> {
        let Instruction { keyword, rest, heredoc } = instruction;
        let filled = match keyword.as_str() {
            // A shell fills these in itself, at a time when the value is known.
            "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "HEALTHCHECK" => rest,
            "FROM" => filled(&rest, &self.arguments),
            _ => filled(&rest, &self.known),
        };
        match keyword.as_str() {
            "FROM" => return self.begin_stage(&filled),
            "ARG" => {
                filled.split_whitespace().for_each(|word| self.declare(word));
                return Ok(());
            }
            _ => {}
        }
        if !keyword.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("`{keyword}` is no instruction"));
        }
        let Some(stage) = self.stages.last_mut() else {
            return Err(format!("`{keyword}` stands before the first `FROM`"));
        };
        if stage.instructions.len() >= INSTRUCTIONS_MAX {
            return Err(format!("more than {INSTRUCTIONS_MAX} instructions"));
        }
        if keyword == "ENV" {
            self.known.extend(assignments(&filled));
        }
        stage.instructions.push(Instruction { keyword, rest: filled, heredoc });
        Ok(())
    }

    /// `FROM [--OPTION]... IMAGE [AS NAME]`.
    fn begin_stage(&mut self, filled: &str) -> Result<(), String> {
        let mut words = filled.split_whitespace().filter(|word| !word.starts_with("--"));
        let from = words.next().ok_or("`FROM` names no image")?;
        let name = words.next().filter(|word| word.eq_ignore_ascii_case("as")).and(words.next());
        self.known.clear();
        self.stages.push(Stage {
            from: from.to_owned(),
            name: name.map(str::to_lowercase),
            instructions: Vec::new(),
        });
        Ok(())
    }

    /// `NAME[=VALUE]` of an `ARG`; without a value it has the one from before the first `FROM`.
    fn declare(&mut self, word: &str) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.trim_matches(['"', '\'']).to_owned();
        if self.stages.is_empty() {
            self.arguments.insert(name.to_owned(), value);
        } else if value.is_empty() {
            let outer = self.arguments.get(name).cloned().unwrap_or_default();
            self.known.insert(name.to_owned(), outer);
        } else {
            self.known.insert(name.to_owned(), value);
        }
    }
}

/// Instructions and the lines they begin on: continued lines joined, comments left out, heredocs taken along.
fn instructions(text: &str) -> Vec<(usize, Instruction)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut whole = String::new();
        let mut part = line.to_owned();
        // Comments and empty lines between continued lines belong to nothing.
        while let Some(head) = part.strip_suffix('\\') {
            whole.push_str(head.trim_end());
            whole.push(' ');
            part = loop {
                match lines.next() {
                    Some((_, next)) if next.trim().is_empty() || next.trim().starts_with('#') => {}
                    Some((_, next)) => break next.trim().to_owned(),
                    None => break String::new(),
                }
            };
        }
        whole.push_str(&part);
        let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let heredoc = marker(rest).map(|marker| {
            let body =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != marker);
            body.collect::<Vec<_>>().join("\n")
        });
        let instruction =
            Instruction { keyword: keyword.to_uppercase(), rest: rest.trim().to_owned(), heredoc };
        found.push((number + 1, instruction));
    }
    found
}

/// The end marker of a heredoc that an instruction opens.
fn marker(rest: &str) -> Option<String> {
    let (_, after) = rest.split_once("<<")?;
    let word = after.trim_start_matches('-').split_whitespace().next()?;
    let word = word.trim_matches(['"', '\'']);
    let is_word =
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word.then(|| word.to_owned())
}

/// `$NAME`, `${NAME}` and `${NAME:-default}` filled in; what is not known becomes empty, as Docker has it.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, default) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((inner, after)) => {
                rest = after;
                let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
                (name, default)
            }
            None => {
                let end =
                    rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = after;
                (name, "")
            }
        };
        if name.is_empty() {
            out.push('$');
            continue;
        }
        let value = known.get(name).filter(|value| !value.is_empty());
        out.push_str(value.map_or(default, String::as_str));
    }
    out.push_str(rest);
    out
}

/// `A=b C="d e"`, or the old `A b`.
pub(crate) fn assignments(rest: &str) -> Vec<(String, String)> {
    let words = words(rest);
    match words.first() {
        Some(first) if first.contains('=') => words
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        Some(first) => {
            let value = rest.trim_start()[first.len().min(rest.trim_start().len())..].trim();
            vec![(first.clone(), value.to_owned())]
        }
        None => Vec::new(),
    }
}

/// Words as a shell splits them, quotes taken away.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut open) = (None, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, space) if space.is_whitespace() => open = false,
            (None, '"' | '\'') => {
                quote = Some(character);
                if !open {
                    words.push(String::new());
                    open = true;
                }
            }
            (Some(mark), close) if mark == close => quote = None,
            (_, character) => {
                if !open {
                    words.push(String::new());
                    open = true;
                }
                let character = match (quote, character) {
                    (None | Some('"'), '\\') => characters.next().unwrap_or('\\'),
                    _ => character,
                };
                words.last_mut().expect("one was just opened").push(character);
            }
        }
    }
    words
}

/// A command in its exec form (a JSON list), else through a shell.
pub(crate) fn command(rest: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) => words,
        Err(_) if rest.trim().is_empty() => Vec::new(),
        // `exec` gives the program the shell's place, so that it gets the signals.
        Err(_) => vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            format!("exec {}", rest.trim_start_matches("exec ")),
        ],
    }
}
