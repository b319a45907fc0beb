//! Where packages come from: the host's own apt sources in both of their formats (sources.list(5)).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::control;
use crate::{BakeError, limits};

/// Where the keys that may sign an archive are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyring {
    /// Key files of any OpenPGP form.
    Files(Vec<PathBuf>),
    /// Armoured keys written into the source itself.
    Inline(String),
}

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSource {
    /// Base address without a trailing `/`: `http:`, `https:` or `file:`.
    pub uri: String,
    /// Its suite, such as `bookworm-security`; ends in `/` for a flat archive.
    pub suite: String,
    /// Its components; empty for a flat archive.
    pub components: Vec<String>,
    /// Who may sign it.
    pub keyring: Keyring,
    /// Whether an expired `Valid-Until` refuses it.
    pub check_valid_until: bool,
    /// Whether the mirror may do without it (a pocket that was guessed, not configured).
    pub optional: bool,
}

/// What is asked of the archive for an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveRequest {
    /// The suite, such as `bookworm`.
    pub suite: String,
    /// A mirror instead of the host's sources.
    pub mirror: Option<String>,
    /// A keyring instead of the host's.
    pub keyring: Option<PathBuf>,
}

/// The sources for a request: the image's own mirror, or the host's entries for the suite and its
/// `-security` and `-updates` pockets. `apt_dir` is `/etc/apt` but in tests.
pub fn sources_for(
    request: &ArchiveRequest,
    apt_dir: &Path,
) -> Result<Vec<ArchiveSource>, BakeError> {
    match &request.mirror {
        Some(mirror) => from_mirror(request, mirror, apt_dir),
        None => from_host(request, apt_dir),
    }
}

fn from_mirror(
    request: &ArchiveRequest,
    mirror: &str,
    apt_dir: &Path,
) -> Result<Vec<ArchiveSource>, BakeError> {
    let uri = if mirror.starts_with('/') { format!("file://{mirror}") } else { mirror.to_owned() };
    let uri = checked_uri(&uri).ok_or_else(|| BakeError::MirrorAddress(mirror.to_owned()))?;
    let keyring = match &request.keyring {
        Some(path) => Keyring::Files(vec![path.clone()]),
        None => host_keyring(apt_dir),
    };
    let source = |uri: &str, suite: String, optional| ArchiveSource {
        uri: uri.to_owned(),
        suite,
        components: vec!["main".to_owned()],
        keyring: keyring.clone(),
        check_valid_until: true,
        optional,
    };
    let suite = &request.suite;
    let mut sources = vec![
        source(&uri, suite.clone(), false),
        source(&uri, format!("{suite}-updates"), true),
        source(&uri, format!("{suite}-security"), true),
    ];
    // Debian's own layout keeps the security pocket in a tree beside the main one.
    if uri.ends_with("/debian") {
        sources.push(source(&format!("{uri}-security"), format!("{suite}-security"), true));
    }
    Ok(sources)
}

fn from_host(request: &ArchiveRequest, apt_dir: &Path) -> Result<Vec<ArchiveSource>, BakeError> {
    let mut all = Vec::new();
    let mut files = vec![apt_dir.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(apt_dir.join("sources.list.d"))
        .map(|dir| dir.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);
    let default_keyring = host_keyring(apt_dir);
    let check_valid_until = host_checks_valid_until(apt_dir);
    for file in files {
        let extension = file.extension().and_then(|text| text.to_str()).unwrap_or_default();
        if !matches!(extension, "list" | "sources") {
            continue;
        }
        let Ok(text) = limits::read_text(&file, limits::SOURCES_FILE_BYTES) else { continue };
        let found = match extension {
            "list" => parse_one_line(&text),
            _ => parse_deb822(&text),
        };
        let found = found.map_err(|(line, reason)| BakeError::SourcesFile {
            file: file.clone(),
            line,
            reason,
        })?;
        let native = found.into_iter().filter(|entry| entry.native);
        all.extend(native.map(|entry| entry.into_source(&default_keyring)));
    }
    let pockets = [
        request.suite.clone(),
        format!("{}-security", request.suite),
        format!("{}-updates", request.suite),
        format!("{}/updates", request.suite),
    ];
    let mut chosen: Vec<ArchiveSource> =
        all.into_iter().filter(|source| pockets.contains(&source.suite)).collect();
    if !chosen.iter().any(|source| source.suite == request.suite) {
        return Err(BakeError::NoSources { suite: request.suite.clone() });
    }
    for source in &mut chosen {
        source.check_valid_until &= check_valid_until;
        if let Some(path) = &request.keyring {
            source.keyring = Keyring::Files(vec![path.clone()]);
        }
    }
    chosen.sort_by(|left, right| (&left.suite, &left.uri).cmp(&(&right.suite, &right.uri)));
    chosen.dedup();
    Ok(chosen)
}

/// The keys that apt trusts for sources without `Signed-By`.
fn host_keyring(apt_dir: &Path) -> Keyring {
    let mut files = vec![apt_dir.join("trusted.gpg")];
    if let Ok(dir) = fs::read_dir(apt_dir.join("trusted.gpg.d")) {
        files.extend(dir.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| {
            matches!(path.extension().and_then(|text| text.to_str()), Some("gpg" | "asc"))
        }));
    }
    files.retain(|file| file.is_file());
    files.sort();
    Keyring::Files(files)
}

