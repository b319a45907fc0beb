//! `hornero.lock`: exactly which packages every image has; made for version control, a line a package.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_model::{Digest, ImageName};
use hornero_rebase::debian::relation::is_package_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AptError, archive_state::ArchiveState, files, limits, packages::is_pool_path};

/// The name of the lock beside `hornero.hcl`.
pub const LOCK_NAME: &str = "hornero.lock";
/// The version of the format.
const VERSION: u32 = 1;

/// A whole lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of the format.
    pub version: u32,
    /// Every image that has packages of its own.
    pub images: BTreeMap<ImageName, LockedImage>,
    /// Images of the store that others are made on, by their names there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<ImageName, Digest>,
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, images: BTreeMap::new(), stored: BTreeMap::new() }
    }
}

/// The packages of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// The suite of the Debian base it is or is made from.
    pub suite: String,
    /// Debian's name for the architecture.
    pub architecture: String,
    /// The image it is made from; None for a Debian base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ImageName>,
    /// What was asked for, sorted.
    pub requested: Vec<String>,
    /// The state of the archive that was resolved against.
    pub archives: Vec<ArchiveState>,
    /// Every package it has of its own, sorted by name.
    pub packages: Vec<LockedPackage>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The suite that listed it.
    pub suite: String,
    /// Its path below the archive's base address.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Base address of the archive that listed it, where several have its suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

impl LockedPackage {
    /// Its SHA-256; a lock that was read has valid ones only.
    pub fn digest(&self) -> Digest {
        Digest::from_hex(&self.sha256).expect("checked when the lock was read or made")
    }

    /// Name and version for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

impl LockedImage {
    /// The newest date of its archives, in seconds since the Unix epoch: no file in the image is newer.
    pub fn date(&self) -> u64 {
        self.archives.iter().map(|archive| archive.date).max().unwrap_or(0)
    }

    /// The identity of what is installed by it: every package in order, and the date.
    pub fn key(&self) -> Digest {
        let mut text = format!("{} {} {}\n", self.suite, self.architecture, self.date());
        for package in &self.packages {
            let _ = writeln!(text, "{} {} {}", package.name, package.version, package.sha256);
        }
        Digest::of(text.as_bytes())
    }
}

impl Lock {
    /// Reads the lock of a directory; None where there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, AptError> {
        let path = dir.join(LOCK_NAME);
        let bytes = match files::read_file(&path, limits::LOCK_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AptError::file(&path, error)),
        };
        Self::parse(&bytes).map(Some).map_err(|reason| AptError::Lock { path, reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if head.version != VERSION {
            return Err(format!("it has version {}, this program reads {VERSION}", head.version));
        }
        let lock: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        for (image, locked) in &lock.images {
            for package in &locked.packages {
                check(package).map_err(|reason| {
                    let name: String = package.name.chars().take(80).collect();
                    format!("package `{name}` of image `{image}` {reason}")
                })?;
            }
            let sorted = locked.packages.is_sorted_by(|left, right| left.name < right.name);
            if !sorted {
                return Err(format!("the packages of image `{image}` are not sorted and unique"));
            }
        }
        Ok(lock)
    }

    /// Writes the lock of a directory, whole or not at all; nothing is touched when it is the same already.
    pub fn write(&self, dir: &Path) -> Result<(), AptError> {
        let path: PathBuf = dir.join(LOCK_NAME);
        let text = self.text();
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        files::write_whole(&path, text.as_bytes()).map_err(|error| AptError::file(&path, error))
    }

    /// The text: JSON with a line for each package and archive.
    pub fn text(&self) -> String {
        let mut text = format!("{{\n  \"version\": {},\n  \"images\": {{", self.version);
        for (index, (name, image)) in self.images.iter().enumerate() {
            text.push_str(if index == 0 { "\n" } else { ",\n" });
            let _ = writeln!(text, "    {}: {{", json(name));
            let _ = writeln!(text, "      \"suite\": {},", json(&image.suite));
            let _ = writeln!(text, "      \"architecture\": {},", json(&image.architecture));
            if let Some(from) = &image.from {
                let _ = writeln!(text, "      \"from\": {},", json(from));
            }
            let _ = writeln!(text, "      \"requested\": {},", json(&image.requested));
            lines(&mut text, "archives", &image.archives);
            text.push_str(",\n");
            lines(&mut text, "packages", &image.packages);
            text.push_str("\n    }");
        }
        text.push_str(if self.images.is_empty() { "}" } else { "\n  }" });
        for (index, (name, digest)) in self.stored.iter().enumerate() {
            text.push_str(if index == 0 { ",\n  \"stored\": {\n" } else { ",\n" });
            let _ = write!(text, "    {}: {}", json(name), json(digest));
        }
        text.push_str(if self.stored.is_empty() { "\n}\n" } else { "\n  }\n}\n" });
        text
    }
}

/// Anything as one line of JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data is always JSON")
}

