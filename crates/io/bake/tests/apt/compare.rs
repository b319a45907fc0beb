//! Compares a baked tree with a directory: names, kinds, modes, owners, extended attributes and contents.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::Path,
};

use hornero_model::Digest;
use hornero_store::{Entry, EntryKind, Store, Tree};

use super::shares::Share;

/// What lives only while a system runs, what apt keeps for itself, and backups: neither side's word counts.
const LEFT_OUT: &[&str] = &[
    "dev/",
    "proc/",
    "run/",
    "sys/",
    "tmp/",
    "var/tmp/",
    "etc/.pwd.lock",
    "etc/*-",
    // mmdebstrap's and apt's own.
    "etc/apt/",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/fstab",
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "root/.rnd",
    "var/cache/apt",
    "var/cache/apt/",
    "var/lib/apt",
    "var/lib/apt/",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/arch",
    "var/lib/dpkg/available",
    "var/lib/dpkg/cmethopt",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/parts/",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/dpkg/updates/",
    // dpkg's, apt's and installers' logs are no server's.
    "var/log/alternatives.log",
    "var/log/apt",
    "var/log/apt/",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/fontconfig.log",
    // The clock is in their names or in each of their bytes.
    "var/cache/fontconfig/",
    "var/cache/man/",
];

/// Files whose contents have the clock or random numbers in them, and the order in which things happened.
const OTHER_CONTENTS: &[&str] = &[
    // Logs are emptied.
    "var/log/",
    // Databases of debconf, in the order in which questions were asked.
    "var/cache/debconf/config.dat",
    "var/cache/debconf/templates.dat",
    "var/cache/debconf/passwords.dat",
    // Compared on their own.
    "etc/shadow",
    "etc/gshadow",
    "etc/passwd",
    "etc/group",
    "etc/subuid",
    "etc/subgid",
    "var/lib/dpkg/status",
    "var/lib/dpkg/triggers/File",
    "var/lib/ucf/",
    // Hints beside the default directories.
    "etc/ld.so.cache",
    // Keys.
    "etc/ssh/ssh_host_*",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    // The list of manuals, in the order in which their directory lists them.
    "usr/share/info/dir",
    "usr/share/info/dir.old",
    // Compiled Python has the time of its source file.
    "*.pyc",
];

/// Whether a pattern means a path: one that ends in `/` all below it, `*` any text.
fn means(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            path.len() >= start.len() + end.len() && path.starts_with(start) && path.ends_with(end)
        }
        None if pattern.ends_with('/') => path.starts_with(pattern),
        None => path == pattern,
    }
}

fn any(patterns: &[&str], path: &str) -> bool {
    patterns.iter().any(|pattern| means(pattern, path))
}

/// The kind of a socket, which no image has.
const SOCKET: &str = "socket";

/// What is at a path, in words that can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    xattrs: BTreeMap<String, Vec<u8>>,
}

