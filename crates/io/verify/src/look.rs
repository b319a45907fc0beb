//! One instance under comparison: what is known of it, and what was found so far.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use hornero_store::Tree;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};

use crate::{
    Depth, Finding, FindingKind, InstanceUnderTest, Result, VerifyError,
    mapped::Code,
    mounts,
    processes::{self, Process, Spaces, is_gone},
    report::{Checked, Findings, shown},
    tree::{self, Scope},
    walk::SCANNED_MAX,
};

/// Directories that a sandbox makes where an image lacks them, to mount on.
const SKELETON: [&str; 6] = ["/dev", "/proc", "/sys", "/tmp", "/etc", "/dev/shm"];

/// Whether a process was there long enough to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Whole,
    Ended,
}

/// One comparison under way.
pub(crate) struct Look<'a> {
    pub pid: u32,
    pub tree: &'a Tree,
    pub depth: Depth,
    pub root_mount: Option<u64>,
    pub mounts: &'a [mounts::Mount],
    pub spaces: Spaces,
    pub findings: Findings,
    pub checked: Checked,
    /// Mapped files that were looked at, by what the table says of them.
    pub known: BTreeSet<((String, u64), String)>,
}

impl Look<'_> {
    pub fn find(&mut self, kind: FindingKind, path: &[u8], expected: &str, found: &str, pid: u32) {
        self.findings.add(Finding {
            path: shown(path),
            kind,
            expected: expected.to_owned(),
            found: found.to_owned(),
            pid: Some(pid),
        });
    }

    /// A process that can't be looked at is told of, unless that is because it ends: that is no drift.
    pub fn ended_or_told(&mut self, process: &Process, name: &str, error: &io::Error) -> Seen {
        if is_gone(error) || !process.lives() {
            return Seen::Ended;
        }
        let found = format!("`{name}` of the process: {error}");
        self.find(FindingKind::Unreadable, b"/", "", &found, process.pid);
        Seen::Whole
    }

    /// The first process of an instance is the sandbox's, not the image's: a copy of the one that started
    /// it, so its program is that one's.
    pub fn init(&mut self, process: &Process, parent: u32) -> Seen {
        let program = match Code::program(process) {
            Ok(program) => program,
            Err(error) => return self.ended_or_told(process, "exe", &error),
        };
        let parent = Process::open(parent).ok().flatten();
        let of_parent = parent
            .and_then(|parent| Code::program(&parent).ok())
            .is_some_and(|other| other.is_same_as(&program));
        if !of_parent {
            let expected = "the program that started the instance";
            let pid = process.pid;
            self.find(FindingKind::Executable, &program.path, expected, "another one", pid);
        }
        Seen::Whole
    }

    /// A process' root is the instance's, or lies in it.
    pub fn root(&mut self, process: &Process) {
        let flags = AtFlags::STATX_DONT_SYNC;
        let root = process.file("root");
        // One that has ended has none.
        let Ok(stat) = statx(CWD, &root, flags, StatxFlags::INO | StatxFlags::MNT_ID) else {
            return;
        };
        if !self.mounts.iter().any(|mount| mount.id == stat.stx_mnt_id) {
            let expected = "a directory of the instance";
            self.find(FindingKind::Root, b"/", expected, "outside of its mounts", process.pid);
        }
    }

    /// Everything the instance's root shows, but for what is mounted on it: the mounts were compared.
    pub fn whole_root(&mut self, instance: &InstanceUnderTest) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{}/root", self.pid));
        let root = open_directory(&path)?;
        let relative = |path: &[u8]| path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let mut allowed = BTreeSet::new();
        let paths = SKELETON.iter().copied();
        let mounted = instance.scratch.iter().chain(&instance.volumes).chain(&instance.files);
        let paths = paths.chain(mounted.map(String::as_str));
        for path in paths {
            let target = relative(&mounts::resolved(self.tree, path.as_bytes()));
            // With all directories above it.
            for (at, _) in target.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                allowed.insert(target[..at].to_vec());
            }
            allowed.insert(target);
        }
        let ignore = self
            .mounts
            .iter()
            .map(|mount| relative(&mount.target))
            .filter(|path| !path.is_empty())
            .collect();
        let first_id = processes::first_id(self.pid)?;
        let scope = Scope { depth: Depth::Full, ignore, allowed, first_id };
        let (findings, checked) = tree::compare(self.tree, root.as_fd(), &scope)
            .ok_or(VerifyError::TooLarge { path, limit: SCANNED_MAX })?;
        self.findings.append(findings);
        self.checked.add(&checked);
        Ok(())
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| VerifyError::io("open", path, errno))
}
