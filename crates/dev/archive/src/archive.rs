//! A signed archive in a directory, and its states over time.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_model::Digest;

use crate::{
    Server,
    package::{Package, gzip, xz},
    signing::Signer,
};

/// The suite of every archive.
pub const SUITE: &str = "test";

/// The date of the first state of an archive, in seconds since the Unix epoch.
const FIRST_DATE: u64 = 1_700_000_000;
/// Between two states.
const DAY_SECONDS: u64 = 86_400;

/// Debian's name for this machine's architecture.
///
/// # Panics
/// Panics on an architecture that no test runs on.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => panic!("no archive is made for architecture `{other}`"),
    }
}

/// A signed archive.
pub struct Archive {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    signer: Signer,
    suites: BTreeMap<String, Vec<Package>>,
    date: u64,
    published: bool,
    fields: BTreeMap<(String, String), String>,
    /// Seconds from now until the index expires; none means never.
    pub valid_for: Option<i64>,
    /// Whether files can be asked for by their hash.
    pub by_hash: bool,
    /// How lists are packed: `.xz`, `.gz` or empty for plain.
    pub compression: &'static str,
}

impl Archive {
    /// An empty archive in a directory, with a key of its own; nothing is published yet.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let archive = Self {
            dir: dir.to_owned(),
            _temporary: None,
            signer: Signer::new("archive"),
            suites: BTreeMap::from([(SUITE.to_owned(), Vec::new())]),
            date: FIRST_DATE,
            published: false,
            fields: BTreeMap::new(),
            valid_for: None,
            by_hash: false,
            compression: ".xz",
        };
        archive.signer.write_armoured(&archive.keyring());
        archive
    }

    /// As [`Archive::new`], in a directory that lives as long as it.
    pub fn temporary() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Self::new(dir.path());
        archive._temporary = Some(dir);
        archive
    }

    /// A temporary archive with these packages, published.
    pub fn with(packages: &[Package]) -> Self {
        let mut archive = Self::temporary();
        for package in packages {
            archive.put(package.clone());
        }
        archive.publish();
        archive
    }

    /// The directory, which is a mirror.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The file with the key that signs it.
    pub fn keyring(&self) -> PathBuf {
        self.dir.join("keyring.asc")
    }

    /// What signs it.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The signed index of the suite.
    pub fn in_release(&self) -> PathBuf {
        self.dir.join(format!("dists/{SUITE}/InRelease"))
    }

    /// Where a package's file is.
    pub fn pool(&self, package: &Package) -> PathBuf {
        self.dir.join("pool").join(package.file_name())
    }

    /// Puts a package into the suite's next state, in the place of one with its name.
    pub fn put(&mut self, package: Package) -> &mut Self {
        self.put_into(SUITE, package)
    }

    /// Puts a package into the next state of the suite's security pocket, in the place of one with its name.
    pub fn put_security(&mut self, package: Package) -> &mut Self {
        self.put_into(&format!("{SUITE}-security"), package)
    }

    /// Sets a field of a suite's signed index, such as `NotAutomatic`, from the next state on.
    pub fn release_field(&mut self, suite: &str, name: &str, value: &str) -> &mut Self {
        self.fields.insert((suite.to_owned(), name.to_owned()), value.to_owned());
        self
    }

    /// Puts a package into the next state of a suite, in the place of one with its name.
    pub fn put_into(&mut self, suite: &str, package: Package) -> &mut Self {
        let packages = self.suites.entry(suite.to_owned()).or_default();
        packages.retain(|known| known.name != package.name);
        packages.push(package);
        self
    }

    /// Takes a package out of the next state.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        for packages in self.suites.values_mut() {
            packages.retain(|known| known.name != name);
        }
        self
    }

    /// Replaces all packages of the suite and publishes that; the files of older ones go.
    pub fn replace(&mut self, packages: &[Package]) -> u64 {
        fs::remove_dir_all(self.dir.join("pool")).unwrap();
        self.suites.insert(SUITE.to_owned(), packages.to_vec());
        self.publish()
    }

    /// Signs what was put as a new state, a day younger than the last; gives its date in seconds since the Unix
    /// epoch.
    pub fn publish(&mut self) -> u64 {
        if self.published {
            self.date += DAY_SECONDS;
        }
        self.publish_at(self.date)
    }

    /// Signs what was put, with a date in seconds since the Unix epoch.
    pub fn publish_at(&mut self, date: u64) -> u64 {
        self.published = true;
        self.date = date;
        let pool = self.dir.join("pool");
        fs::create_dir_all(&pool).unwrap();
        for (suite, packages) in &self.suites {
            for package in packages {
                fs::write(self.pool(package), package.build()).unwrap();
            }
            let list = self.plain_list(suite);
            let packed = match self.compression {
                ".xz" => xz(list.as_bytes()),
                ".gz" => gzip(list.as_bytes()),
                _ => list.into_bytes(),
            };
            let path = self.list(suite);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, packed).unwrap();
            let signed = self.signer.sign(&self.release_text_of(suite));
            fs::write(self.dir.join(format!("dists/{suite}/InRelease")), &signed).unwrap();
            self.keep_state(suite, &signed);
        }
        date
    }

    /// A mirror of the state that was published at a date.
    ///
    /// # Panics
    /// Panics when nothing was published then.
    pub fn snapshot(&self, date: u64) -> PathBuf {
        let dir = self.dir.join("snapshot").join(date.to_string());
        assert!(dir.exists(), "nothing was published at {date}");
        dir
    }

    /// Serves the directory on loopback until the server is dropped.
    pub fn serve(&self) -> Server {
        Server::start(&self.dir)
    }

    /// Copies a suite as it is now beneath the snapshot of its date; the pool is shared.
    fn keep_state(&self, suite: &str, signed: &str) {
        let dir = self.dir.join("snapshot").join(self.date.to_string());
        let list = self.list(suite);
        let kept = dir.join(list.strip_prefix(&self.dir).unwrap());
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::copy(list, kept).unwrap();
        fs::write(dir.join(format!("dists/{suite}/InRelease")), signed).unwrap();
        let pool = dir.join("pool");
        if !pool.exists() {
            std::os::unix::fs::symlink("../../pool", pool).unwrap();
        }
    }

    fn list(&self, suite: &str) -> PathBuf {
        let name = format!("main/binary-{}/Packages{}", architecture(), self.compression);
        self.dir.join("dists").join(suite).join(name)
    }

    fn plain_list(&self, suite: &str) -> String {
        let stanza = |package: &Package| package.stanza(&package.build()) + "\n";
        self.suites[suite].iter().map(stanza).collect()
    }

    /// The text that the suite's index has, unsigned.
    pub fn release_text(&self) -> String {
        self.release_text_of(SUITE)
    }

    fn release_text_of(&self, suite: &str) -> String {
        let list = self.list(suite);
        let packed = fs::read(&list).unwrap();
        let digest = Digest::of(&packed);
        let label = if suite.ends_with("-security") { "Test-Security" } else { "Test" };
        let mut fields = BTreeMap::from([
            ("Origin", "Test".to_owned()),
            ("Label", label.to_owned()),
            ("Suite", suite.to_owned()),
            ("Codename", suite.to_owned()),
            ("Date", date_text(self.date)),
            ("Components", "main".to_owned()),
            ("Architectures", format!("all {}", architecture())),
        ]);
        let own = self.fields.iter().filter(|((of, _), _)| of == suite);
        fields.extend(own.map(|((_, name), value)| (name.as_str(), value.clone())));
        let mut text: String =
            fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        if let Some(seconds) = self.valid_for {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let until = date_text(now.checked_add_signed(seconds).unwrap());
            text.push_str(&format!("Valid-Until: {until}\n"));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
            let by_hash = list.parent().unwrap().join("by-hash/SHA256");
            fs::create_dir_all(&by_hash).unwrap();
            fs::write(by_hash.join(digest.hex()), &packed).unwrap();
        }
        let path = list.strip_prefix(self.dir.join("dists").join(suite)).unwrap();
        let path = path.to_str().unwrap();
        text.push_str(&format!("SHA256:\n {} {} {path}\n", digest.hex(), packed.len()));
        // apt asks for packed lists only where the plain one is named, too.
        if let Some(plain_path) = path.strip_suffix(self.compression).filter(|it| *it != path) {
            let plain = self.plain_list(suite);
            let digest = Digest::of(plain.as_bytes());
            text.push_str(&format!(" {} {} {plain_path}\n", digest.hex(), plain.len()));
        }
        text
    }
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`; nobody reads the day of the week.
fn date_text(seconds: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let month: usize = text[5..7].parse().unwrap();
    format!("Mon, {} {} {} {} UTC", &text[8..10], MONTHS[month - 1], &text[..4], &text[11..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_stays_to_be_read() {
        let mut archive = Archive::temporary();
        archive.put(Package::new("one", "1"));
        let first = archive.publish();
        archive.put(Package::new("one", "2")).put_security(Package::new("two", "1"));
        let second = archive.publish();
        assert_eq!(second, first + DAY_SECONDS);
        let read = |date: u64, suite: &str| {
            fs::read_to_string(archive.snapshot(date).join(format!("dists/{suite}/InRelease")))
        };
        assert!(read(first, SUITE).unwrap().contains("Date: Mon, 14 Nov 2023 22:13:20 UTC"));
        assert!(read(second, SUITE).unwrap().contains("Date: Mon, 15 Nov 2023 22:13:20 UTC"));
        assert!(read(first, "test-security").is_err());
        assert!(read(second, "test-security").unwrap().contains("Label: Test-Security"));
        for package in [Package::new("one", "1"), Package::new("one", "2")] {
            let file = archive.snapshot(first).join("pool").join(package.file_name());
            assert_eq!(fs::read(file).unwrap(), package.build());
        }
    }
}
