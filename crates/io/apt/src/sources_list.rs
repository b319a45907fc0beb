//! Where packages come from: an image's mirror or the host's own apt sources, and the archives it declares besides.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    AptError, address,
    configuration::{self, Configuration},
    files,
    keyring::Keyring,
    limits,
    source_file::{self, Entry},
};

/// Seconds that an index may be from the future, as apt has it: clocks differ.
const MAX_FUTURE_SECONDS: u64 = 10;

/// Names that Debian's suites have by their age: which one it is stands in the signed index alone.
const ALIASES: [&str; 6] =
    ["stable", "oldstable", "oldoldstable", "testing", "unstable", "experimental"];

/// How the age of a signed index is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeChecks {
    /// Whether it may not be from the future, nor expired; a host whose clock is wrong can't tell.
    pub check_date: bool,
    /// Whether an expired one is refused.
    pub check_valid_until: bool,
    /// Seconds that it may be from the future.
    pub max_future_seconds: u64,
    /// It holds for so many seconds after its date at least.
    pub valid_min_seconds: Option<u64>,
    /// It holds for so many seconds after its date at most.
    pub valid_max_seconds: Option<u64>,
}

impl Default for AgeChecks {
    fn default() -> Self {
        Self {
            check_date: true,
            check_valid_until: true,
            max_future_seconds: MAX_FUTURE_SECONDS,
            valid_min_seconds: None,
            valid_max_seconds: None,
        }
    }
}

/// Whether a source has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is named, and it must be.
    Needed,
    /// A pocket that was guessed, not configured.
    Optional,
    /// It is taken where its signed index says that it is of this suite.
    IfOfSuite(String),
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
    /// How its age is judged.
    pub age: AgeChecks,
    /// Whether it has to be there.
    pub presence: Presence,
    /// What the operator of the host says about trust, against signatures.
    pub trusted: Option<bool>,
    /// Whether only its lists for every architecture are taken.
    pub only_all: bool,
    /// Its name, where the image declares it.
    pub name: Option<String>,
}

/// An archive that an image declares besides Debian's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredArchive {
    /// Its name in the file.
    pub name: String,
    /// Its base address.
    pub uri: String,
    /// Its suite; ends in `/` for a flat archive.
    pub suite: String,
    /// Its components; empty for a flat archive.
    pub components: Vec<String>,
    /// Who may sign it.
    pub keyring: PathBuf,
}

/// What is asked of archives for an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveRequest {
    /// The suite, such as `bookworm`.
    pub suite: String,
    /// A mirror instead of the host's sources.
    pub mirror: Option<String>,
    /// A keyring instead of the host's.
    pub keyring: Option<PathBuf>,
    /// Archives besides, sorted by name.
    pub archives: Vec<DeclaredArchive>,
}

