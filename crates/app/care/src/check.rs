//! Everything that can be wrong with a home, each finding with a name, how bad it is, and what to run.
//!
//! Nothing is changed. One part that is broken hides no other: each is looked at by itself.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_home::{HomeError, Opening};
use hornero_ledger::{KeyError, LedgerError, PublicKey, ReadOnlyLedger, Verdict};
use hornero_store::Store;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{CareError, relocate::is_held};

/// Free space below which a home is close to full: a base and an instance's logs.
const SPACE_BYTES_MIN: u64 = 1 << 30;
/// The same for the number of files: a base of Debian has some 10,000.
const FILES_MIN: u64 = 20_000;
/// HomeFindings of one kind; more say nothing new.
const FINDINGS_MAX: usize = 20;
/// Records are some kilobytes.
const RECORD_BYTES_MAX: u64 = 4 << 20;
/// What was being written and is older than this was left by something that died.
const STALE_HOURS: u64 = 24;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and will not for ever.
    Warning,
    /// Something does not work.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HomeProblem {
    /// How bad it is.
    pub severity: Severity,
    /// The word that scripts and `docs/errors/home.md` know it by.
    pub code: &'static str,
    /// What is wrong, and with what.
    pub text: String,
    /// What to run, or to do.
    pub run: Option<String>,
}

/// How a home is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Read every content of the store, too.
    pub full: bool,
}

struct HomeFindings<'a> {
    home: &'a Path,
    found: Vec<HomeProblem>,
}

/// Looks at everything in a home whose way is trusted (see [`hornero_home::resolve`]); the worst come first.
pub fn check(home: &Path, options: CheckOptions) -> Vec<HomeProblem> {
    let mut findings = HomeFindings { home, found: Vec::new() };
    if !home.is_dir() {
        let text = format!("there is no home at `{}`", home.display());
        findings.add(
            Severity::Error,
            "home_missing",
            text,
            "`--home` or HORNERO_HOME says which home",
        );
        return findings.found;
    }
    findings.owners(home, 0);
    findings.key_and_ledger();
    findings.store(options.full);
    findings.format();
    findings.records();
    findings.edge_table();
    findings.network();
    findings.control();
    findings.leftovers();
    findings.space();
    findings.restored();
    findings.found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    findings.found
}

