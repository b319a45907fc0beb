//! What an instance wrote to its writable directories, also just after its end, and never anything of a secret.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use hornero_engine_port::evidence::{Evidence, ScratchFile};
use hornero_model::Digest;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat, openat2,
    readlinkat, statat,
};
use sha2::{Digest as _, Sha256};

use crate::recorded::{RecordedContent, RecordedSpec, RunningProcess};

/// Entries that are listed.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// Directories within directories: deeper ones are no files of a server.
pub(super) const DEPTH_MAX: usize = 32;
/// Files up to this size are kept whole: configuration, states, short reports.
const WHOLE_BYTES: u64 = 64 << 10;
/// What is kept of all of them together.
const KEPT_BYTES: u64 = 4 << 20;
/// Larger files are not hashed: that takes as long as everything else together.
const HASHED_BYTES: u64 = 64 << 20;
/// Read at once; the time is looked at in between.
const CHUNK_BYTES: usize = 256 << 10;
/// The magic number of tmpfs (statfs(2)).
const TMPFS: i64 = 0x0102_1994;

/// The writable directories of an instance, held so that they can be looked at when it has ended.
#[derive(Debug)]
pub(crate) struct HeldScratch {
    pub(super) directories: Vec<(String, OwnedFd)>,
    /// Where secrets are mounted.
    pub(super) secrets: Vec<String>,
    /// Its process.
    pub pid: u32,
}

/// Opens the writable directories of an instance that runs; none where it has just ended.
pub(crate) fn hold(spec: &RecordedSpec, process: &RunningProcess) -> Option<HeldScratch> {
    // Of one-off work nothing is kept.
    if spec.release.0 == 0 {
        return None;
    }
    let pid = process.pid;
    let root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), root, Mode::empty()).ok()?;
    let own = spec.scratch.iter().map(|scratch| scratch.path.as_str()).chain(["/tmp"]);
    let opened = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let directory = openat2(&root, path, flags, Mode::empty(), within).ok()?;
        // What is no memory of its own is a volume or nothing that it writes to.
        let kind = fstatfs(&directory).ok()?.f_type;
        (kind as i64 == TMPFS).then(|| (path.to_owned(), directory))
    };
    let directories = own.filter_map(opened).collect();
    let secret = |file: &crate::recorded::RecordedFile| {
        matches!(file.content, RecordedContent::Secret { .. }).then(|| file.path.clone())
    };
    let secrets = spec.files.iter().filter_map(secret).collect();
    // It still runs: what was opened by its id is its own.
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let is_own = groups.lines().any(|line| line.ends_with(&format!("/{}", spec.id)));
    is_own.then_some(HeldScratch { directories, secrets, pid })
}

impl HeldScratch {
    /// Looks at all of it, until then.
    pub fn observe(&self, until: Instant, evidence: &mut Evidence) {
        let mut walk = Walk { until, secrets: &self.secrets, kept_bytes: 0, evidence };
        for (path, directory) in &self.directories {
            let Ok(found) = fstat(directory) else { continue };
            if let Err(why) = walk.directory(directory.as_fd(), path, found.st_dev, 0) {
                walk.evidence.miss(format!("files below `{path}`"), why);
            }
        }
    }
}

struct Walk<'a> {
    until: Instant,
    secrets: &'a [String],
    kept_bytes: u64,
    evidence: &'a mut Evidence,
}

