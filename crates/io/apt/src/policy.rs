//! Which version of a package is its candidate: priorities of archives and pins (apt_preferences(5)).

use std::path::Path;

use hornero_rebase::debian::control;

use crate::{
    AptError,
    configuration::{self, Configuration},
    files, limits,
    pattern::{self, Pattern},
};

/// Priority of what an archive offers for all to take.
const ORDINARY: i32 = 500;
/// Priority of what is taken from an archive only where a newer version replaces one of it.
const UPGRADES_ONLY: i32 = 100;
/// Priority of what is taken from an archive only where it is asked for.
const NOT_AUTOMATIC: i32 = 1;
/// Priority of `APT::Default-Release`.
const DEFAULT_RELEASE: i32 = 990;
/// `Pin-Priority: never`, which no other pin changes.
const NEVER: i32 = i32::MIN;

/// What pins look at in an index: whose it is and where it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexOrigin {
    /// `Origin` of the signed index.
    pub origin: String,
    /// `Label`
    pub label: String,
    /// `Suite`
    pub suite: String,
    /// `Codename`
    pub codename: String,
    /// `Version`
    pub version: String,
    /// The component, such as `main`.
    pub component: String,
    /// The architecture of the index.
    pub architecture: String,
    /// The host that it came from; empty for a directory.
    pub host: String,
    /// `NotAutomatic: yes`
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades: yes`
    pub but_automatic_upgrades: bool,
}

/// One version of a package, as pins look at it.
#[derive(Debug, Clone, Copy)]
pub struct PinnedVersion<'a> {
    /// The package.
    pub name: &'a str,
    /// Its source package.
    pub source: &'a str,
    /// The version.
    pub version: &'a str,
}

/// The preferences that hold for a resolution.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    of_archives: Vec<(Matcher, i32)>,
    of_packages: Vec<PackagePin>,
}

#[derive(Debug, Clone)]
struct PackagePin {
    name: PinnedName,
    matcher: Matcher,
    priority: i32,
}

#[derive(Debug, Clone)]
enum PinnedName {
    Package(String),
    Packages(Pattern),
    Source(String),
    Sources(Pattern),
    /// Of an architecture that is not this machine's.
    Foreign,
}

#[derive(Debug, Clone)]
enum Matcher {
    Version {
        text: String,
        prefix: bool,
        pattern: Pattern,
    },
    AnyRelease,
    Release(Vec<(ReleaseField, Pattern)>),
    Host(Pattern),
    /// Indexes that came from a directory.
    NoHost,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReleaseField {
    Version,
    Origin,
    Suite,
    Codename,
    SuiteOrCodename,
    Label,
    Component,
    Architecture,
}

impl Policy {
    /// The host's preferences, below `apt_dir`.
    pub fn of_host(apt_dir: &Path, configuration: &Configuration) -> Result<Self, AptError> {
        let mut policy = Self::default();
        if let Some(release) = configuration.get("APT::Default-Release").filter(|it| !it.is_empty())
        {
            policy.of_archives.push((Matcher::release(release), DEFAULT_RELEASE));
        }
        let mut found = configuration::parts(&apt_dir.join("preferences.d"), &["", "pref"]);
        found.push(apt_dir.join("preferences"));
        for file in found.iter().filter(|file| file.is_file()) {
            let wrong = |reason: String| AptError::Preferences { file: file.clone(), reason };
            let text = files::read_text(file, limits::SOURCES_FILE_BYTES)
                .map_err(|error| AptError::file(file, error))?;
            policy.read(&text).map_err(wrong)?;
        }
        Ok(policy)
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        for block in control::paragraphs(text) {
            let record = control::parse_paragraph(block).map_err(|error| error.to_string())?;
            if record.fields().is_empty() {
                continue;
            }
            let names = record.get("Package").filter(|names| !names.is_empty());
            let names = names.ok_or("a record has no `Package`")?;
            let Some(pin) = record.get("Pin") else { continue };
            let priority = record.get("Pin-Priority").unwrap_or_default();
            let priority = read_priority(priority)
                .ok_or_else(|| format!("`{priority}` is no `Pin-Priority`"))?;
            let (kind, data) = pin.split_once(char::is_whitespace).unwrap_or((pin, ""));
            let data = data.trim();
            let general = names == "*";
            if priority == NEVER && !general {
                return Err("`Pin-Priority: never` is for `Package: *` alone".to_owned());
            }
            let matcher = match kind.to_ascii_lowercase().as_str() {
                "version" if !general => Matcher::version(data),
                "release" => Matcher::release(data),
                "origin" => Matcher::host(data),
                _ => return Err(format!("`{kind}` is no kind of `Pin` for `{names}`")),
            };
            if general {
                self.of_archives.push((matcher, priority));
                continue;
            }
            for name in names.split_whitespace() {
                let (name, matcher) = (PinnedName::read(name), matcher.clone());
                self.of_packages.push(PackagePin { name, matcher, priority });
            }
        }
        Ok(())
    }

    /// The priority of an index where no pin of a package says otherwise.
    pub fn of_index(&self, index: &IndexOrigin) -> i32 {
        let mut priority = match (index.not_automatic, index.but_automatic_upgrades) {
            (_, true) => UPGRADES_ONLY,
            (true, false) => NOT_AUTOMATIC,
            (false, false) => ORDINARY,
        };
        let mut fixed = false;
        for (matcher, pinned) in &self.of_archives {
            let may_change = !fixed || *pinned == NEVER;
            if may_change && priority != NEVER && matcher.fits_index(index) {
                priority = *pinned;
                fixed = true;
            }
        }
        priority
    }

    /// The priority of a version that these indexes list; it may be taken where that is above zero.
    pub fn of_version<'i>(
        &self,
        version: PinnedVersion<'_>,
        indexes: impl Iterator<Item = &'i IndexOrigin> + Clone,
    ) -> i32 {
        let pinned = self.of_packages.iter().find(|pin| {
            pin.name.fits(&version) && pin.matcher.fits(version.version, indexes.clone())
        });
        match pinned {
            Some(pin) if indexes.clone().any(|index| self.of_index(index) != NEVER) => pin.priority,
            _ => indexes.map(|index| self.of_index(index)).max().unwrap_or(UPGRADES_ONLY),
        }
    }
}

fn read_priority(text: &str) -> Option<i32> {
    if text == "never" {
        return Some(NEVER);
    }
    let number: i16 = text.parse().ok()?;
    (number != 0).then_some(i32::from(number))
}

impl PinnedName {
    fn read(text: &str) -> Self {
        let (is_source, text) = match text.strip_prefix("src:") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (name, architecture) = match text.rsplit_once(':') {
            Some((name, architecture)) => (name, architecture),
            None => (text, "native"),
        };
        let native = matches!(architecture, "native" | "any")
            || crate::architecture().is_ok_and(|native| native == architecture);
        match (native, is_source, pattern::is_pattern(name)) {
            (false, _, _) => Self::Foreign,
            (true, false, false) => Self::Package(name.to_owned()),
            (true, false, true) => Self::Packages(Pattern::new(name)),
            (true, true, false) => Self::Source(name.to_owned()),
            (true, true, true) => Self::Sources(Pattern::new(name)),
        }
    }

    fn fits(&self, version: &PinnedVersion<'_>) -> bool {
        match self {
            Self::Package(name) => name == version.name,
            Self::Packages(pattern) => pattern.matches(version.name),
            Self::Source(name) => name == version.source,
            Self::Sources(pattern) => pattern.matches(version.source),
            Self::Foreign => false,
        }
    }
}

impl Matcher {
    fn version(data: &str) -> Self {
        let (text, prefix) = match data.strip_suffix('*') {
            Some(text) => (text, true),
            None => (data, false),
        };
        Self::Version { text: text.to_ascii_lowercase(), prefix, pattern: Pattern::new(text) }
    }

    fn release(data: &str) -> Self {
        if data == "*" {
            return Self::AnyRelease;
        }
        if !data.contains('=') {
            return match data.as_bytes().first() {
                None => Self::Nothing,
                Some(first) if first.is_ascii_digit() => {
                    Self::Release(vec![(ReleaseField::Version, Pattern::new(data))])
                }
                Some(_) => Self::Release(vec![(ReleaseField::SuiteOrCodename, Pattern::new(data))]),
            };
        }
        let mut fields: Vec<(ReleaseField, Pattern)> = Vec::new();
        for part in data.split(',').map(str::trim) {
            let Some((key, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty())
            else {
                continue;
            };
            let field = match key.to_ascii_lowercase().as_str() {
                "v" => ReleaseField::Version,
                "o" => ReleaseField::Origin,
                "a" => ReleaseField::Suite,
                "n" => ReleaseField::Codename,
                "l" => ReleaseField::Label,
                "c" => ReleaseField::Component,
                "b" => ReleaseField::Architecture,
                _ => continue,
            };
            fields.retain(|(known, _)| *known != field);
            fields.push((field, Pattern::new(value)));
        }
        if fields.is_empty() { Self::Nothing } else { Self::Release(fields) }
    }

    fn host(data: &str) -> Self {
        let host = data.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(data);
        match (data.is_empty(), host.is_empty()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::NoHost,
            (false, false) => Self::Host(Pattern::new(host)),
        }
    }

    fn fits<'i>(&self, version: &str, mut indexes: impl Iterator<Item = &'i IndexOrigin>) -> bool {
        match self {
            Self::Version { text, prefix, pattern } => {
                let version = version.to_ascii_lowercase();
                (if *prefix { version.starts_with(text) } else { version == *text })
                    || pattern.matches(&version)
            }
            _ => indexes.any(|index| self.fits_index(index)),
        }
    }

    fn fits_index(&self, index: &IndexOrigin) -> bool {
        match self {
            Self::Version { .. } | Self::Nothing => false,
            Self::AnyRelease => true,
            Self::Host(host) => host.matches(&index.host),
            Self::NoHost => index.host.is_empty(),
            Self::Release(fields) => fields.iter().all(|(field, pattern)| match field {
                ReleaseField::Version => pattern.matches(&index.version),
                ReleaseField::Origin => pattern.matches(&index.origin),
                ReleaseField::Suite => pattern.matches(&index.suite),
                ReleaseField::Codename => pattern.matches(&index.codename),
                ReleaseField::SuiteOrCodename => {
                    pattern.matches(&index.suite) || pattern.matches(&index.codename)
                }
                ReleaseField::Label => pattern.matches(&index.label),
                ReleaseField::Component => pattern.matches(&index.component),
                ReleaseField::Architecture => pattern.matches(&index.architecture),
            }),
        }
    }
}