/// Whether the host's apt configuration turned the check of `Valid-Until` off, as frozen mirrors need.
fn host_checks_valid_until(apt_dir: &Path) -> bool {
    let mut files = vec![apt_dir.join("apt.conf")];
    if let Ok(dir) = fs::read_dir(apt_dir.join("apt.conf.d")) {
        files.extend(dir.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort();
    let mut check = true;
    for file in files {
        let Ok(text) = limits::read_text(&file, limits::SOURCES_FILE_BYTES) else { continue };
        for line in text.lines().map(str::trim) {
            let Some(rest) = strip_prefix_ignoring_case(line, "acquire::check-valid-until") else {
                continue;
            };
            let value = rest.trim().trim_end_matches(';').trim().trim_matches('"');
            check = !matches!(value.to_ascii_lowercase().as_str(), "false" | "no" | "0" | "off");
        }
    }
    check
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

struct Entry {
    uri: String,
    suite: String,
    components: Vec<String>,
    keyring: Option<Keyring>,
    check_valid_until: bool,
    /// Whether it is for this machine's architecture.
    native: bool,
}

impl Entry {
    fn into_source(self, default: &Keyring) -> ArchiveSource {
        ArchiveSource {
            uri: self.uri,
            suite: self.suite,
            components: self.components,
            keyring: self.keyring.unwrap_or_else(|| default.clone()),
            check_valid_until: self.check_valid_until,
            optional: false,
        }
    }
}

type EntriesOrLine = Result<Vec<Entry>, (usize, &'static str)>;

fn parse_one_line(text: &str) -> EntriesOrLine {
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
        let suite = words.next().ok_or((index + 1, "the suite is missing"))?.to_owned();
        // Other schemes (cdrom:, mirror+…:) are apt's own; they are not what a bake reads from.
        let Some(uri) = checked_uri(uri) else { continue };
        let mut entry = Entry {
            uri,
            suite,
            components: words.map(str::to_owned).collect(),
            keyring: None,
            check_valid_until: true,
            native: true,
        };
        for (key, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match key.to_ascii_lowercase().as_str() {
                "signed-by" => entry.keyring = Some(keyring_files(value.split(','))),
                "check-valid-until" => entry.check_valid_until = !is_no(value),
                "arch" => entry.native = has_native(value.split(',')),
                _ => {}
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_deb822(text: &str) -> EntriesOrLine {
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
        let words = |name| paragraph.get(name).unwrap_or_default().split_whitespace();
        let keyring = paragraph.get("Signed-By").map(|value| {
            if value.contains("-----BEGIN") {
                Keyring::Inline(unfold(value))
            } else {
                keyring_files(value.split_whitespace())
            }
        });
        let check_valid_until =
            paragraph.get("Check-Valid-Until").is_none_or(|value| !is_no(value));
        let native =
            paragraph.get("Architectures").is_none_or(|value| has_native(value.split_whitespace()));
        for uri in words("URIs").filter_map(checked_uri) {
            for suite in words("Suites") {
                entries.push(Entry {
                    uri: uri.clone(),
                    suite: suite.to_owned(),
                    components: words("Components").map(str::to_owned).collect(),
                    keyring: keyring.clone(),
                    check_valid_until,
                    native,
                });
            }
        }
    }
    Ok(entries)
}

/// Undoes deb822 folding: one space before each line, a lone `.` for an empty one.
fn unfold(value: &str) -> String {
    let lines = value.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn keyring_files<'a>(paths: impl Iterator<Item = &'a str>) -> Keyring {
    Keyring::Files(paths.filter(|path| path.starts_with('/')).map(PathBuf::from).collect())
}

fn has_native<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    crate::architecture().is_ok_and(|native| names.any(|name| name == native))
}

fn is_no(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off")
}

fn checked_uri(uri: &str) -> Option<String> {
    let uri = match uri.strip_prefix("file:") {
        Some(path) if !path.starts_with("//") => format!("file://{path}"),
        _ => uri.to_owned(),
    };
    let known = ["http://", "https://", "file:///"].iter().any(|scheme| uri.starts_with(scheme));
    let clean = !uri.contains(|char: char| char.is_control() || char.is_whitespace());
    (known && clean).then(|| uri.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn request(suite: &str) -> ArchiveRequest {
        ArchiveRequest { suite: suite.to_owned(), mirror: None, keyring: None }
    }

    fn shown(sources: &[ArchiveSource]) -> Vec<String> {
        sources
            .iter()
            .map(|source| {
                format!(
                    "{} {} {:?} {:?} {}",
                    source.uri,
                    source.suite,
                    source.components,
                    source.keyring,
                    source.check_valid_until
                )
            })
            .collect()
    }

    #[test]
    fn reads_one_line_sources() {
        let dir = host(&[(
            "sources.list",
            "# comment\ndeb [arch=none] http://x.test sid main\ndeb [signed-by=/k.gpg] http://m.test/debian/ sid main extra # tail\n\
             deb-src http://m.test/debian sid main\ndeb cdrom:[x]/ sid main\n\
             deb file:/srv/repo sid-security main\ndeb http://m.test/debian other main\n",
        )]);
        let sources = sources_for(&request("sid"), dir.path()).unwrap();
        assert_eq!(
            shown(&sources),
            [
                "http://m.test/debian sid [\"main\", \"extra\"] Files([\"/k.gpg\"]) true",
                "file:///srv/repo sid-security [\"main\"] Files([]) true",
            ]
        );
    }

    #[test]
    fn reads_deb822_sources_and_the_hosts_valid_until_setting() {
        let dir = host(&[
            (
                "sources.list.d/debian.sources",
                "Types: deb deb-src\n# note\nURIs: http://m.test/debian\nSuites: sid sid-updates\n\
                 Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n\
                 Types: deb\nEnabled: no\nURIs: http://x.test\nSuites: sid\nComponents: main\n",
            ),
            ("apt.conf.d/99frozen", "Acquire::Check-Valid-Until \"false\";\n"),
        ]);
        let sources = sources_for(&request("sid"), dir.path()).unwrap();
        assert_eq!(sources.len(), 2);
        assert!(matches!(&sources[0].keyring, Keyring::Inline(text)
            if text.starts_with("-----BEGIN") && text.contains("\n\nabc\n")));
        assert!(!sources[0].check_valid_until);
    }

    #[test]
    fn says_what_to_write_where_nothing_fits() {
        let dir = host(&[("sources.list", "deb http://m.test/debian other main\n")]);
        let error = sources_for(&request("sid"), dir.path()).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(error.to_string().contains("`sid`"), "{error}");
        assert!(hint.contains("mirror") && hint.contains("keyring"), "{hint}");
    }

    #[test]
    fn says_which_line_is_broken() {
        let dir = host(&[("sources.list", "\ndeb [arch=amd64 http://m.test sid main\n")]);
        let error = sources_for(&request("sid"), dir.path()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn a_mirror_of_the_image_goes_before_the_host() {
        let dir = host(&[]);
        let request = ArchiveRequest {
            suite: "sid".to_owned(),
            mirror: Some("/srv/mirror".to_owned()),
            keyring: Some(PathBuf::from("/k.asc")),
        };
        let sources = sources_for(&request, dir.path()).unwrap();
        assert_eq!(
            shown(&sources[..1]),
            ["file:///srv/mirror sid [\"main\"] Files([\"/k.asc\"]) true"]
        );
        assert!(sources[1..].iter().all(|source| source.optional));
        let bad = ArchiveRequest { mirror: Some("ftp://x".to_owned()), ..request };
        assert!(sources_for(&bad, dir.path()).is_err());
    }
}
