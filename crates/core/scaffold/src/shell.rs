//! Shell commands of a Dockerfile: what of them is packages, what is for Docker only, and what stays.

/// A `RUN` taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Commands {
    /// What stays to be run.
    pub run: Vec<String>,
    /// Debian packages to install.
    pub packages: Vec<String>,
    /// What needs to be looked at.
    pub notes: Vec<String>,
}

/// Takes a command line apart at `&&` and `;` outside of quotes, and finds what apt is asked for in it.
pub(crate) fn taken_apart(line: &str) -> Commands {
    let mut commands = Commands::default();
    let parts = parts(line);
    let about_apt = parts.iter().any(|part| installs(part).is_some());
    let compound = parts.iter().any(|part| {
        let first = part.split_whitespace().next().unwrap_or_default();
        matches!(
            first,
            "if" | "then" | "else" | "fi" | "for" | "while" | "do" | "done" | "case" | "esac"
        )
    });
    if !about_apt || compound {
        if about_apt {
            let note = "a `RUN` installs packages inside of a condition or loop: move their names to `packages`";
            commands.notes.push(note.to_owned());
        }
        commands.run.push(line.trim().to_owned());
        return commands;
    }
    let mut kept = Vec::new();
    for part in parts {
        if let Some(arguments) = installs(&part) {
            for word in arguments.filter(|word| !word.starts_with('-')) {
                let (name, version) = word.split_once('=').unwrap_or((word, ""));
                let name = name.split(['/', ':']).next().unwrap_or(name);
                if name.contains(['$', '{', '*']) || name.is_empty() {
                    commands
                        .notes
                        .push(format!("the package `{word}` has a name that only a shell knows"));
                    continue;
                }
                if !version.is_empty() {
                    let note = format!(
                        "`{name}` is locked by hornero.lock instead of at version {version}"
                    );
                    commands.notes.push(note);
                }
                commands.packages.push(name.to_owned());
            }
        } else if !is_for_docker(&part) {
            kept.push(part);
        }
    }
    if !kept.is_empty() {
        commands.run.push(kept.join(" && "));
    }
    commands
}

/// What follows `apt-get install`; none where a command is another.
fn installs(command: &str) -> Option<impl Iterator<Item = &str>> {
    let mut words = command.split_whitespace().skip_while(|word| {
        word.split_once('=').is_some_and(|(name, _)| {
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
    });
    let program = words.next()?;
    if !matches!(program, "apt-get" | "apt" | "/usr/bin/apt-get") {
        return None;
    }
    // Options may stand before the word; the value of `-o` is one word with `=`.
    let mut words = words.skip_while(|word| word.starts_with('-') || word.contains("::"));
    (words.next()? == "install").then_some(words)
}

/// What keeps an image of Docker's small, and means nothing here: a bake keeps no lists.
fn is_for_docker(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["apt-get" | "apt", rest @ ..] => rest.iter().any(|word| {
            matches!(*word, "update" | "clean" | "autoremove" | "autoclean" | "upgrade")
        }),
        ["rm", rest @ ..] => rest.iter().any(|word| word.starts_with("/var/lib/apt/lists")),
        ["set", ..] => true,
        _ => false,
    }
}

/// Commands of a line, split at `&&` and `;` outside of quotes and brackets.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quote, mut depth) = (None, 0_usize);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match (quote, character) {
            (_, '\\') => {
                parts[last].push(character);
                parts[last].extend(characters.next());
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth = depth.saturating_sub(1),
            (None, '&') if depth == 0 && characters.peek() == Some(&'&') => {
                characters.next();
                parts.push(String::new());
                continue;
            }
            (None, ';') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts[last].push(character);
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Whether a command fetches something.
pub(crate) fn fetches(command: &str) -> bool {
    const FETCHERS: [&str; 13] = [
        "pip", "pip3", "npm", "yarn", "pnpm", "curl", "wget", "git", "go", "cargo", "gem",
        "bundle", "composer",
    ];
    command
        .split(|character: char| {
            character.is_whitespace() || matches!(character, ';' | '&' | '|' | '(' | ')')
        })
        .any(|word| FETCHERS.contains(&word.rsplit('/').next().unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_and_what_is_for_docker_goes() {
        let commands = taken_apart(
            "set -eux; apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
             curl libpq5=15.1 && rm -rf /var/lib/apt/lists/* && echo 'a && b; c' > /etc/motd",
        );
        assert_eq!(commands.packages, ["curl", "libpq5"]);
        assert_eq!(commands.run, ["echo 'a && b; c' > /etc/motd"]);
        assert_eq!(commands.notes.len(), 1);
    }

    #[test]
    fn other_commands_stay_as_they_are() {
        let line = "if [ -f a ]; then b; fi";
        assert_eq!(taken_apart(line).run, [line]);
        assert!(fetches("cd x && /usr/bin/pip install y"));
        assert!(!fetches("echo pipe; go-home"));
    }
}
