//! What lines of a log say of why a program could not go on. The words are those of the C library, and of the languages that
//! put them in their own way.

use crate::bundle::BundleLine;

/// The last lines that are looked at: what a program says of its end stands there.
const LINES: usize = 60;
/// Of a line in a summary.
const SHOWN_CHARS: usize = 200;

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineTells {
    /// It wrote where nothing can be written.
    ReadOnly {
        /// Where.
        path: Option<String>,
    },
    /// It could not have an address that it wanted.
    NotBound {
        /// The port.
        port: Option<u16>,
        /// Whether it may not, rather than somebody else has it.
        denied: bool,
    },
    /// What it needs did not answer, or is not found.
    Refused {
        /// What.
        what: Option<String>,
    },
    /// It names the place in its code where it gave up.
    Panicked {
        /// Where.
        place: String,
    },
}

/// The newest line that tells why, and what.
pub fn told(log: &[BundleLine]) -> Option<(LineTells, &str)> {
    let newest = log.iter().rev().take(LINES);
    newest.map(|line| line.text.as_str()).find_map(|text| Some((of_line(text)?, text)))
}

/// The newest line that says anything.
pub fn last(log: &[BundleLine]) -> Option<String> {
    let said = log.iter().rev().find(|line| !line.text.trim().is_empty());
    said.map(|line| shown(&line.text))
}

/// A line as it stands in a summary: in one piece and not too long.
pub fn shown(text: &str) -> String {
    let text = text.trim();
    let mut cut: String = text.chars().take(SHOWN_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut.replace(['\n', '\r', '\t'], " ")
}

fn of_line(text: &str) -> Option<LineTells> {
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["read-only file system", "erofs:"]) {
        return Some(LineTells::ReadOnly { path: path(text) });
    }
    let binds = has(&["bind", "listen"]);
    if has(&["address already in use", "eaddrinuse", "address in use"]) {
        return Some(LineTells::NotBound { port: port(text), denied: false });
    }
    if binds && has(&["permission denied", "eacces", "cannot assign requested address"]) {
        return Some(LineTells::NotBound { port: port(text), denied: true });
    }
    if has(REFUSED) {
        return Some(LineTells::Refused { what: place(text) });
    }
    let marked = ["panicked at ", "SIGSEGV: segmentation violation", "Assertion `"];
    let at = marked.iter().find_map(|mark| Some(text.split_once(mark)?.1))?;
    Some(LineTells::Panicked { place: shown(at.trim_end_matches(':')) })
}

/// How the C library, resolvers, and runtimes say that somebody does not answer.
const REFUSED: &[&str] = &[
    "connection refused",
    "econnrefused",
    "no route to host",
    "name or service not known",
    "temporary failure in name resolution",
    "could not translate host name",
    "getaddrinfo enotfound",
    "no such host",
    "host not found in upstream",
    "could not be resolved",
];

/// What separates words of a line from what belongs to them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let separates = |one: char| one.is_whitespace() || "\"'`()<>,;=".contains(one);
    text.split(separates)
        .map(|word| word.trim_end_matches([':', '.', ']']))
        .filter(|word| !word.is_empty())
}

/// The last absolute path of a line, which is what it is about; earlier ones are programs.
fn path(text: &str) -> Option<String> {
    let is_path = |word: &&str| word.starts_with('/') && word.len() > 1 && !word.starts_with("//");
    words(text).filter(is_path).last().map(str::to_owned)
}

/// Host and port of a word that is an address. A time of day is none, nor is a place in a file.
fn address(word: &str) -> Option<(&str, u16)> {
    let (host, port) = word.rsplit_once(':')?;
    let is_time = host.contains(|one: char| one.is_ascii_digit())
        && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    (!is_time && !host.contains('/')).then_some((host, port))
}

/// The port of an address in a line, or the number behind the word.
fn port(text: &str) -> Option<u16> {
    let addressed = words(text).find_map(|word| Some(address(word)?.1));
    let mut behind = words(text).skip_while(|word| !word.eq_ignore_ascii_case("port"));
    let named = || behind.nth(1)?.parse().ok();
    addressed.or_else(named).filter(|port| *port > 0)
}

/// Who did not answer: an address with a port, a place on the network, or the name that is not found.
fn place(text: &str) -> Option<String> {
    let is_url = |word: &&str| word.contains("://");
    let is_address = |word: &&str| address(word).is_some_and(|(host, _)| host.len() > 1);
    let found = words(text).find(is_url).or_else(|| words(text).find(is_address));
    let named = || {
        let quoted = text.split(['"', '\'', '`']).nth(1)?;
        let is_name =
            quoted.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        (is_name && !quoted.is_empty()).then_some(quoted)
    };
    found.or_else(named).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_programs_are_understood() {
        let read_only = |path: &str| LineTells::ReadOnly { path: Some(path.to_owned()) };
        let bound = |port| LineTells::NotBound { port, denied: false };
        let refused = |what: &str| LineTells::Refused { what: Some(what.to_owned()) };
        let cases = [
            ("sh: 1: cannot create /data/state: Read-only file system", read_only("/data/state")),
            ("touch: cannot touch '/data/x': Read-only file system", read_only("/data/x")),
            (
                r#"nginx: [emerg] mkdir() "/var/lib/nginx/body" failed (30: Read-only file system)"#,
                read_only("/var/lib/nginx/body"),
            ),
            ("OSError: [Errno 30] Read-only file system: '/data/x'", read_only("/data/x")),
            ("Error: EROFS: read-only file system, open '/srv/a.log'", read_only("/srv/a.log")),
            ("panic: open /var/db/x: read-only file system", read_only("/var/db/x")),
            (
                "nginx: [emerg] bind() to 0.0.0.0:8080 failed (98: Address already in use)",
                bound(Some(8080)),
            ),
            ("Error: listen EADDRINUSE: address already in use :::3000", bound(Some(3000))),
            (
                "2026/12/01 02:29:22 [emerg] 2#2: bind() to 0.0.0.0:8080 failed (98: Address already in use)",
                bound(Some(8080)),
            ),
            ("02:29:22 OSError: [Errno 98] Address already in use", bound(None)),
            ("could not listen on port 5432: Address already in use", bound(Some(5432))),
            ("panic: listen tcp :9090: bind: address already in use", bound(Some(9090))),
            (
                "nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)",
                LineTells::NotBound { port: Some(80), denied: true },
            ),
            (
                "psql: error: connection to server at 10.0.0.9:5432 failed: Connection refused",
                refused("10.0.0.9:5432"),
            ),
            ("Error: connect ECONNREFUSED 127.0.0.1:6379", refused("127.0.0.1:6379")),
            (
                r#"nginx: [emerg] host not found in upstream "api" in /etc/nginx/nginx.conf:3"#,
                refused("api"),
            ),
            (
                "error trying to connect to http://api.internal:80/v1: Connection refused (os error 111)",
                refused("http://api.internal:80/v1"),
            ),
            (
                "thread 'main' panicked at src/main.rs:12:5:",
                LineTells::Panicked { place: "src/main.rs:12:5".to_owned() },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(of_line(text), Some(expected), "{text}");
        }
        for text in ["", "listening on 0.0.0.0:8080", "permission denied: /etc/shadow", "ready"] {
            assert_eq!(of_line(text), None, "{text}");
        }
    }
}
