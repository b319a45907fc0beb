//! The home's own files: whose they are, whether they can be read, and what was left behind.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use hornero_home::Opening;

use super::finding::{HomeFindings, Severity};

/// Records are some kilobytes.
const RECORD_BYTES_MAX: u64 = 4 << 20;
/// What was being written and is older than this was left by something that died.
const STALE_HOURS: u64 = 24;

impl HomeFindings<'_> {
    /// Whose everything is. Contents of the store are known by digest and lie in directories that are looked at.
    pub(super) fn owners(&mut self, directory: &Path, depth: usize) {
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

    /// The records of instances.
    pub(super) fn records(&mut self) {
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

    pub(super) fn format(&mut self) {
        let path = self.home.join("format");
        if let Err(reason) = json(&path) {
            let text = format!("`{}` {reason}", path.display());
            let run = "put it back from a backup, or write what docs/reference/formats.md says";
            self.add(Severity::Error, "format_damaged", text, run);
        }
    }

    pub(super) fn edge_table(&mut self) {
        let path = self.home.join("edge/routes.json");
        if let Err(reason) = json(&path) {
            let text = format!("the edge's table `{}` {reason}", path.display());
            let run =
                "nothing: control gives the edge a new one; until then a new edge has no routes";
            self.add(Severity::Warning, "edge_table_damaged", text, run);
        }
    }

    pub(super) fn network(&mut self) {
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

    pub(super) fn leftovers(&mut self) {
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

    pub(super) fn restored(&mut self) {
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