impl Walk<'_> {
    /// Lists a directory with all below it; the error is why the rest of it was left out.
    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        path: &str,
        device: u64,
        depth: usize,
    ) -> Result<(), String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(at, ".", flags, Mode::empty()).map_err(|error| error.to_string())?;
        let entries = Dir::new(opened).map_err(|error| error.to_string())?;
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
        let mut names: Vec<_> = names.take(ENTRIES_MAX).collect();
        names.sort();
        for name in names {
            if name.as_bytes() == b"." || name.as_bytes() == b".." {
                continue;
            }
            if Instant::now() > self.until {
                return Err("the time for it was over".to_owned());
            }
            if self.evidence.scratch.len() >= ENTRIES_MAX {
                return Err(format!("only the first {ENTRIES_MAX} entries are listed"));
            }
            let path = format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
            let Ok(found) = statat(at, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            // A mount of its own is a secret or a file that Hornero provides.
            if found.st_dev != device || self.secrets.contains(&path) {
                continue;
            }
            let kind = FileType::from_raw_mode(found.st_mode);
            self.entry(at, &name, path.clone(), &found);
            if kind == FileType::Directory {
                if depth == DEPTH_MAX {
                    return Err(format!("one lies more than {DEPTH_MAX} directories deep"));
                }
                let flags = flags | OFlags::NOFOLLOW;
                let Ok(below) = openat(at, &name, flags, Mode::empty()) else { continue };
                self.directory(below.as_fd(), &path, device, depth + 1)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: BorrowedFd<'_>, name: &std::ffi::CStr, path: String, found: &Stat) {
        let kind = FileType::from_raw_mode(found.st_mode);
        let mut entry = ScratchFile {
            path,
            kind: match kind {
                FileType::RegularFile => "file",
                FileType::Directory => "directory",
                FileType::Symlink => "link",
                FileType::Socket => "socket",
                FileType::Fifo => "pipe",
                _ => "other",
            }
            .to_owned(),
            bytes: u64::try_from(found.st_size).unwrap_or(0),
            mode: found.st_mode & 0o7777,
            digest: None,
            target: None,
            left_out: None,
        };
        match kind {
            FileType::RegularFile => self.file(at, name, found, &mut entry),
            FileType::Symlink => {
                let target = readlinkat(at, name, Vec::new()).ok();
                entry.target = target.map(|target| target.to_string_lossy().into_owned());
            }
            _ => {}
        }
        self.evidence.scratch.push(entry);
    }

    fn file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        found: &Stat,
        entry: &mut ScratchFile,
    ) {
        if entry.bytes > HASHED_BYTES {
            entry.left_out = Some("it is too large to be read".to_owned());
            return;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(at, name, flags, Mode::empty()).map(File::from);
        let same = |file: &File| {
            fstat(file).is_ok_and(|now| (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino))
        };
        let Some(mut file) = opened.ok().filter(same) else {
            entry.left_out = Some("it could not be opened".to_owned());
            return;
        };
        let keep = entry.bytes <= WHOLE_BYTES && self.kept_bytes + entry.bytes <= KEPT_BYTES;
        let read = read(&mut file, keep, self.until);
        match read {
            Ok((digest, content)) => {
                entry.digest = Some(digest);
                if let Some(content) = content {
                    self.kept_bytes += content.len() as u64;
                    self.evidence.contents.insert(entry.path.clone(), content);
                } else {
                    entry.left_out = Some("it is no small file".to_owned());
                }
            }
            Err(why) => entry.left_out = Some(why),
        }
    }
}

/// The digest of a file, and what it holds where that is to be kept and is small as was said.
fn read(file: &mut File, keep: bool, until: Instant) -> Result<(Digest, Option<Vec<u8>>), String> {
    let (mut hash, mut content, mut total) = (Sha256::new(), Vec::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(|error| error.to_string())?;
        if read == 0 {
            break;
        }
        total += read as u64;
        if Instant::now() > until || total > HASHED_BYTES {
            return Err("the time for it was over".to_owned());
        }
        hash.update(&chunk[..read]);
        if keep && total <= WHOLE_BYTES {
            content.extend_from_slice(&chunk[..read]);
        }
    }
    let whole = keep && content.len() as u64 == total;
    let digest = Digest::from_bytes(hash.finalize().into());
    Ok((digest, whole.then_some(content)))
}

#[cfg(test)]
impl HeldScratch {
    pub(super) fn of(directories: &[(&str, &std::path::Path)], secrets: &[&str]) -> Self {
        let open = |path: &std::path::Path| OwnedFd::from(File::open(path).unwrap());
        Self {
            directories: directories
                .iter()
                .map(|(at, path)| ((*at).to_owned(), open(path)))
                .collect(),
            secrets: secrets.iter().map(|path| (*path).to_owned()).collect(),
            pid: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    fn seen(held: &HeldScratch, until: Instant) -> Evidence {
        let mut evidence = Evidence::default();
        held.observe(until, &mut evidence);
        evidence
    }

    #[test]
    fn files_are_listed_hashed_and_kept_where_they_are_small() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/state"), "seven\n").unwrap();
        fs::write(at("large"), vec![b'x'; 100_000]).unwrap();
        fs::write(at("password"), "geheim").unwrap();
        symlink("/etc/shadow", at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let held = HeldScratch::of(&[("/run", directory.path())], &["/run/password"]);
        let evidence = seen(&held, Instant::now() + Duration::from_secs(60));
        let told: Vec<(&str, &str, bool)> = evidence
            .scratch
            .iter()
            .map(|of| (of.path.as_str(), of.kind.as_str(), of.digest.is_some()))
            .collect();
        let expected = [
            ("/run/deep", "directory", false),
            ("/run/deep/state", "file", true),
            ("/run/large", "file", true),
            ("/run/link", "link", false),
            ("/run/pipe", "pipe", false),
        ];
        assert_eq!(told, expected);
        let kept: Vec<&str> = evidence.contents.keys().map(String::as_str).collect();
        assert_eq!(kept, ["/run/deep/state"], "neither the large one nor the secret");
        assert_eq!(evidence.scratch[3].target.as_deref(), Some("/etc/shadow"));
        assert!(evidence.missed.is_empty(), "{:?}", evidence.missed);
    }

    #[test]
    fn what_time_is_left_for_is_listed_and_the_rest_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "a").unwrap();
        let held = HeldScratch::of(&[("/run", directory.path())], &[]);
        let evidence = seen(&held, Instant::now() - Duration::from_millis(1));
        assert!(evidence.scratch.is_empty());
        assert_eq!(evidence.missed[0].what, "files below `/run`");
    }
}
