//! What an instance that runs has in its writable directories: names, sizes and times, and no content but the first bytes, by
//! which databases are known.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::Path,
    time::Instant,
};

use hornero_model::{Timestamp, WrittenFile, WrittenFormat};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use super::scratch::{DEPTH_MAX, ENTRIES_MAX, HeldScratch};

/// Processes whose open files are looked at.
const PROCESSES_MAX: usize = 256;
/// Open files of each.
const OPEN_MAX: usize = 4096;
/// What a file without blocks is taken to hold at most: one that its file system keeps inside its inode, or did not write yet.
const UNWRITTEN_BYTES: u64 = 1 << 20;
/// Bytes by which formats are told.
const HEAD_BYTES: usize = 16;
/// The first bytes of each format.
const FORMATS: &[(&[u8], WrittenFormat)] =
    &[(b"SQLite format 3\0", WrittenFormat::Sqlite), (b"REDIS0", WrittenFormat::Redis)];

/// The files of an instance, by path, and why some are missing. What is not reached until then is left out.
pub(crate) fn observe(
    held: &HeldScratch,
    pids: &[u32],
    until: Instant,
) -> (Vec<WrittenFile>, Option<String>) {
    let mut walk = WrittenWalk {
        until,
        secrets: &held.secrets,
        open: open_for_writing(pids, until),
        files: Vec::new(),
        entries: 0,
        too_deep: false,
    };
    let mut missed = Vec::new();
    for (path, directory) in &held.directories {
        let Ok(found) = fstat(directory) else { continue };
        // Each has a budget of its own: a cache hides nothing in the next one.
        (walk.entries, walk.too_deep) = (0, false);
        if let Err(why) = walk.directory(directory.as_fd(), path, found.st_dev, 0) {
            missed.push(format!("below `{path}`: {why}"));
        } else if walk.too_deep {
            missed
                .push(format!("below `{path}`: some lies more than {DEPTH_MAX} directories deep"));
        }
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.files.dedup_by(|a, b| a.path == b.path);
    (walk.files, (!missed.is_empty()).then(|| missed.join("; ")))
}

/// Device and number of each file that is open for writing, as far as half of the time goes.
fn open_for_writing(pids: &[u32], until: Instant) -> BTreeSet<(u64, u64)> {
    let now = Instant::now();
    let until = now + until.saturating_duration_since(now) / 2;
    let mut open = BTreeSet::new();
    for pid in pids.iter().take(PROCESSES_MAX) {
        let place = Path::new("/proc").join(pid.to_string());
        // One that has ended meanwhile has nothing open.
        let numbers = fs::read_dir(place.join("fd")).into_iter().flatten().flatten();
        for number in numbers.take(OPEN_MAX).map(|entry| entry.file_name()) {
            if Instant::now() > until {
                return open;
            }
            let info = fs::read_to_string(place.join("fdinfo").join(&number));
            if info.is_ok_and(|info| is_writable(&info))
                && let Ok(found) = fs::metadata(place.join("fd").join(&number))
            {
                open.insert((found.dev(), found.ino()));
            }
        }
    }
    open
}

/// Whether an open file is open for writing, by its `fdinfo` (proc(5)): the last octal digit of `flags` is 0 for reading only.
fn is_writable(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 3 != 0)
}

struct WrittenWalk<'a> {
    until: Instant,
    secrets: &'a [String],
    open: BTreeSet<(u64, u64)>,
    files: Vec<WrittenFile>,
    entries: usize,
    too_deep: bool,
}

