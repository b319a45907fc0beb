//! The archive's signed index: which files it has, with their sizes and SHA-256, and how long it holds.

use std::{collections::BTreeMap, time::SystemTime};

use hornero_model::Digest;
use hornero_rebase::debian::control;

use crate::{configuration::is_no, policy::IndexOrigin, sources_list::AgeChecks};

/// Files one suite may list; Debian's list 2,000.
const MAX_FILES: usize = 200_000;

/// A verified `InRelease`.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its `Date`, in seconds since the Unix epoch.
    pub date: u64,
    /// Its `Valid-Until`, in seconds since the Unix epoch.
    pub valid_until: Option<u64>,
    /// Whether files can be asked for by their hash.
    pub by_hash: bool,
    /// `Suite` and `Codename`.
    pub names: Vec<String>,
    /// What pins look at, but for component, architecture and host.
    pub origin: IndexOrigin,
    /// Whether packages for every architecture are listed apart from the others.
    pub lists_all_apart: bool,
    /// `Label`, such as `Debian-Security`.
    pub label: Option<String>,
    /// Its components, without a prefix such as `updates/`.
    pub components: Vec<String>,
    /// Every file by its path below the suite.
    pub files: BTreeMap<String, ReleaseFile>,
}

/// A file of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Release {
    /// Reads the text that was signed; the error says what is wrong in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let paragraph = control::parse_paragraph(text).map_err(|error| error.to_string())?;
        let date = paragraph.get("Date").ok_or("it has no `Date`")?;
        let date = parse_date(date).ok_or_else(|| format!("`{date}` is not a date"))?;
        let valid_until = match paragraph.get("Valid-Until") {
            None => None,
            Some(text) => Some(parse_date(text).ok_or_else(|| format!("`{text}` is not a date"))?),
        };
        let list = paragraph.get("SHA256").ok_or("it lists no SHA-256 sums")?;
        let mut files = BTreeMap::new();
        for line in list.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [digest, size, path] = words.as_slice() else {
                return Err(format!("`{}` is not a sum, a size and a path", line.trim()));
            };
            let digest = Digest::from_hex(digest).map_err(|error| error.to_string())?;
            let size = size.parse().map_err(|_| format!("`{size}` is not a size"))?;
            if files.len() == MAX_FILES {
                return Err(format!("it lists more than {MAX_FILES} files"));
            }
            files.insert((*path).to_owned(), ReleaseFile { digest, size });
        }
        let words = |name| {
            let text: &str = paragraph.get(name).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let field = |name| paragraph.get(name).unwrap_or_default().to_owned();
        let yes = |name| paragraph.get(name).is_some_and(|value| !is_no(value));
        let origin = IndexOrigin {
            origin: field("Origin"),
            label: field("Label"),
            suite: field("Suite"),
            codename: field("Codename"),
            version: field("Version"),
            not_automatic: yes("NotAutomatic"),
            but_automatic_upgrades: yes("ButAutomaticUpgrades"),
            ..IndexOrigin::default()
        };
        let lists_all_apart = words("Architectures").iter().any(|name| name == "all")
            && paragraph.get("No-Support-for-Architecture-all") != Some("Packages");
        Ok(Self {
            origin,
            lists_all_apart,
            date,
            valid_until,
            by_hash: paragraph.get("Acquire-By-Hash").is_some_and(|value| value.trim() == "yes"),
            names: [words("Suite"), words("Codename")].concat(),
            label: paragraph.get("Label").filter(|label| !label.is_empty()).map(str::to_owned),
            components: words("Components")
                .iter()
                .map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
                .collect(),
            files,
        })
    }

    /// Until when it holds, in seconds since the Unix epoch, where that has passed.
    pub fn expired(&self, now: SystemTime, age: &AgeChecks) -> Option<u64> {
        if !age.check_date || !age.check_valid_until {
            return None;
        }
        let after_date = |seconds: Option<u64>| seconds.map(|it| self.date.saturating_add(it));
        let longest = after_date(age.valid_max_seconds);
        // A bound from below holds only where the archive sets an end itself.
        let own =
            self.valid_until.map(|own| own.max(after_date(age.valid_min_seconds).unwrap_or(0)));
        let until = own.into_iter().chain(longest).min()?;
        (until < seconds_of(now)).then_some(until)
    }

    /// Whether its date is yet to come.
    pub fn is_from_future(&self, now: SystemTime, age: &AgeChecks) -> bool {
        age.check_date && self.date > seconds_of(now).saturating_add(age.max_future_seconds)
    }
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `Sat, 11 Jul 2026 10:16:37 UTC` in seconds since the Unix epoch; any offset but UTC is refused.
fn parse_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, zone] = words.as_slice() else { return None };
    if !matches!(*zone, "UTC" | "GMT" | "+0000" | "Z") {
        return None;
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    let (day, year): (u32, u32) = (day.parse().ok()?, year.parse().ok()?);
    let text = format!("{year:04}-{month:02}-{day:02}T{clock:0>8}Z");
    let time = humantime::parse_rfc3339(&text).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates() {
        assert_eq!(parse_date("Sat, 11 Jul 2026 10:16:37 UTC"), Some(1_783_764_997));
        assert_eq!(parse_date("Thu, 01 Jan 1970  0:00:01 UTC"), Some(1));
        for bad in ["", "Sat, 11 Jul 2026 10:16:37 CEST", "Sat, 99 Jul 2026 10:16:37 UTC", "now"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_a_release() {
        let digest = "a".repeat(64);
        let text = format!(
            "Suite: stable\nCodename: sid\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n\
             Components: updates/main\nSHA256:\n {digest} 12 main/binary-amd64/Packages\n"
        );
        let release = Release::parse(&text).unwrap();
        assert!(release.by_hash);
        assert_eq!(release.components, ["main"]);
        assert_eq!(release.files["main/binary-amd64/Packages"].size, 12);
        let age = AgeChecks::default();
        assert_eq!(release.expired(SystemTime::now(), &age), None);
        assert!(Release::parse("Suite: x\n").is_err());
        assert!(Release::parse(&text.replace(" 12 ", " x ")).is_err());
    }
}
