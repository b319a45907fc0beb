//! Recordings of sessions in servers: asciicast v2, each line chained to those before it, and on disk before anybody sees it.
//!
//! After each line of the recording stands one with the code `h`, which players pass over: SHA-256 of the link before it and of
//! the line. The last link is in the ledger, so that whoever changes, removes or adds a line is found out.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use hornero_home::Opening;
use hornero_model::{Digest, GlassId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bytes of a recording: an hour of a busy terminal is a tenth of it.
pub const RECORDING_BYTES_MAX: u64 = 64 << 20;
/// What the last lines may take beyond it.
const LAST_LINES_BYTES: u64 = 64 << 10;

/// The code of what was written.
const OUTPUT: &str = "o";
/// The code of a link.
const LINK: &str = "h";

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHead {
    /// The format's; always 2.
    pub version: u8,
    /// Letters in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
    /// When it was begun, in seconds since 1970.
    pub timestamp: u64,
    /// What it is of, for people.
    pub title: String,
    /// The command.
    pub command: String,
}

impl RecordingHead {
    /// The head of a recording that begins now.
    pub fn new(title: String, command: String, (width, height): (u16, u16)) -> Self {
        Self { version: 2, width, height, timestamp: Timestamp::now().0 / 1_000, title, command }
    }
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedMoment {
    /// Seconds since it was begun.
    pub at: f64,
    /// `o` for what was written, `i` for what was typed, `r` for another size, `m` for a remark.
    pub code: String,
    /// What.
    pub data: String,
}

/// A recording that was read, and found whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// Its first line.
    pub head: RecordingHead,
    /// What happened, in order.
    pub moments: Vec<RecordedMoment>,
    /// The last link.
    pub last: Digest,
    /// Bytes of the file up to there; what is behind was being written when its writer was killed.
    pub bytes: u64,
}

/// Why a recording is not shown.
#[derive(Debug, thiserror::Error)]
pub enum RecordingFault {
    /// There is none.
    #[error("there is no recording of `{0}`")]
    Missing(GlassId),
    /// It can't be read.
    #[error("the recording of `{0}` can't be read")]
    Unreadable(GlassId, #[source] io::Error),
    /// It is not as it was written.
    #[error("the recording of `{id}` was changed: line {line} is not as it was written")]
    Changed {
        /// Which.
        id: GlassId,
        /// The first line that does not fit.
        line: usize,
    },
    /// Something was removed from its end, or added.
    #[error("the recording of `{0}` was changed: its end is not the one that the ledger has")]
    OtherEnd(GlassId),
}

/// The recordings of a home.
#[derive(Debug, Clone)]
pub struct Recordings {
    directory: PathBuf,
}

/// A recording that is being written.
#[derive(Debug)]
pub struct RecordingWriter {
    file: File,
    begun: Instant,
    last: Digest,
    bytes: u64,
    /// Whether part of a line is at its end that could not be cut off.
    is_torn: bool,
}

impl Recordings {
    /// `HOME/glass`.
    pub fn of(home: &Path) -> Self {
        Self { directory: home.join("glass") }
    }

    /// The file of a recording.
    pub fn path(&self, id: &GlassId) -> PathBuf {
        self.directory.join(format!("{id}.cast"))
    }

    /// Begins one: its first line is on disk when this returns.
    ///
    /// # Errors
    /// Where it can't be written, or is there already.
    pub fn begin(&self, id: &GlassId, head: &RecordingHead) -> io::Result<RecordingWriter> {
        let directory = hornero_home::directory(&self.directory)?;
        let path = self.path(id);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = hornero_home::open(&path, Opening::Append)?;
        let none = Digest::of(b"");
        let begun = Instant::now();
        let mut writer = RecordingWriter { file, begun, last: none, bytes: 0, is_torn: false };
        let begun = writer.line(&serde_json::to_value(head)?, 0.0);
        match begun.and_then(|()| directory.sync_all()) {
            Ok(()) => Ok(writer),
            Err(error) => {
                // There is no session that it could be of.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Reads one to its end, or to where its writer was killed.
    ///
    /// # Errors
    /// Where it is not as it was written, and where its last link is not `expected`.
    pub fn read(
        &self,
        id: &GlassId,
        expected: Option<&Digest>,
    ) -> Result<SessionRecord, RecordingFault> {
        let unreadable = |error| RecordingFault::Unreadable(id.clone(), error);
        let file = match hornero_home::open(&self.path(id), Opening::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RecordingFault::Missing(id.clone()));
            }
            opened => opened.map_err(unreadable)?,
        };
        let mut written = Vec::new();
        // A line may be as long again as what it holds, where that is escaped.
        file.take(8 * RECORDING_BYTES_MAX).read_to_end(&mut written).map_err(unreadable)?;
        let length = written.len() as u64;
        // A writer that was killed may have stopped within a letter.
        let text = String::from_utf8_lossy(&written);
        let record = chained(id, &text)?;
        match expected {
            Some(last) if *last != record.last || record.bytes != length => {
                Err(RecordingFault::OtherEnd(id.clone()))
            }
            Some(_) | None => Ok(record),
        }
    }

    /// The last link of a recording whose writer was killed; what it had not written whole is cut off. None where it is gone
    /// or was changed.
    pub fn settle(&self, id: &GlassId) -> Option<Digest> {
        let record = self.read(id, None).ok()?;
        let file = hornero_home::open(&self.path(id), Opening::Change).ok()?;
        file.set_len(record.bytes).and_then(|()| file.sync_all()).ok()?;
        Some(record.last)
    }
}

/// Follows the chain through a text.
fn chained(id: &GlassId, text: &str) -> Result<SessionRecord, RecordingFault> {
    let changed = |line: usize| RecordingFault::Changed { id: id.clone(), line: line + 1 };
    let (mut head, mut moments) = (None, Vec::new());
    let (mut last, mut bytes, mut at_byte) = (Digest::of(b""), 0, 0);
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).enumerate();
    while let Some((number, line)) = lines.next() {
        let Some((_, linked)) = lines.next() else { break };
        let link = link(&last, line);
        // As it is written, byte for byte: with the time of its line, and the head has none.
        let at = match head {
            None => "0.0",
            Some(_) => line.strip_prefix('[').and_then(|of| of.split(',').next()).unwrap_or(""),
        };
        if linked != format!("[{at},\"{LINK}\",\"{}\"]\n", link.hex()) {
            return Err(changed(number));
        }
        match &head {
            None => head = Some(serde_json::from_str(line).map_err(|_| changed(number))?),
            Some(_) => {
                let (at, code, data) = serde_json::from_str(line).map_err(|_| changed(number))?;
                moments.push(RecordedMoment { at, code, data });
            }
        }
        last = link;
        at_byte += (line.len() + linked.len()) as u64;
        bytes = at_byte;
    }
    let head = head.ok_or_else(|| changed(0))?;
    Ok(SessionRecord { head, moments, last, bytes })
}

fn link(before: &Digest, line: &str) -> Digest {
    Digest::of(&[before.as_bytes().as_slice(), line.as_bytes()].concat())
}

impl RecordingWriter {
    /// Records what was written; on disk when this returns, so that it may be shown then.
    ///
    /// # Errors
    /// Where there is no room, on the disk or in the recording.
    pub fn wrote(&mut self, text: &str) -> io::Result<()> {
        self.moment(OUTPUT, text, RECORDING_BYTES_MAX)
    }

    /// Records what was typed, before anybody gets it.
    ///
    /// # Errors
    /// As [`RecordingWriter::wrote`].
    pub fn typed(&mut self, text: &str) -> io::Result<()> {
        self.moment("i", text, RECORDING_BYTES_MAX)
    }

    /// Records that the terminal has another size.
    ///
    /// # Errors
    /// As [`RecordingWriter::wrote`].
    pub fn resized(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.moment("r", &format!("{columns}x{rows}"), RECORDING_BYTES_MAX)
    }

    /// Records how the session ended, and gives the last link.
    ///
    /// # Errors
    /// As [`RecordingWriter::wrote`]; the last link is then that of what is on disk.
    pub fn end(mut self, remark: &str) -> (Digest, io::Result<()>) {
        let ended = self.moment("m", remark, RECORDING_BYTES_MAX + LAST_LINES_BYTES);
        (self.last, ended)
    }

    fn moment(&mut self, code: &str, data: &str, most: u64) -> io::Result<()> {
        if self.bytes + data.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let at = self.begun.elapsed().as_secs_f64();
        self.line(&json!([at, code, data]), at)
    }

    /// Writes a line and its link as one, durably; nothing of it stays where that fails.
    fn line(&mut self, line: &Value, at: f64) -> io::Result<()> {
        if self.is_torn {
            // Whatever came behind that part would be no line. Where it can be cut off by now nobody misses it.
            let _ = self.file.set_len(self.bytes);
            return Err(io::Error::other("what was written before it is torn"));
        }
        let mut text = line.to_string();
        text.push('\n');
        let link = link(&self.last, &text);
        text.push_str(&json!([at, LINK, link.hex()]).to_string());
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What is cut off here was seen by nobody; what can't be is cut off by whoever settles it.
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return written;
        }
        self.bytes += text.len() as u64;
        self.last = link;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id() -> GlassId {
        GlassId::new("glass-a").unwrap()
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        home
    }

    fn head() -> RecordingHead {
        RecordingHead::new("glass-a in site-1-a".to_owned(), "sh".to_owned(), (80, 24))
    }

    fn recorded(recordings: &Recordings) -> Digest {
        let mut writer = recordings.begin(&id(), &head()).unwrap();
        writer.typed("ls\r").unwrap();
        writer.wrote("one\r\ntwo \u{1b}[31m\u{7}").unwrap();
        writer.resized(100, 30).unwrap();
        let (last, ended) = writer.end("ended: exit 0");
        ended.unwrap();
        last
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let home = home();
        let recordings = Recordings::of(home.path());
        let last = recorded(&recordings);
        let record = recordings.read(&id(), Some(&last)).unwrap();
        assert_eq!((&record.head, record.last), (&head(), last));
        let told: Vec<(&str, &str)> =
            record.moments.iter().map(|of| (of.code.as_str(), of.data.as_str())).collect();
        let expected = [
            ("i", "ls\r"),
            ("o", "one\r\ntwo \u{1b}[31m\u{7}"),
            ("r", "100x30"),
            ("m", "ended: exit 0"),
        ];
        assert_eq!(told, expected);
        let mode = fs::metadata(recordings.path(&id())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(recordings.begin(&id(), &head()).is_err(), "none is written over");
    }

    /// Each line after the first is an event of asciicast v2: a time, a code, a text.
    #[test]
    fn players_can_read_it() {
        let home = home();
        let recordings = Recordings::of(home.path());
        recorded(&recordings);
        let text = fs::read_to_string(recordings.path(&id())).unwrap();
        let mut lines = text.lines();
        let first: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!((&first["version"], &first["width"]), (&json!(2), &json!(80)));
        let mut last = 0.0;
        for line in lines {
            let (at, code, _): (f64, String, String) = serde_json::from_str(line).unwrap();
            assert!(at >= last && code.len() == 1, "{line}");
            last = at;
        }
    }

    #[test]
    fn any_line_that_is_changed_removed_or_added_is_found() {
        let home = home();
        let recordings = Recordings::of(home.path());
        let last = recorded(&recordings);
        let path = recordings.path(&id());
        let whole = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let refused = |text: String| {
            fs::write(&path, text).unwrap();
            recordings.read(&id(), Some(&last)).unwrap_err()
        };
        for number in 0..lines.len() {
            let mut without = lines.clone();
            without.remove(number);
            refused(without.concat());
            let mut other = lines.clone();
            let line = other[number].replace("one", "two").replace("ls", "rm").replace('8', "9");
            if line != other[number] {
                other[number] = &line;
                refused(other.concat());
            }
            // Also where JSON says the same.
            let line = lines[number].replacen(',', ", ", 1);
            let mut spaced = lines.clone();
            spaced[number] = &line;
            refused(spaced.concat());
        }
        // A pair that fits, taken off the end or put there: only the ledger knows.
        let cut = refused(lines[..lines.len() - 2].concat());
        assert!(matches!(cut, RecordingFault::OtherEnd(_)), "{cut}");
        let torn = refused(whole[..whole.len() - 4].to_owned());
        assert!(matches!(torn, RecordingFault::OtherEnd(_)), "{torn}");
        let more = refused(format!("{whole}[9.0,\"o\",\"x\"]\n"));
        assert!(matches!(more, RecordingFault::OtherEnd(_)), "{more}");
        fs::write(&path, &whole).unwrap();
        recordings.read(&id(), Some(&last)).unwrap();
        fs::remove_file(&path).unwrap();
        let gone = recordings.read(&id(), Some(&last)).unwrap_err();
        assert!(matches!(gone, RecordingFault::Missing(_)), "{gone}");
    }

    #[test]
    fn what_its_writer_was_killed_in_is_cut_off_once() {
        let home = home();
        let recordings = Recordings::of(home.path());
        let mut writer = recordings.begin(&id(), &head()).unwrap();
        writer.wrote("shown").unwrap();
        let (whole, last) = (writer.bytes, writer.last);
        drop(writer);
        let path = recordings.path(&id());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"[1.0,\"o\",\"never shown\"]\n[1.0,\"h").unwrap();
        assert_eq!(recordings.settle(&id()), Some(last));
        assert_eq!(fs::metadata(&path).unwrap().len(), whole);
        assert_eq!(recordings.read(&id(), Some(&last)).unwrap().moments.len(), 1);
        fs::write(&path, "{}\n").unwrap();
        assert_eq!(recordings.settle(&id()), None);
    }

    #[test]
    fn nothing_is_written_behind_what_is_torn() {
        let home = home();
        let recordings = Recordings::of(home.path());
        let mut writer = recordings.begin(&id(), &head()).unwrap();
        let path = recordings.path(&id());
        // Takes no line, and can't be cut off either.
        let whole = std::mem::replace(&mut writer.file, File::open(&path).unwrap());
        writer.wrote("one").unwrap_err();
        writer.file = whole;
        writer.wrote("two").unwrap_err();
        let (last, ended) = writer.end("not recorded");
        ended.unwrap_err();
        assert!(recordings.read(&id(), Some(&last)).unwrap().moments.is_empty());
    }

    #[test]
    fn one_that_is_full_takes_its_end_and_nothing_else() {
        let home = home();
        let recordings = Recordings::of(home.path());
        let mut writer = recordings.begin(&id(), &head()).unwrap();
        writer.bytes = RECORDING_BYTES_MAX;
        assert_eq!(writer.wrote("x").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        writer.end("it is full").1.unwrap();
    }
}
