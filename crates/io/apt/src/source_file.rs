//! The files that apt sources are written in: lines and deb822 stanzas (sources.list(5)).

use std::path::PathBuf;

use hornero_rebase::debian::control;

use crate::{address, configuration::is_no, keyring::Keyring};

/// One suite of one entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The address in the form that is kept; none for a scheme that is apt's own.
    pub uri: Option<String>,
    /// As it is written.
    pub written_uri: String,
    pub suite: String,
    pub components: Vec<String>,
    pub keyring: Option<Keyring>,
    pub check_date: Option<bool>,
    pub check_valid_until: Option<bool>,
    pub date_max_future_seconds: Option<u64>,
    pub valid_until_min_seconds: Option<u64>,
    pub valid_until_max_seconds: Option<u64>,
    /// What the operator says about trust, against signatures.
    pub trusted: Option<bool>,
    /// Whether the lists for this machine's architecture are taken from it.
    pub native: bool,
    /// Whether the lists for every architecture are, without the others.
    pub only_all: bool,
}

/// Entries, or the line that is wrong and why.
pub(crate) type EntriesOrLine = Result<Vec<Entry>, (usize, &'static str)>;

/// Options of an entry as name, operator and value: `=`, `+` or `-`.
type Options = Vec<(String, char, String)>;

/// Reads `sources.list` and `*.list`.
pub(crate) fn parse_lines(text: &str) -> EntriesOrLine {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))
        else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            None => ("", rest),
            Some(inside) => inside.split_once(']').ok_or((index + 1, "`[` is never closed"))?,
        };
        let mut words = rest.split_whitespace();
        let uri = words.next().ok_or((index + 1, "the address is missing"))?;
        let suite = words.next().ok_or((index + 1, "the suite is missing"))?;
        let mut read = Options::new();
        for option in options.split_whitespace() {
            let (key, value) = option.split_once('=').ok_or((index + 1, "an option has no `=`"))?;
            let operator = key.chars().last().filter(|last| "+-".contains(*last)).unwrap_or('=');
            let key = key.strip_suffix(operator).unwrap_or(key).to_ascii_lowercase();
            read.push((key, operator, value.replace(',', " ")));
        }
        let components = words.map(str::to_owned).collect();
        entries.push(entry(uri, suite, components, &read));
    }
    Ok(entries)
}

/// Reads `*.sources`.
pub(crate) fn parse_stanzas(text: &str) -> EntriesOrLine {
    let mut entries = Vec::new();
    let mut line_before = 0;
    for block in text.split("\n\n") {
        let first_line = line_before;
        line_before += block.lines().count() + 1;
        let paragraph = control::parse_paragraph(block)
            .map_err(|error| (first_line + error.line, "this is not a field"))?;
        let Some(types) = paragraph.get("Types") else { continue };
        let enabled = paragraph.get("Enabled").is_none_or(|value| !is_no(value));
        if !enabled || !types.split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        let mut options = Options::new();
        for (name, value) in paragraph.fields() {
            let name = name.to_ascii_lowercase();
            let (name, operator) = match name.strip_suffix("-add") {
                Some(name) => (name, '+'),
                None => match name.strip_suffix("-remove") {
                    Some(name) => (name, '-'),
                    None => (name.as_str(), '='),
                },
            };
            let name = if name == "architectures" { "arch" } else { name };
            options.push((name.to_owned(), operator, (*value).to_owned()));
        }
        let words = |name| paragraph.get(name).unwrap_or_default().split_whitespace();
        for uri in words("URIs") {
            for suite in words("Suites") {
                let components = words("Components").map(str::to_owned).collect();
                entries.push(entry(uri, suite, components, &options));
            }
        }
    }
    Ok(entries)
}

fn entry(uri: &str, suite: &str, components: Vec<String>, options: &Options) -> Entry {
    let value = |name: &str| {
        options.iter().rev().find(|(key, operator, _)| key == name && *operator == '=')
    };
    let flag = |name: &str| value(name).map(|(_, _, value)| !is_no(value));
    let seconds = |name: &str| value(name).and_then(|(_, _, value)| value.trim().parse().ok());
    let native = crate::architecture().unwrap_or_default();
    let mut architectures: Vec<&str> = vec![native];
    for (_, operator, value) in options.iter().filter(|(key, _, _)| key == "arch") {
        let named = value.split_whitespace();
        match operator {
            '=' => architectures = named.collect(),
            '-' => {
                let named: Vec<&str> = named.collect();
                architectures.retain(|one| !named.contains(one));
            }
            _ => architectures.extend(named),
        }
    }
    Entry {
        uri: address::checked(uri),
        written_uri: uri.to_owned(),
        suite: suite.to_owned(),
        components,
        keyring: value("signed-by").map(|(_, _, value)| keyring(value)),
        check_date: flag("check-date"),
        check_valid_until: flag("check-valid-until"),
        date_max_future_seconds: seconds("date-max-future"),
        valid_until_min_seconds: seconds("valid-until-min"),
        valid_until_max_seconds: seconds("valid-until-max"),
        trusted: flag("trusted"),
        native: architectures.contains(&native),
        only_all: !architectures.contains(&native) && architectures.contains(&"all"),
    }
}

/// Keys of `Signed-By`: armoured text, files, or fingerprints of keys that the host trusts.
fn keyring(value: &str) -> Keyring {
    if value.contains("-----BEGIN") {
        return Keyring::Inline(unfold(value));
    }
    let words: Vec<&str> =
        value.split([' ', ',', '\n', '\t']).filter(|it| !it.is_empty()).collect();
    let files = words.iter().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    let fingerprints = words
        .iter()
        .map(|word| word.trim_end_matches('!'))
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_ascii_uppercase)
        .collect();
    Keyring::Files { files, fingerprints }
}

/// Undoes deb822 folding: one space before each line, a lone `.` for an empty one.
fn unfold(value: &str) -> String {
    let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