/// The sources for a request, and those of the host that are left out, each with the reason.
#[derive(Debug, Default)]
pub struct ChosenSources {
    /// What is read.
    pub sources: Vec<ArchiveSource>,
    /// What is not, for people.
    pub left_out: Vec<(String, &'static str)>,
}

/// The sources for a request: the image's own mirror, or the host's entries for the suite and its pockets; then the
/// archives that the image declares. `apt_dir` is `/etc/apt` but in tests.
pub fn sources_for(request: &ArchiveRequest, apt_dir: &Path) -> Result<ChosenSources, AptError> {
    let mut chosen = match &request.mirror {
        Some(mirror) => from_mirror(request, mirror, apt_dir)?,
        None => from_host(request, apt_dir)?,
    };
    for archive in &request.archives {
        let uri = checked_mirror(&archive.uri)?;
        let keyring = Keyring::files(vec![archive.keyring.clone()]);
        let mut source = plain(uri, archive.suite.clone(), keyring);
        source.components.clone_from(&archive.components);
        source.name = Some(archive.name.clone());
        // What the image declares has the keys that it names, also where the host knows the archive.
        chosen.sources.retain(|known| (&known.uri, &known.suite) != (&source.uri, &source.suite));
        chosen.sources.push(source);
    }
    Ok(chosen)
}

fn plain(uri: String, suite: String, keyring: Keyring) -> ArchiveSource {
    ArchiveSource {
        uri,
        suite,
        components: Vec::new(),
        keyring,
        age: AgeChecks::default(),
        presence: Presence::Needed,
        trusted: None,
        only_all: false,
        name: None,
    }
}

fn checked_mirror(mirror: &str) -> Result<String, AptError> {
    let uri = if mirror.starts_with('/') { format!("file://{mirror}") } else { mirror.to_owned() };
    address::checked(&uri).ok_or_else(|| AptError::MirrorAddress(mirror.to_owned()))
}

fn from_mirror(
    request: &ArchiveRequest,
    mirror: &str,
    apt_dir: &Path,
) -> Result<ChosenSources, AptError> {
    let uri = checked_mirror(mirror)?;
    let keyring = match &request.keyring {
        Some(path) => Keyring::files(vec![path.clone()]),
        None => host_keyring(apt_dir),
    };
    let source = |uri: &str, suite: String, presence| ArchiveSource {
        components: vec!["main".to_owned()],
        presence,
        ..plain(uri.to_owned(), suite, keyring.clone())
    };
    let suite = &request.suite;
    let mut sources = vec![
        source(&uri, suite.clone(), Presence::Needed),
        source(&uri, format!("{suite}-updates"), Presence::Optional),
        source(&uri, format!("{suite}-security"), Presence::Optional),
    ];
    // Debian's own layout keeps the security pocket in a tree beside the main one.
    if uri.ends_with("/debian") {
        let beside = format!("{uri}-security");
        sources.push(source(&beside, format!("{suite}-security"), Presence::Optional));
    }
    Ok(ChosenSources { sources, left_out: Vec::new() })
}

fn from_host(request: &ArchiveRequest, apt_dir: &Path) -> Result<ChosenSources, AptError> {
    let configuration = Configuration::read(apt_dir);
    let default_keyring = host_keyring(apt_dir);
    let mut chosen = ChosenSources::default();
    for entry in host_entries(apt_dir)? {
        let title = format!("{} {}", entry.written_uri, entry.suite);
        let presence = match presence(&request.suite, &entry) {
            Ok(presence) => presence,
            Err(reason) => {
                chosen.left_out.push((title, reason));
                continue;
            }
        };
        let keyring = match (&request.keyring, entry.keyring.clone()) {
            (Some(path), _) => Keyring::files(vec![path.clone()]),
            (None, None) => default_keyring.clone(),
            (None, Some(Keyring::Files { files, fingerprints })) if files.is_empty() => {
                with_fingerprints(&default_keyring, fingerprints)
            }
            (None, Some(keyring)) => keyring,
        };
        chosen.sources.push(ArchiveSource {
            components: entry.components.clone(),
            age: age_checks(&entry, &configuration),
            presence,
            trusted: entry.trusted,
            only_all: entry.only_all,
            ..plain(entry.uri.clone().unwrap_or_default(), entry.suite.clone(), keyring)
        });
    }
    let may_be_it = |source: &ArchiveSource| {
        source.suite == request.suite || matches!(source.presence, Presence::IfOfSuite(_))
    };
    if !chosen.sources.iter().any(may_be_it) {
        return Err(AptError::NoSources { suite: request.suite.clone() });
    }
    chosen.sources.sort_by(|left, right| (&left.suite, &left.uri).cmp(&(&right.suite, &right.uri)));
    chosen.sources.dedup();
    Ok(chosen)
}

/// Whether an entry of the host is for a suite, or the reason why not.
fn presence(suite: &str, entry: &Entry) -> Result<Presence, &'static str> {
    let first_name =
        |name: &str| name.split(['-', '/']).next().is_some_and(|first| ALIASES.contains(&first));
    let pocket = entry
        .suite
        .strip_prefix(suite)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']));
    let flat = entry.suite.ends_with('/');
    if !flat && !pocket && !first_name(&entry.suite) && !first_name(suite) {
        return Err(
            "it is of another suite; where it belongs into images, declare it as an `archive`",
        );
    }
    if flat {
        return Err(
            "it says of no suite that it is for it; where it belongs into images, declare it as an `archive`",
        );
    }
    if !entry.native && !entry.only_all {
        return Err("it is for other architectures");
    }
    if entry.uri.is_none() {
        return Err("only `http:`, `https:`, `file:` and `copy:` are read");
    }
    Ok(if pocket { Presence::Needed } else { Presence::IfOfSuite(suite.to_owned()) })
}