pub fn differences(store: &Store, tree: &Tree, root: &Path, share: &Share) -> Vec<String> {
    let read = |path: &str| {
        let ours = store.read_tree_file(tree, path).unwrap_or_default();
        let theirs = fs::read(root.join(path)).unwrap_or_default();
        [ours, theirs].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut faults = Vec::new();
    for (path, normal) in NORMAL {
        let [ours, theirs] = read(path).map(|text| normal(&text));
        for line in ours.difference(&theirs) {
            faults.push(format!("/{path} has, and by apt has not: {line}"));
        }
        for line in theirs.difference(&ours) {
            faults.push(format!("/{path} lacks: {line}"));
        }
    }
    // Accounts get their numbers in the order in which packages are configured.
    let names = ["etc/passwd", "etc/group"].map(|path| read(path).map(|text| numbers(&text)));
    let account = |side: usize, (user, group): (u32, u32)| {
        let name = |of: usize, id: u32| {
            names[of][side].get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        (name(0, user), name(1, group))
    };
    let mut theirs = BTreeMap::new();
    walk(root, "", &mut theirs);
    let mut ours = BTreeMap::new();
    for entry in tree.entries() {
        let path = entry.path.to_string().trim_start_matches('/').to_owned();
        if !path.is_empty() {
            ours.insert(path, look(entry));
        }
    }
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        if any(LEFT_OUT, path) || any(share.left_out, path) {
            continue;
        }
        let same_contents = !any(OTHER_CONTENTS, path) && !any(share.other_contents, path);
        match (ours.get(path), theirs.get(path)) {
            (Some(one), Some(two)) => {
                let kind = |look: &Look| match same_contents {
                    true => look.kind.clone(),
                    false => look.kind.split(' ').next().unwrap_or_default().to_owned(),
                };
                let words = |side: usize, look: &Look| {
                    format!(
                        "{} {:o} {:?} {:?}",
                        kind(look),
                        look.mode,
                        account(side, look.owner),
                        look.xattrs
                    )
                };
                let (one, two) = (words(0, one), words(1, two));
                if one != two {
                    let lines = first_lines(&read(path)).unwrap_or_default();
                    faults.push(format!("/{path}: {one}, by apt {two}{lines}"));
                }
            }
            (Some(one), None) => {
                faults.push(format!("/{path}: is there, by apt not: {}", one.kind))
            }
            // What listened on it has ended.
            (None, Some(look)) if look.kind == SOCKET => {}
            (None, _) => faults.push(format!("/{path}: is not there")),
        }
    }
    faults
}

/// The first lines of two texts that are not the same; none where they are equal, or no texts.
fn first_lines([ours, theirs]: &[String; 2]) -> Option<String> {
    let is_text = |text: &str| text.len() < 1 << 20 && !text.contains(['\0', '\u{fffd}']);
    if !is_text(ours) || !is_text(theirs) {
        return None;
    }
    let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
    loop {
        let (one, two) = (ours.next(), theirs.next());
        if one.or(two).is_none() {
            return None;
        } else if one != two {
            let line = |line: Option<&str>| line.unwrap_or("(its end)").to_owned();
            return Some(format!(": `{}`, by apt `{}`", line(one), line(two)));
        }
    }
}

type Normal = fn(&str) -> BTreeSet<String>;

/// Files of lines whose order and numbers do not count.
const NORMAL: &[(&str, Normal)] = &[
    ("var/lib/dpkg/status", stanzas),
    ("var/lib/dpkg/triggers/File", lines),
    ("etc/passwd", |text| fields(text, &[2, 3])),
    ("etc/group", |text| fields(text, &[2])),
    ("etc/gshadow", lines),
    // The day of the last change.
    ("etc/shadow", |text| fields(text, &[2])),
    ("etc/subuid", |text| fields(text, &[1])),
    ("etc/subgid", |text| fields(text, &[1])),
    ("var/lib/ucf/hashfile", lines),
    ("var/lib/ucf/registry", lines),
];

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn fields(text: &str, without: &[usize]) -> BTreeSet<String> {
    let line = |line: &str| {
        let fields = line.split(':').enumerate();
        let kept: Vec<&str> =
            fields.map(|(at, field)| if without.contains(&at) { "" } else { field }).collect();
        kept.join(":")
    };
    text.lines().map(line).collect()
}

/// The stanzas of a status with their fields in one order; apt sets priorities and sections of the archive.
fn stanzas(text: &str) -> BTreeSet<String> {
    let stanza = |stanza: &str| {
        let mut fields: Vec<String> = Vec::new();
        for line in stanza.lines() {
            match fields.last_mut() {
                Some(last) if line.starts_with(' ') => {
                    last.push('\n');
                    last.push_str(line);
                }
                _ => fields.push(line.trim_end().to_owned()),
            }
        }
        fields.sort();
        fields.join("\n")
    };
    text.split("\n\n")
        .filter(|text| !text.trim().is_empty())
        .map(|text| stanza(text.trim_end()))
        .collect()
}

fn numbers(text: &str) -> BTreeMap<u32, String> {
    let one = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    text.lines().filter_map(one).collect()
}

fn look(entry: &Entry) -> Look {
    let kind = match &entry.kind {
        EntryKind::File { digest, .. } => format!("file {digest}"),
        EntryKind::Symlink { target } => format!("symlink {}", String::from_utf8_lossy(target)),
        other => other.word().to_owned(),
    };
    let metadata = &entry.metadata;
    let xattrs = metadata
        .xattrs
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
        .collect();
    let mode = if kind.starts_with("symlink") { 0o777 } else { metadata.mode };
    Look { kind, mode, owner: (metadata.uid, metadata.gid), xattrs }
}

fn walk(root: &Path, path: &str, found: &mut BTreeMap<String, Look>) {
    for entry in fs::read_dir(root.join(path)).unwrap() {
        let name = entry.unwrap().file_name();
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let file = root.join(&path);
        let metadata = fs::symlink_metadata(&file).unwrap();
        let kind = metadata.file_type();
        let word = if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("symlink {}", fs::read_link(&file).unwrap().display())
        } else if kind.is_file() {
            format!("file {}", digest(&file))
        } else if kind.is_fifo() {
            "named pipe".to_owned()
        } else if kind.is_socket() {
            SOCKET.to_owned()
        } else {
            "device".to_owned()
        };
        let mode = if kind.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
        let owner = (metadata.uid(), metadata.gid());
        let xattrs = xattrs(&file);
        found.insert(path.clone(), Look { kind: word, mode, owner, xattrs });
        if kind.is_dir() && !any(LEFT_OUT, &format!("{path}/")) {
            walk(root, &path, found);
        }
    }
}

fn digest(path: &Path) -> Digest {
    let mut bytes = Vec::new();
    fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    Digest::of(&bytes)
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let count = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or_default();
    let names = names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let count = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or_default();
        value.truncate(count);
        (String::from_utf8_lossy(name).into_owned(), value)
    };
    names.map(value).collect()
}