impl HomeFindings<'_> {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        text: String,
        run: impl Into<String>,
    ) {
        let same = self.found.iter().filter(|problem| problem.code == code).count();
        if same < FINDINGS_MAX {
            let run = Some(run.into()).filter(|run| !run.is_empty());
            self.found.push(HomeProblem { severity, code, text, run });
        }
    }

    fn refused(&mut self, error: &HomeError) {
        if let Some(code) = error.code() {
            self.add(Severity::Error, code, error.to_string(), error.remedy().unwrap_or_default());
        }
    }

    fn command(&self, words: &str) -> String {
        format!("hornero --home '{}' {words}", self.home.display())
    }

    /// Whose everything is. Contents of the store are known by digest and lie in directories that are looked at.
    fn owners(&mut self, directory: &Path, depth: usize) {
        if depth == 0
            && let Err(error) = hornero_home::admit(self.home)
        {
            self.refused(&error);
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_large = depth == 0 && (name == "store" || name == "cache" || name == "tmp");
            if is_large {
                continue;
            }
            let is_log = name == "control.log" || name == "edge.log";
            if found.is_symlink() && depth > 0 {
                let text = format!("`{}` is a symbolic link", path.display());
                self.add(Severity::Error, "home_link", text, format!("rm '{}'", path.display()));
            } else if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
                let text = format!("`{}` belongs to user {}", path.display(), found.uid());
                let run = format!("chown -h root:root '{}'", path.display());
                self.add(Severity::Error, "home_other_owner", text, run);
            } else if !found.is_symlink() && found.mode() & 0o022 != 0 && !is_log {
                let text = format!(
                    "others may write to `{}`: mode {:o}",
                    path.display(),
                    found.mode() & 0o7777
                );
                self.add(
                    Severity::Error,
                    "home_writable",
                    text,
                    format!("chmod go-w '{}'", path.display()),
                );
            }
            // Instances have two levels, names two.
            if found.is_dir() && depth < 3 {
                self.owners(&path, depth + 1);
            }
        }
    }

    fn key_and_ledger(&mut self) {
        let (keys, ledger) = (self.home.join("keys"), self.home.join("ledger.db"));
        let private = keys.join("signing.pk8");
        if !ledger.exists() {
            if self.home.join("ledger.head").exists() {
                let text = format!("`{}` is missing, and its head file is there", ledger.display());
                let run = "hornero home restore BACKUP --to NEW-HOME";
                self.add(Severity::Error, "ledger_missing", text, run);
            }
            return;
        }
        if !private.exists() {
            let error = KeyError::Lost { path: private.clone(), ledger: ledger.clone() };
            let run = "put `keys/signing.pk8` back from a backup (mode 600)";
            self.add(Severity::Error, "key_lost", error.to_string(), run);
        } else if let Ok(found) = fs::metadata(&private)
            && found.mode() & 0o077 != 0
        {
            let text =
                KeyError::Exposed { path: private.clone(), mode: found.mode() & 0o777 }.to_string();
            self.add(
                Severity::Error,
                "key_exposed",
                text,
                format!("chmod 600 '{}'", private.display()),
            );
        }
        if private.exists() && fs::metadata(&private).is_ok_and(|found| found.mode() & 0o077 == 0)
            // Also writes the public half where it is missing or is another's.
            && let Err(error) = hornero_ledger::Keys::open(&keys)
        {
            let code = error.code().unwrap_or("key_damaged");
            let run = "put `keys/signing.pk8` back from a backup (mode 600)";
            self.add(Severity::Error, code, error.to_string(), run);
        }
        let key = match PublicKey::load(&keys) {
            Ok(key) => key,
            Err(error) => {
                let text = format!("the ledger can't be verified: {error}");
                let run = "put `keys/signing.pub` back from a backup";
                return self.add(Severity::Error, "key_lost", text, run);
            }
        };
        let verdict = ReadOnlyLedger::open(&ledger, key).and_then(|opened| opened.verify());
        match verdict {
            Ok(Verdict::Intact { .. }) => {}
            Ok(Verdict::Touched { sequence, reason }) => self.touched(&ledger, sequence, &reason),
            Err(error) => {
                let code = error.code().unwrap_or("ledger_unavailable");
                let text = chain(&error);
                self.add(Severity::Error, code, text, "hornero home restore BACKUP --to NEW-HOME");
            }
        }
    }

    fn touched(&mut self, ledger: &Path, sequence: u64, reason: &str) {
        let head = ledger.with_extension("head");
        // Whoever asked control to serve it has made an empty one.
        if fs::metadata(&head).map_or(true, |found| found.len() == 0) {
            let error = LedgerError::HeadMissing { head, sequence: sequence.saturating_sub(1) };
            let run = self.command("home accept-ledger");
            return self.add(Severity::Error, "ledger_head_missing", error.to_string(), run);
        }
        let text = format!("event `{sequence}` of the ledger {reason}");
        let run = "hornero home restore BACKUP --to NEW-HOME";
        self.add(Severity::Error, "ledger_touched", text, run);
    }

    fn store(&mut self, full: bool) {
        let path = self.home.join("store");
        if !path.join("format").exists() {
            return;
        }
        let store = match Store::open(&path) {
            Ok(store) => store,
            Err(error) => {
                let run = error.hint().map(|hint| hint.to_string()).unwrap_or_default();
                return self.add(Severity::Error, "store_unavailable", chain(&error), run);
            }
        };
        self.store_names(&store);
        self.store_parts(&store);
        if !full {
            return;
        }
        let fsck = self.command("image fsck");
        match store.fsck() {
            Ok(damages) => {
                for damage in damages {
                    let text =
                        format!("{} {}: {}", damage.kind, damage.digest.short(), damage.damage);
                    self.add(Severity::Error, "store_damaged", text, fsck.clone());
                }
            }
            Err(error) => self.add(Severity::Error, "store_damaged", chain(&error), fsck),
        }
    }

    fn store_names(&mut self, store: &Store) {
        let fsck = self.command("image fsck");
        let listing = match store.ref_listing() {
            Ok(listing) => listing,
            Err(error) => {
                return self.add(Severity::Error, "store_unavailable", chain(&error), fsck);
            }
        };
        for name in listing.damaged {
            let text = format!("the name `{name}` of the store holds no digest any more");
            let run = format!(
                "`hornero build` writes it anew; `hornero image untag {name}` takes it away"
            );
            self.add(Severity::Error, "name_damaged", text, run);
        }
        for (name, image) in listing.refs {
            if !store.has_image(&image) {
                let text = format!("`{name}` leads to image {}, which is not there", image.short());
                self.add(Severity::Warning, "image_missing", text, fsck.clone());
            }
        }
    }

    /// Whether every file is there that the images need; none is read.
    fn store_parts(&mut self, store: &Store) {
        let fsck = self.command("image fsck");
        let parts = store
            .images()
            .map_err(CareError::from)
            .and_then(|images| crate::parts::of_images(store, &images.into_iter().collect()));
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => return self.add(Severity::Error, "store_damaged", chain(&error), fsck),
        };
        for text in parts.damaged {
            self.add(Severity::Error, "store_damaged", text, fsck.clone());
        }
        for file in parts.files.iter().filter(|file| !store.dir().join(file).is_file()) {
            let text = format!("`store/{}` is missing", file.display());
            self.add(Severity::Error, "store_damaged", text, fsck.clone());
        }
    }

    /// The records of instances.
    fn records(&mut self) {
        let entries = fs::read_dir(self.home.join("instances")).into_iter().flatten().flatten();
        for directory in entries.map(|entry| entry.path()) {
            if directory.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            for name in ["spec.json", "running.json", "exit.json"] {
                let path = directory.join(name);
                if let Err(reason) = json(&path) {
                    let text = format!("`{}` {reason}", path.display());
                    let run = "`hornero down` and `up` make servers anew; `hornero down --force` where control does not start";
                    self.add(Severity::Error, "record_damaged", text, run);
                }
            }
        }
        let names = fs::read_dir(self.home.join("names")).into_iter().flatten().flatten();
        for directory in names.map(|entry| entry.path()) {
            for file in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let text = fs::read_to_string(file.path()).unwrap_or_default();
                let is_digest = text.lines().next().is_some_and(|line| line.starts_with("sha256:"));
                if !is_digest && !file.file_name().as_encoded_bytes().starts_with(b".") {
                    let text = format!("`{}` holds no name any more", file.path().display());
                    let run = "`hornero build` in its directory writes it anew, or remove it";
                    self.add(Severity::Error, "name_damaged", text, run);
                }
            }
        }
    }

    fn format(&mut self) {
        let path = self.home.join("format");
        if let Err(reason) = json(&path) {
            let text = format!("`{}` {reason}", path.display());
            let run = "put it back from a backup, or write what docs/reference/formats.md says";
            self.add(Severity::Error, "format_damaged", text, run);
        }
    }

    fn edge_table(&mut self) {
        let path = self.home.join("edge/routes.json");
        if let Err(reason) = json(&path) {
            let text = format!("the edge's table `{}` {reason}", path.display());
            let run =
                "nothing: control gives the edge a new one; until then a new edge has no routes";
            self.add(Severity::Warning, "edge_table_damaged", text, run);
        }
    }

    fn network(&mut self) {
        let path = self.home.join("network.json");
        if let Err(reason) = json(&path) {
            let text = format!("`{}` {reason}", path.display());
            let run = format!(
                "`{}`, then `rm '{}'`: the next start chooses addresses anew",
                self.command("down --force"),
                path.display()
            );
            self.add(Severity::Error, "network_damaged", text, run);
        }
    }

    fn control(&mut self) {
        let holds = is_held(&self.home.join("control.lock")).unwrap_or(false);
        let socket = self.home.join("control.sock");
        let answers = std::os::unix::net::UnixStream::connect(&socket).is_ok();
        if holds && !answers {
            let text = format!("control runs, and `{}` does not lead to it", socket.display());
            let run = "wait some seconds: control makes it anew; else end control by SIGTERM, and `hornero up` or `serve` starts another";
            self.add(Severity::Error, "control_socket_lost", text, run);
        } else if !holds && socket.exists() {
            let text = format!("`{}` is left of a control that is gone", socket.display());
            self.add(
                Severity::Note,
                "control_socket_stale",
                text,
                "nothing: the next control replaces it",
            );
        }
    }

    fn leftovers(&mut self) {
        let mut stale = Vec::new();
        for directory in ["", "keys", "edge"] {
            let path = self.home.join(directory);
            stale.extend(
                fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()),
            );
        }
        stale.retain(|path| path.extension().is_some_and(|ending| ending == "new") && is_old(path));
        for path in stale {
            let text =
                format!("`{}` was left by something that died while it wrote", path.display());
            self.add(Severity::Note, "stale_file", text, format!("rm '{}'", path.display()));
        }
        let builds = fs::read_dir(self.home.join("tmp")).into_iter().flatten().flatten();
        let old = builds.map(|entry| entry.path()).filter(|path| is_old(path)).count();
        if old > 0 {
            let text = format!(
                "{old} files of bakes that died lie in `{}`",
                self.home.join("tmp").display()
            );
            let run = self.command("image gc");
            self.add(Severity::Note, "stale_file", text, run);
        }
    }

    fn space(&mut self) {
        let mut places: Vec<PathBuf> = vec![self.home.to_owned()];
        places.extend(fs::canonicalize(self.home.join("store")).ok());
        let mut seen = Vec::new();
        for place in places {
            let Ok(space) = rustix::fs::statvfs(&place) else { continue };
            if seen.contains(&space.f_fsid) {
                continue;
            }
            seen.push(space.f_fsid);
            let free = space.f_bavail * space.f_frsize;
            let run = self.command("image gc");
            if free < SPACE_BYTES_MIN {
                let text = format!("{} MiB are free below `{}`", free >> 20, place.display());
                self.add(Severity::Warning, "disk_full", text, run.clone());
            }
            if space.f_files > 0 && space.f_favail < FILES_MIN {
                let text = format!("{} more files fit below `{}`", space.f_favail, place.display());
                self.add(Severity::Warning, "disk_full", text, run);
            }
            if space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
                let text = format!("the file system of `{}` is read-only", place.display());
                let run = "`dmesg` says why; after a repair, `mount -o remount,rw`";
                self.add(Severity::Error, "disk_read_only", text, run);
            }
        }
    }

    fn restored(&mut self) {
        let path = self.home.join("restored.json");
        let Ok(text) = fs::read_to_string(&path) else { return };
        let note: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let text = format!(
            "restored at {} from a backup of `{}` as it was at {}: what happened there since is not in this ledger",
            note["restored"].as_str().unwrap_or("a time unknown"),
            note["home"].as_str().unwrap_or("a home unknown"),
            note["created"].as_str().unwrap_or("a time unknown"),
        );
        self.add(Severity::Note, "home_restored", text, "");
    }
}

/// What is wrong with a file that holds JSON, if it is there.
fn json(path: &Path) -> Result<(), String> {
    use std::io::Read as _;
    let file = match hornero_home::open(path, Opening::Read) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        file => file.map_err(|error| format!("can't be opened: {error}"))?,
    };
    let mut text = Vec::new();
    file.take(RECORD_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| format!("can't be read: {error}"))?;
    serde_json::from_slice::<serde_json::Value>(&text)
        .map(drop)
        .map_err(|error| format!("is damaged: {error}"))
}

fn is_old(path: &Path) -> bool {
    let age =
        fs::symlink_metadata(path).and_then(|found| found.modified()).map(|time| time.elapsed());
    matches!(age, Ok(Ok(age)) if age.as_secs() > STALE_HOURS * 3600)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
