//! Small files of the host, below a root that is another one in tests.

use std::{fs::File, io::Read as _, path::PathBuf};

/// The longest file that is read: `/proc/modules`, `modules.dep` and mount tables of large hosts are some hundred
/// kilobytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where files are read below.
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub fn of_host() -> Self {
        Self { root: PathBuf::from("/") }
    }

    #[cfg(test)]
    pub fn below(root: &std::path::Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path below the root; `path` is written without its first slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a file, cut at the limit; nothing where it can't be read.
    pub fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(path)).ok()?;
        // A pipe or device in a file's place must not keep anybody waiting.
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first line, without white space around it.
    pub fn line(&self, path: &str) -> Option<String> {
        Some(self.text(path)?.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The number that a file holds.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// Whether a file holds something else than 0 or `N`.
    pub fn flag(&self, path: &str) -> Option<bool> {
        self.line(path).map(|line| !matches!(line.as_str(), "0" | "N" | ""))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// The names in a directory, in order; none where it can't be read.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
