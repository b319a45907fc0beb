//! What a sandbox is made from: root, command, identity, limits and profile.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use hornero_model::{Resources, Scratch, User};
use serde::{Deserialize, Serialize};

/// The kernel's own limit is 65536; more than this in one image is a mistake.
pub const MAX_GROUPS: usize = 64;

/// Everything one sandbox needs; plain data, so that it can be sent to the process that starts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The file system tree the command sees as `/`.
    pub root: Root,
    /// The command and its arguments; the first is absolute or looked up in `PATH` of `env` inside the root.
    pub command: Vec<String>,
    /// The whole environment of the command; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory inside the root; empty means `/`.
    pub workdir: String,
    /// Who the command runs as, in ids of the image.
    pub user: User,
    /// The range of host ids that the image's ids become; none means no user namespace (see [`crate::support`]).
    pub id_map: Option<IdMap>,
    /// Writable directories, each a tmpfs of its own, besides `/tmp` and `/dev/shm`.
    pub scratch: Vec<Scratch>,
    /// Largest size of `/tmp` and of `/dev/shm`, each, in bytes.
    pub tmp_bytes: u64,
    /// Read-only files laid over the root, such as `/etc/resolv.conf`.
    pub files: Vec<ProvidedFile>,
    /// Host name inside.
    pub hostname: String,
    /// Limits; none means that the command stays in the caller's control group.
    pub cgroup: Option<CgroupSpec>,
    /// Which privileges are left.
    pub profile: Profile,
}

/// Where the root of a sandbox comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A read-only EROFS metadata image with a directory of objects as data-only overlay layer.
    Composed(ComposedRoot),
    /// A directory as it is.
    Directory {
        /// The directory on the host.
        path: PathBuf,
        /// Whether the command may write to it.
        writable: bool,
    },
    /// A writable overlay: what is written lands in `dir/upper`.
    Build {
        /// What lies below; none for an empty root.
        lower: Option<ComposedRoot>,
        /// A directory of the host holding the directories `upper` and `work`, both on one file system.
        dir: PathBuf,
    },
    /// Nothing but what is named: an empty root that can't be written to, with parts of the host in it.
    Views(Vec<View>),
}

/// A part of the host that a sandbox sees, read-only and without set-id. None may lie below another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// A directory without what is mounted below it, a file, or a socket that can be connected to.
    Host {
        /// Where it is on the host; its last component is no symbolic link.
        path: PathBuf,
        /// Absolute path inside.
        at: String,
        /// Whether ids are the sandbox's, as those of an image are. Else its owners are nobody inside, and the command
        /// sees what everyone may read.
        mapped: bool,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
        /// Absolute path inside.
        at: String,
    },
}

/// Where a host has the programs and libraries of its distribution; those of `/` are links where `/usr` is merged.
const PROGRAMS: [&str; 14] = [
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
    "/usr/share",
];

impl View {
    /// A part of the host at a path inside, as everyone sees it.
    pub fn new(path: impl Into<PathBuf>, at: impl Into<String>) -> Self {
        Self::Host { path: path.into(), at: at.into(), mapped: false }
    }

    /// Those of some paths that this host has, where it has them; links as links.
    pub fn in_place(paths: &[&str]) -> Vec<Self> {
        let view = |path: &&str| match std::fs::read_link(path) {
            Ok(target) => {
                let target = target.to_string_lossy().into_owned();
                Some(Self::Link { target, at: (*path).to_owned() })
            }
            Err(_) => Path::new(path).exists().then(|| Self::new(*path, *path)),
        };
        paths.iter().filter_map(view).collect()
    }

    /// Programs and libraries of the host, without `/usr/local`, which people keep their own things in.
    pub fn programs() -> Vec<Self> {
        Self::in_place(&PROGRAMS)
    }

    /// Its absolute path inside.
    pub fn at(&self) -> &str {
        let (Self::Host { at, .. } | Self::Link { at, .. }) = self;
        at
    }
}

/// A metadata image and the objects it refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposedRoot {
    /// The EROFS image file.
    pub metadata: PathBuf,
    /// The directory of objects that the image's redirects are relative to.
    pub objects: PathBuf,
}

/// A contiguous range of host user and group ids: id `n` inside is `first + n` outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// The host id of the sandbox's root; never 0.
    pub first: u32,
    /// How many ids the sandbox has, counted from 0; 65536 covers Debian's.
    pub count: u32,
}

/// A file laid over the root, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvidedFile {
    /// Absolute path inside.
    pub path: String,
    /// Contents.
    pub contents: Vec<u8>,
    /// Permission bits.
    #[serde(default = "ProvidedFile::everyone")]
    pub mode: u32,
    /// Owner, in ids of the image.
    #[serde(default)]
    pub uid: u32,
    /// Group, in ids of the image.
    #[serde(default)]
    pub gid: u32,
}

impl ProvidedFile {
    /// A file of the sandbox's root that everyone inside may read.
    pub fn new(path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        let (path, contents) = (path.into(), contents.into());
        Self { path, contents, mode: Self::everyone(), uid: 0, gid: 0 }
    }

    const fn everyone() -> u32 {
        0o644
    }
}

/// Writes what a file holds; an error says why it can't.
pub type Fill = Box<dyn FnOnce(&mut dyn Write) -> Result<(), String> + Send>;

/// A file whose content stands in no specification: written where it is to be, in memory, and nowhere else. It is no
/// plain data, so that it can't be sent, printed or compared.
pub struct SecretMount {
    /// Absolute path inside.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner, in ids of the image.
    pub uid: u32,
    /// Group, in ids of the image.
    pub gid: u32,
    /// Called once, before the sandbox's first process is cloned from the caller.
    pub fill: Fill,
}

/// The control group of a sandbox: `PARENT/NAME` below every controller's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSpec {
    /// The group shared by the sandboxes of one home, such as `hornero-1f2e3d4c`; one path component.
    pub parent: String,
    /// This sandbox's own group; one path component.
    pub name: String,
    /// Limits.
    pub resources: Resources,
}

/// Which capabilities and system calls a command keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A server: no capability for an ordinary user, a minimal set for root; scratch can't hold programs.
    Service,
    /// A build step: what maintainer scripts of packages need, as root; scratch can hold programs.
    Build,
}

impl Profile {
    /// Whether it can make terminals: tools that build software talk to programs through them.
    pub(crate) fn has_terminals(self) -> bool {
        match self {
            Self::Service => false,
            Self::Build => true,
        }
    }
}
