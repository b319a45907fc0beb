//! A signed archive in a directory.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_model::Digest;

use super::{
    deb::{Deb, gzip, xz},
    signing::Signer,
};

pub const SUITE: &str = "test";

pub struct Archive {
    dir: tempfile::TempDir,
    pub signer: Signer,
    debs: Vec<Deb>,
    date: u64,
    pub valid_for: Option<i64>,
    pub by_hash: bool,
    pub compression: &'static str,
}

impl Archive {
    pub fn new(debs: &[Deb]) -> Self {
        let archive = Self {
            dir: tempfile::tempdir().unwrap(),
            signer: Signer::new("archive"),
            debs: debs.to_vec(),
            date: 1_700_000_000,
            valid_for: None,
            by_hash: false,
            compression: ".xz",
        };
        archive.signer.write_armoured(&archive.keyring());
        archive.publish();
        archive
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn keyring(&self) -> PathBuf {
        self.dir.path().join("keyring.asc")
    }

    pub fn in_release(&self) -> PathBuf {
        self.dir.path().join(format!("dists/{SUITE}/InRelease"))
    }

    pub fn pool(&self, deb: &Deb) -> PathBuf {
        self.dir.path().join("pool").join(deb.file_name())
    }

    /// Replaces the packages, a day later; files of older ones go.
    pub fn replace(&mut self, debs: &[Deb]) {
        fs::remove_dir_all(self.dir.path().join("pool")).unwrap();
        self.debs = debs.to_vec();
        self.date += 86_400;
        self.publish();
    }

    pub fn release_text(&self) -> String {
        let suite_dir = self.dir.path().join("dists").join(SUITE);
        let path = format!(
            "main/binary-{}/Packages{}",
            hornero_bake::architecture().unwrap(),
            self.compression
        );
        let packed = fs::read(suite_dir.join(&path)).unwrap();
        let digest = Digest::of(&packed);
        let mut text = format!(
            "Origin: Test\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\nComponents: main\nArchitectures: all\n",
            date_text(self.date)
        );
        if let Some(seconds) = self.valid_for {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            text.push_str(&format!(
                "Valid-Until: {}\n",
                date_text(now.checked_add_signed(seconds).unwrap())
            ));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
            let by_hash = suite_dir.join(&path).parent().unwrap().join("by-hash/SHA256");
            fs::create_dir_all(&by_hash).unwrap();
            fs::write(by_hash.join(digest.hex()), &packed).unwrap();
        }
        text.push_str(&format!("SHA256:\n {} {} {path}\n", digest.hex(), packed.len()));
        text
    }

    pub fn publish(&self) {
        let pool = self.dir.path().join("pool");
        fs::create_dir_all(&pool).unwrap();
        let mut packages = String::new();
        for deb in &self.debs {
            let bytes = deb.build();
            packages.push_str(&deb.stanza(&bytes));
            packages.push('\n');
            fs::write(self.pool(deb), bytes).unwrap();
        }
        let suite_dir = self.dir.path().join("dists").join(SUITE);
        let list = suite_dir.join(format!("main/binary-{}", hornero_bake::architecture().unwrap()));
        fs::create_dir_all(&list).unwrap();
        let packed = match self.compression {
            ".xz" => xz(packages.as_bytes()),
            ".gz" => gzip(packages.as_bytes()),
            _ => packages.into_bytes(),
        };
        fs::write(list.join(format!("Packages{}", self.compression)), packed).unwrap();
        fs::write(self.in_release(), self.signer.sign(&self.release_text())).unwrap();
    }
}

/// `Sat, 11 Jul 2026 10:16:37 UTC`; nobody reads the day of the week.
fn date_text(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month: usize = text[5..7].parse().unwrap();
    format!("Mon, {} {} {} {} UTC", &text[8..10], MONTHS[month - 1], &text[..4], &text[11..19])
}
