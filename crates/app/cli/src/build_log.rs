//! Everything that build steps print, one file an image in `HOME/build-logs`: progress shows only the beginnings of lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use hornero_home::Opening;

/// What one image's steps may leave: a build that prints more is broken, and its first words say how.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// The logs of one bake; each replaces the one of the bake before.
#[derive(Debug)]
pub struct BuildLog {
    directory: PathBuf,
    files: BTreeMap<String, Option<(File, u64)>>,
    newest: Option<PathBuf>,
}

impl BuildLog {
    /// For a home; nothing is made before something is printed.
    pub fn new(home: &Path) -> Self {
        Self { directory: home.join("build-logs"), files: BTreeMap::new(), newest: None }
    }

    /// Takes a line of an image's steps. What can't be written is no reason to fail a build.
    pub fn line(&mut self, image: &str, line: &str) {
        let path = self.directory.join(format!("{image}.log"));
        let directory = &self.directory;
        let open = || {
            hornero_home::directory(directory).ok()?;
            Some((hornero_home::open(&path, Opening::Replace).ok()?, 0))
        };
        let file = self.files.entry(image.to_owned()).or_insert_with(open);
        let Some((file, written)) = file else { return };
        if *written <= LOG_BYTES_MAX && writeln!(file, "{line}").is_ok() {
            *written += line.len() as u64 + 1;
            self.newest = Some(path);
        }
    }

    /// Where the line that was taken last stands.
    pub fn newest(&self) -> Option<&Path> {
        self.newest.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_has_the_whole_lines_of_its_last_bake() {
        let home = tempfile::tempdir().unwrap();
        let long = "x".repeat(500);
        for last in ["first bake", "second bake"] {
            let mut log = BuildLog::new(home.path());
            assert_eq!(log.newest(), None);
            log.line("base", last);
            log.line("site", &long);
            assert_eq!(log.newest(), Some(&*home.path().join("build-logs/site.log")));
        }
        let read = |name: &str| {
            std::fs::read_to_string(home.path().join("build-logs").join(name)).unwrap()
        };
        assert_eq!(read("base.log"), "second bake\n");
        assert_eq!(read("site.log"), format!("{long}\n"));
    }
}
