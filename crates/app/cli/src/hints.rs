//! Hints whose commands work on the home that this command was told of.

use std::{ffi::OsString, path::Path, sync::OnceLock};

/// The home that `--home` named; unset where the environment or nobody did, so that commands in hints need not.
static HOME: OnceLock<String> = OnceLock::new();

/// Has hints name the home that this command was told of, so that what is pasted works on the same one.
pub fn hints_for(home: &Path) {
    let words = std::env::args_os().skip(1).take_while(|word| word != "--");
    let is_named = |word: OsString| {
        let word = word.as_encoded_bytes();
        word == b"--home" || word.starts_with(b"--home=")
    };
    if words.into_iter().any(is_named) {
        // Told once, by `main`.
        let _ = HOME.set(in_shell(&home.display().to_string()));
    }
}

/// A hint whose commands are for the home that was named.
pub fn for_named_home(hint: &str) -> String {
    for_home(hint, HOME.get())
}

/// A hint whose commands are for `home`.
fn for_home(hint: &str, home: Option<&String>) -> String {
    match home {
        Some(home) => hint.replace("`hornero ", &format!("`hornero --home {home} ")),
        None => hint.to_owned(),
    }
}

/// A word as a shell takes it.
fn in_shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%".contains(letter);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_hints_are_for_the_home_that_was_named() {
        let hint = "`hornero status` shows it; `journalctl -u hornero` too";
        assert_eq!(for_home(hint, None), hint);
        let home = in_shell("/srv/my home");
        assert_eq!(
            for_home(hint, Some(&home)),
            "`hornero --home '/srv/my home' status` shows it; `journalctl -u hornero` too"
        );
        assert_eq!(in_shell("/tmp/h-1"), "/tmp/h-1");
        assert_eq!(in_shell("it's"), r"'it'\''s'");
    }
}