fn host_entries(apt_dir: &Path) -> Result<Vec<Entry>, AptError> {
    let mut found = vec![apt_dir.join("sources.list")];
    found.extend(configuration::parts(&apt_dir.join("sources.list.d"), &["list", "sources"]));
    let mut entries = Vec::new();
    for file in found {
        let Ok(text) = files::read_text(&file, limits::SOURCES_FILE_BYTES) else { continue };
        let read = match file.extension().and_then(|ending| ending.to_str()) {
            Some("sources") => source_file::parse_stanzas(&text),
            _ => source_file::parse_lines(&text),
        };
        entries.extend(read.map_err(|(line, reason)| AptError::SourcesFile {
            file: file.clone(),
            line,
            reason,
        })?);
    }
    Ok(entries)
}

/// An entry's own options go before those of the host (apt.conf(5)).
fn age_checks(entry: &Entry, configuration: &Configuration) -> AgeChecks {
    let seconds = |name: &str| configuration.get(name).and_then(|value| value.parse().ok());
    let flag = |own: Option<bool>, name: &str| own.unwrap_or(configuration.flag(name, true));
    // Zero means that there is no bound.
    let bound = |own: Option<u64>, name: &str| own.or(seconds(name)).filter(|bound| *bound > 0);
    AgeChecks {
        check_date: flag(entry.check_date, "Acquire::Check-Date"),
        check_valid_until: flag(entry.check_valid_until, "Acquire::Check-Valid-Until"),
        max_future_seconds: entry
            .date_max_future_seconds
            .or(seconds("Acquire::Max-FutureTime"))
            .unwrap_or(MAX_FUTURE_SECONDS),
        valid_min_seconds: bound(entry.valid_until_min_seconds, "Acquire::Min-ValidTime"),
        valid_max_seconds: bound(entry.valid_until_max_seconds, "Acquire::Max-ValidTime"),
    }
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
    Keyring::files(files)
}

fn with_fingerprints(host: &Keyring, fingerprints: Vec<String>) -> Keyring {
    match host {
        Keyring::Files { files, .. } => Keyring::Files { files: files.clone(), fingerprints },
        Keyring::Inline(_) => host.clone(),
    }
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
        ArchiveRequest {
            suite: suite.to_owned(),
            mirror: None,
            keyring: None,
            archives: Vec::new(),
        }
    }

    fn shown(sources: &[ArchiveSource]) -> Vec<String> {
        sources
            .iter()
            .map(|source| {
                let keyring = match &source.keyring {
                    Keyring::Files { files, .. } => format!("{files:?}"),
                    Keyring::Inline(_) => "inline".to_owned(),
                };
                format!("{} {} {:?} {keyring}", source.uri, source.suite, source.components)
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
        let sources = sources_for(&request("sid"), dir.path()).unwrap().sources;
        assert_eq!(
            shown(&sources),
            [
                "http://m.test/debian sid [\"main\", \"extra\"] [\"/k.gpg\"]",
                "file:///srv/repo sid-security [\"main\"] []",
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
        let sources = sources_for(&request("sid"), dir.path()).unwrap().sources;
        assert_eq!(sources.len(), 2);
        assert!(matches!(&sources[0].keyring, Keyring::Inline(text)
            if text.starts_with("-----BEGIN") && text.contains("\n\nabc\n")));
        assert!(!sources[0].age.check_valid_until);
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
            archives: Vec::new(),
        };
        let sources = sources_for(&request, dir.path()).unwrap().sources;
        assert_eq!(shown(&sources[..1]), ["file:///srv/mirror sid [\"main\"] [\"/k.asc\"]"]);
        assert!(sources[1..].iter().all(|source| source.presence == Presence::Optional));
        let bad = ArchiveRequest { mirror: Some("ftp://x".to_owned()), ..request };
        assert!(sources_for(&bad, dir.path()).is_err());
    }
}