fn lines<T: Serialize>(text: &mut String, name: &str, items: &[T]) {
    let _ = write!(text, "      \"{name}\": [");
    for (index, item) in items.iter().enumerate() {
        text.push_str(if index == 0 { "\n        " } else { ",\n        " });
        text.push_str(&json(item));
    }
    text.push_str(if items.is_empty() { "]" } else { "\n      ]" });
}

fn check(package: &LockedPackage) -> Result<(), &'static str> {
    if !is_package_name(&package.name) {
        return Err("has no valid name");
    }
    if !is_package_name(&package.architecture) {
        return Err("has no valid architecture");
    }
    if package.version.is_empty() || package.version.contains(|char: char| char.is_whitespace()) {
        return Err("has no valid version");
    }
    if !is_pool_path(&package.path) {
        return Err("has no valid path");
    }
    if package.size == 0 || package.size > limits::PACKAGE_BYTES {
        return Err("has no valid size");
    }
    Digest::from_hex(&package.sha256).map(|_| ()).map_err(|_| "has no valid SHA-256")
}

/// A point in time for people, in UTC.
pub(crate) fn date_text(seconds: u64) -> String {
    // The last second of the year 9999, the largest that can be written.
    let seconds = seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let package = |name: &str| LockedPackage {
            name: name.to_owned(),
            version: "1:2.0-1".to_owned(),
            architecture: "amd64".to_owned(),
            suite: "sid".to_owned(),
            path: format!("pool/{name}.deb"),
            size: 12,
            sha256: "0".repeat(64),
            archive: None,
        };
        let image = LockedImage {
            suite: "sid".to_owned(),
            architecture: "amd64".to_owned(),
            from: None,
            requested: vec!["a".to_owned()],
            archives: vec![ArchiveState {
                suite: "sid".to_owned(),
                uri: "http://mirror.test".to_owned(),
                label: Some("Debian".to_owned()),
                date: 7,
                digest: Digest::of(b"x"),
                name: None,
                components: Vec::new(),
            }],
            packages: vec![package("a"), package("b")],
        };
        let empty = LockedImage {
            from: Some(ImageName::new("base").unwrap()),
            packages: Vec::new(),
            archives: Vec::new(),
            ..image.clone()
        };
        Lock {
            version: VERSION,
            images: [
                (ImageName::new("base").unwrap(), image),
                (ImageName::new("site").unwrap(), empty),
            ]
            .into(),
            stored: BTreeMap::new(),
        }
    }

    #[test]
    fn text_round_trips_with_a_line_for_each_package() {
        let text = lock().text();
        assert_eq!(Lock::parse(text.as_bytes()).unwrap(), lock());
        assert_eq!(text.lines().filter(|line| line.contains("\"sha256\"")).count(), 2);
        assert_eq!(Lock::parse(Lock::default().text().as_bytes()).unwrap(), Lock::default());
        for images in [lock().images, BTreeMap::new()] {
            let stored = ["a", "b"]
                .map(|name| (ImageName::new(name).unwrap(), Digest::of(name.as_bytes())))
                .into();
            let lock = Lock { images, stored, ..Lock::default() };
            assert_eq!(Lock::parse(lock.text().as_bytes()).unwrap(), lock, "{}", lock.text());
        }
    }

    #[test]
    fn refuses_what_could_mislead() {
        let text = lock().text();
        for (from, to) in [
            ("\"version\": 1,", "\"version\": 2,"),
            ("pool/a.deb", "../../a.deb"),
            ("\"name\":\"b\"", "\"name\":\"a\""),
            ("\"size\":12", "\"size\":0"),
            (&*"0".repeat(64), "0"),
            ("\"suite\": \"sid\"", "\"suit\": \"sid\""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Lock::parse(text.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
        }
    }
}