impl WrittenWalk<'_> {
    /// Takes in a directory with all below it; the error is why the rest of it was left out.
    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        path: &str,
        device: u64,
        depth: usize,
    ) -> Result<(), String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for name in self.names(at)? {
            if Instant::now() > self.until {
                return Err("the time for it was over".to_owned());
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(format!("only the first {ENTRIES_MAX} entries are looked at"));
            }
            let path = format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
            let Ok(found) = statat(at, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            // A mount of its own is a volume, a secret, or a file that Hornero provides.
            if found.st_dev != device || self.secrets.contains(&path) {
                continue;
            }
            match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile => self.file(at, &name, path, &found),
                FileType::Directory if depth == DEPTH_MAX => self.too_deep = true,
                FileType::Directory => {
                    let below = openat(at, &name, flags | OFlags::NOFOLLOW, Mode::empty());
                    let Ok(below) = below else { continue };
                    self.directory(below.as_fd(), &path, device, depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn names(&self, at: BorrowedFd<'_>) -> Result<Vec<CString>, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(at, ".", flags, Mode::empty()).map_err(|error| error.to_string())?;
        let entries = Dir::new(opened).map_err(|error| error.to_string())?;
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
        let own = names.filter(|name| name.as_bytes() != b"." && name.as_bytes() != b"..");
        // One more than are looked at, so that it is said.
        Ok(own.take(ENTRIES_MAX + 1).collect())
    }

    fn file(&mut self, at: BorrowedFd<'_>, name: &CStr, path: String, found: &Stat) {
        let seconds = u64::try_from(found.st_mtime).unwrap_or(0);
        let nanoseconds = found.st_mtime_nsec;
        // A hole takes no room, and a server may claim what it likes. A file that was just written has its blocks only later.
        let taken = match u64::try_from(found.st_blocks).unwrap_or(0) {
            0 => u64::try_from(found.st_size).unwrap_or(0).min(UNWRITTEN_BYTES),
            blocks => blocks.saturating_mul(512),
        };
        self.files.push(WrittenFile {
            path,
            bytes: u64::try_from(found.st_size).unwrap_or(0).min(taken),
            modified: Timestamp(
                seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000),
            ),
            open: self.open.contains(&(found.st_dev, found.st_ino)),
            format: format(at, name, found),
        });
    }
}

/// What a file is by its first bytes.
fn format(at: BorrowedFd<'_>, name: &CStr, found: &Stat) -> Option<WrittenFormat> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(at, name, flags, Mode::empty()).ok()?;
    // Another file may have its name by now: a pipe, for one, is not read.
    let now = fstat(&opened).ok()?;
    if (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino) {
        return None;
    }
    let mut head = [0; HEAD_BYTES];
    let read = File::from(opened).read_at(&mut head, 0).ok()?;
    FORMATS.iter().find(|(first, _)| head[..read].starts_with(first)).map(|(_, format)| *format)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink, time::Duration};

    use super::*;

    fn seen(directory: &Path, secrets: &[&str]) -> (Vec<WrittenFile>, Option<String>) {
        let held = HeldScratch::of(&[("/srv", directory)], secrets);
        observe(&held, &[std::process::id()], Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn files_are_told_with_size_format_and_whether_they_are_open_for_writing() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/orders.db"), b"SQLite format 3\0and so on").unwrap();
        fs::write(at("password"), "geheim").unwrap();
        fs::write(at("read"), "seven").unwrap();
        symlink("/etc/shadow", at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let mut writer = File::create(at("written")).unwrap();
        writer.write_all(b"twelve bytes").unwrap();
        let _reader = File::open(at("read")).unwrap();
        let (files, missed) = seen(directory.path(), &["/srv/password"]);
        let told: Vec<_> = files
            .iter()
            .map(|file| (file.path.as_str(), file.bytes, file.open, file.format))
            .collect();
        let expected = [
            ("/srv/deep/orders.db", 25, false, Some(WrittenFormat::Sqlite)),
            ("/srv/read", 5, false, None),
            ("/srv/written", 12, true, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(missed, None);
        let age = Timestamp::now().since(files[2].modified);
        assert!(age.0 < 60_000, "{age}");
    }

    #[test]
    fn what_lies_too_deep_or_claims_too_much_hides_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let deep: std::path::PathBuf = (0..40).map(|_| "d").collect();
        fs::create_dir_all(directory.path().join(deep)).unwrap();
        fs::write(directory.path().join("a"), "a").unwrap();
        let hole = File::create(directory.path().join("hole")).unwrap();
        hole.set_len(1 << 40).unwrap();
        let late = rustix::fs::Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: late, last_modification: late };
        // What a file system has no room for it cuts or refuses.
        let _ = rustix::fs::futimens(&hole, &times);
        fs::write(directory.path().join("z"), "z").unwrap();
        let (files, missed) = seen(directory.path(), &[]);
        let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["/srv/a", "/srv/hole", "/srv/z"]);
        assert!(files[1].bytes <= UNWRITTEN_BYTES, "{}", files[1].bytes);
        assert!(missed.unwrap().contains("directories deep"));
    }

    #[test]
    fn what_time_is_left_for_is_told_and_that_the_rest_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "a").unwrap();
        let held = HeldScratch::of(&[("/srv", directory.path())], &[]);
        let over = Instant::now() - Duration::from_millis(1);
        let (files, missed) = observe(&held, &[], over);
        assert!(files.is_empty());
        assert_eq!(missed.unwrap(), "below `/srv`: the time for it was over");
    }
}
