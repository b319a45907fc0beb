//! What the commands of a schedule write, kept in one file a schedule.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{Digest, Directory, ScheduleName};

/// The directory of the home that they are in.
const DIRECTORY: &str = "schedules";
/// What one may hold: a patch of many images writes some hundred KiB.
const LOG_BYTES: u64 = 4 << 20;
/// How much of its end is looked at for what went wrong.
const TAIL_BYTES: u64 = 8 << 10;
/// Characters of a line that is told.
const LINE_CHARACTERS: usize = 300;

/// Where the log of a schedule is: two directories may have schedules of one name.
pub fn path(home: &Path, directory: &Directory, schedule: &ScheduleName) -> PathBuf {
    let whose = Digest::of(directory.as_str().as_bytes()).short();
    home.join(DIRECTORY).join(format!("{schedule}-{whose}.log"))
}

/// A log that is written.
pub struct TurnLog {
    path: PathBuf,
    file: File,
}

impl TurnLog {
    /// A new one; that of the time before is kept beside it.
    pub fn begin(path: PathBuf) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            hornero_home::directory(parent).map_err(io::Error::other)?;
        }
        match fs::rename(&path, path.with_extension("log.old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = hornero_home::open(&path, Opening::Append)?;
        Ok(Self { path, file })
    }

    /// The file, for a command to write to.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes a line.
    pub fn say(&mut self, line: &str) {
        if let Err(error) = writeln!(self.file, "{line}") {
            tracing::warn!("`{}` can't be written: {error}", self.path.display());
        }
    }

    /// Begins anew where it is too long.
    pub fn bound(&mut self) {
        let is_over = self.file.metadata().is_ok_and(|found| found.len() > LOG_BYTES);
        if is_over && self.file.set_len(0).is_ok() {
            self.say("… what was written before is left out: it was more than may be kept");
        }
    }

    /// What went wrong, by its last lines: the last that says `error:`, or else the last.
    pub fn last_words(&self) -> Option<String> {
        let mut file = hornero_home::open(&self.path, Opening::Read).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let error = lines.clone().filter_map(|line| line.strip_prefix("error: ")).next_back();
        let last = error.or(lines.clone().next_back())?;
        Some(last.chars().filter(|c| !c.is_control()).take(LINE_CHARACTERS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_the_time_before_and_knows_what_went_wrong() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let directory = Directory::new("/srv/shop").unwrap();
        let other = Directory::new("/srv/other").unwrap();
        let name = ScheduleName::new("patch").unwrap();
        assert_ne!(path(&home, &directory, &name), path(&home, &other, &name));
        let mut log = TurnLog::begin(path(&home, &directory, &name)).unwrap();
        assert_eq!(log.last_words(), None);
        log.say("one");
        assert_eq!(log.last_words().as_deref(), Some("one"));
        log.say("error: no room");
        log.say("hint: buy some");
        assert_eq!(log.last_words().as_deref(), Some("no room"));
        let mut log = TurnLog::begin(path(&home, &directory, &name)).unwrap();
        assert_eq!(log.last_words(), None);
        let old = log.path.with_extension("log.old");
        assert!(fs::read_to_string(old).unwrap().starts_with("one\n"));
        log.file.set_len(LOG_BYTES + 1).unwrap();
        log.bound();
        assert!(log.last_words().unwrap().contains("left out"));
    }
}
