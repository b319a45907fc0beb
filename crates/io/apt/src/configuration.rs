//! apt's configuration (apt.conf(5)), for what decides about candidates and about the age of indexes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{files, limits};

/// Values by their names in lower case, such as `acquire::check-date`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    values: BTreeMap<String, String>,
}

impl Configuration {
    /// Reads what lies below `apt_dir`; later files win, and `apt.conf` over all.
    pub fn read(apt_dir: &Path) -> Self {
        let mut configuration = Self::default();
        let mut found = parts(&apt_dir.join("apt.conf.d"), &["", "conf"]);
        found.push(apt_dir.join("apt.conf"));
        for file in found {
            let Ok(text) = files::read_text(&file, limits::SOURCES_FILE_BYTES) else { continue };
            configuration.add(&text);
        }
        configuration
    }

    /// A value by its name in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// A yes or no.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| !is_no(value))
    }

    fn add(&mut self, text: &str) {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        for token in tokens(text) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    scopes.push(std::mem::take(&mut words).into_iter().next().unwrap_or_default());
                }
                Token::Close => {
                    scopes.pop();
                    words.clear();
                }
                Token::End => {
                    let mut statement = std::mem::take(&mut words).into_iter();
                    let (Some(name), Some(value)) = (statement.next(), statement.next()) else {
                        continue;
                    };
                    let path: Vec<&str> =
                        scopes.iter().map(String::as_str).chain([name.as_str()]).collect();
                    self.values.insert(path.join("::").to_ascii_lowercase(), value);
                }
            }
        }
    }
}

/// Whether a value of apt's means no.
pub(crate) fn is_no(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    matches!(value.as_str(), "no" | "false" | "0" | "off" | "without" | "disable")
}

/// The files of a directory of parts that apt reads: with one of these endings, in the order of their names.
pub(crate) fn parts(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .map(|dir| dir.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    found.retain(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        !name.starts_with('.') && name.bytes().all(plain) && endings.contains(&ending)
    });
    found.sort();
    found
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if first == '#' || rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (word, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        } else if let Some(token) = match first {
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            ';' => Some(Token::End),
            _ => None,
        } {
            tokens.push(token);
            rest = &rest[1..];
        } else {
            let end = rest
                .find(|char: char| char.is_whitespace() || "{};\"".contains(char))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_comments_and_lists() {
        let mut configuration = Configuration::default();
        configuration.add(
            "// note\n# note\nAcquire { Check-Date \"no\"; /* more */ Retries 3; };\n\
             Acquire::Check-Valid-Until \"false\";\nAPT::Architectures:: \"amd64\";\n\
             DPkg::Post-Invoke { \"rm; x\"; };\nAPT::Default-Release \"stable\";",
        );
        assert!(!configuration.flag("Acquire::Check-Date", true));
        assert!(!configuration.flag("acquire::check-valid-until", true));
        assert!(configuration.flag("Acquire::Nothing", true));
        assert_eq!(configuration.get("Acquire::Retries"), Some("3"));
        assert_eq!(configuration.get("apt::default-release"), Some("stable"));
    }
}
