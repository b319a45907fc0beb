//! The mounts of an instance, and which it should have.
//!
//! Source: `proc_pid_mountinfo(5)`. What a sandbox mounts is written down once more here, so that a
//! sandbox that begins to mount something else is noticed, too.

use std::{collections::BTreeSet, fs::File, io::Read, path::PathBuf};

use hornero_model::mount_field;
use hornero_store::{Tree, TreePath};

use crate::{
    InstanceUnderTest, Result, VerifyError,
    report::{FindingKind, Findings},
};

/// The kernel allows 100,000 mounts in a namespace (`fs.mount-max`), each a line of some hundred bytes.
const TABLE_BYTES_MAX: u64 = 32 << 20;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub id: u64,
    /// What of the file system is mounted.
    pub root: Vec<u8>,
    /// Where, as the instance sees it.
    pub target: Vec<u8>,
    options: Vec<String>,
    pub kind: String,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (_parent, _device) = (fields.next()?, fields.next()?);
        let (root, target) = (mount_field(fields.next()?), mount_field(fields.next()?));
        let options = String::from_utf8_lossy(fields.next()?);
        let options = options.split(',').map(str::to_owned).collect();
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(Self { id, root, target, options, kind: String::from_utf8_lossy(kind).into_owned() })
    }

    fn lacks(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        wanted.iter().filter(|one| !self.options.iter().any(|own| own == *one)).copied().collect()
    }

    fn shown(&self) -> String {
        let options: Vec<&str> = self
            .options
            .iter()
            .map(String::as_str)
            .filter(|option| matches!(*option, "ro" | "rw" | "nosuid" | "nodev" | "noexec"))
            .collect();
        let root = String::from_utf8_lossy(&self.root);
        let part = if root == "/" { String::new() } else { format!(" at `{root}`") };
        format!("{}{part} ({})", self.kind, options.join(","))
    }
}

/// Every mount that a process sees.
pub(crate) fn of_process(pid: u32) -> Result<Vec<Mount>> {
    let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
    let mut table = Vec::new();
    File::open(&path).and_then(|file| file.take(TABLE_BYTES_MAX).read_to_end(&mut table)).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::NotFound => VerifyError::NotRunning { pid },
            _ if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                VerifyError::NotRunning { pid }
            }
            _ => VerifyError::io("read", &path, error),
        },
    )?;
    Ok(parse(&table))
}

fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect()
}

/// What may be mounted at one place.
struct Expected {
    target: Vec<u8>,
    /// Which file system; none for any.
    kind: Option<&'static str>,
    /// What of the file system; none for anything.
    root: Option<&'static [u8]>,
    options: &'static [&'static str],
    /// Whether it must be there: what hides a part of `/proc` is only where the kernel has that part.
    required: bool,
}

impl Expected {
    fn shown(&self) -> String {
        format!("{} ({})", self.kind.unwrap_or("a volume"), self.options.join(","))
    }
}

const READ_ONLY_ROOT: &[&str] = &["ro", "nosuid", "nodev"];
const READ_ONLY_DEV: &[&str] = &["ro", "nosuid", "noexec"];
const READ_ONLY_QUIET: &[&str] = &["ro", "nosuid", "nodev", "noexec"];
const VOLUME: &[&str] = &["nosuid", "nodev"];
const QUIET: &[&str] = &["nosuid", "nodev", "noexec"];
const HIDDEN_FILES: [&str; 18] = [
    "bootconfig",
    "cmdline",
    "diskstats",
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "mdstat",
    "partitions",
    "swaps",
    "kallsyms",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "interrupts",
    "kpagecount",
    "kpageflags",
    "sysrq-trigger",
];
const HIDDEN_DIRECTORIES: [&str; 3] = ["acpi", "scsi", "asound"];
const READ_ONLY_PROC: [&str; 4] = ["sys", "irq", "bus", "fs"];

/// What an instance of this image should have mounted.
fn expected(tree: &Tree, instance: &InstanceUnderTest) -> Vec<Expected> {
    let InstanceUnderTest { scratch, volumes, files, .. } = instance;
    let whole: Option<&[u8]> = Some(b"/");
    let mut all = vec![
        mount("/", "overlay", whole, READ_ONLY_ROOT, true),
        mount("/dev", "tmpfs", whole, READ_ONLY_DEV, true),
        mount("/proc", "proc", whole, QUIET, true),
    ];
    for name in HIDDEN_FILES {
        all.push(mount(format!("/proc/{name}"), "tmpfs", Some(b"/null"), READ_ONLY_DEV, false));
    }
    for name in HIDDEN_DIRECTORIES {
        all.push(mount(format!("/proc/{name}"), "tmpfs", whole, READ_ONLY_QUIET, false));
    }
    for name in READ_ONLY_PROC {
        all.push(mount(format!("/proc/{name}"), "proc", None, READ_ONLY_QUIET, false));
    }
    for path in scratch.iter().map(String::as_str).chain(["/tmp", "/dev/shm"]) {
        let target = resolved(tree, path.as_bytes());
        if !all.iter().any(|known| known.target == target) {
            all.push(mount(target, "tmpfs", whole, QUIET, true));
        }
    }
    // Which file system a volume is follows from where its home lies.
    for path in volumes {
        let target = resolved(tree, path.as_bytes());
        let kind = None;
        all.push(Expected { target, kind, root: None, options: VOLUME, required: true });
    }
    for path in files {
        let target = resolved(tree, path.as_bytes());
        all.push(mount(target, "tmpfs", None, READ_ONLY_QUIET, true));
    }
    all
}

fn mount(
    target: impl Into<Vec<u8>>,
    kind: &'static str,
    root: Option<&'static [u8]>,
    options: &'static [&'static str],
    required: bool,
) -> Expected {
    Expected { target: target.into(), kind: Some(kind), root, options, required }
}

/// Where the image's links lead a mount at `path`: they are followed as far as the image has the path.
pub(crate) fn resolved(tree: &Tree, path: &[u8]) -> Vec<u8> {
    let mut at = TreePath::root();
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        let Ok(next) = at.join(name) else { break };
        at = tree.resolve(next.as_bytes(), true).map_or(next, |entry| entry.path.clone());
    }
    [b"/", at.as_bytes()].concat()
}

/// Compares the table with what should be there. Gives the mount that is the root: the first at `/`.
pub(crate) fn compare(
    mounts: &[Mount],
    tree: &Tree,
    instance: &InstanceUnderTest,
    findings: &mut Findings,
) -> Option<u64> {
    let expected = expected(tree, instance);
    let mut used: BTreeSet<&[u8]> = BTreeSet::new();
    for own in mounts {
        let wanted = expected.iter().find(|wanted| wanted.target == own.target);
        let fits = wanted.filter(|wanted| {
            wanted.kind.is_none_or(|kind| kind == own.kind)
                && wanted.root.is_none_or(|root| root == own.root)
        });
        match (wanted, fits) {
            (None, _) => findings.push(FindingKind::Mount, &own.target, "", own.shown()),
            // One above another hides what should be there.
            (Some(wanted), _) if !used.insert(&own.target) => {
                let shown = format!("a second one: {}", own.shown());
                findings.push(FindingKind::Mount, &own.target, wanted.shown(), shown);
            }
            (Some(wanted), None) => {
                findings.push(FindingKind::Mount, &own.target, wanted.shown(), own.shown());
            }
            (Some(wanted), Some(_)) if !own.lacks(wanted.options).is_empty() => {
                findings.push(FindingKind::Mount, &own.target, wanted.shown(), own.shown());
            }
            (Some(_), Some(_)) => {}
        }
    }
    for wanted in expected.iter().filter(|wanted| wanted.required) {
        if !used.contains(wanted.target.as_slice()) {
            findings.push(FindingKind::Mount, &wanted.target, wanted.shown(), "");
        }
    }
    mounts.iter().find(|own| own.target == b"/").map(|own| own.id)
}

#[cfg(test)]
mod tests {
    use hornero_store::{Entry, EntryKind, Layer, Metadata};

    use super::*;

    fn tree() -> Tree {
        let entry = |path: &str, kind| Entry {
            path: TreePath::new(path).unwrap(),
            kind,
            metadata: Metadata::root_owned(0o755, 0),
        };
        let directory = || EntryKind::Directory { opaque: false };
        let link = |target: &str| EntryKind::Symlink { target: target.as_bytes().into() };
        Tree::merge([Layer::from_entries(vec![
            entry("run", directory()),
            entry("var", directory()),
            entry("var/run", link("/run")),
            entry("etc", directory()),
            entry("etc/resolv.conf", link("../run/resolver/stub.conf")),
        ])
        .unwrap()])
    }

    const CLEAN: &str = "\
        1 0 0:30 / / ro,nosuid,nodev,relatime - overlay none ro\n\
        2 1 0:31 / /dev ro,nosuid,noexec - tmpfs none rw\n\
        3 1 0:32 / /proc rw,nosuid,nodev,noexec - proc none rw\n\
        4 3 0:31 /null /proc/kcore ro,nosuid,noexec - tmpfs none rw\n\
        5 1 0:33 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw\n\
        6 2 0:34 / /dev/shm rw,nosuid,nodev,noexec - tmpfs tmpfs rw\n\
        7 1 0:35 / /run/a\\040b rw,nosuid,nodev,noexec - tmpfs tmpfs rw\n\
        8 1 0:36 /0 /etc/hosts ro,nosuid,nodev,noexec - tmpfs none rw\n\
        9 1 7:0 /data /var/lib/db rw,nosuid,nodev - ext4 /dev/loop0 rw\n";

    fn check(table: &str, found: &[(&str, &str)]) {
        let mut findings = Findings::default();
        let instance = InstanceUnderTest {
            pid: 1,
            scratch: vec!["/var/run/a b".to_owned()],
            volumes: vec!["/var/lib/db".to_owned()],
            files: vec!["/etc/hosts".to_owned()],
            metadata: None,
        };
        let mounts = parse(table.as_bytes());
        let root = compare(&mounts, &tree(), &instance, &mut findings);
        assert_eq!(root, mounts.iter().find(|own| own.target == b"/").map(|own| own.id));
        let own: Vec<_> = findings
            .kept
            .iter()
            .map(|finding| (finding.path.as_str(), finding.found.as_str()))
            .collect();
        assert_eq!(own, found);
    }

    #[test]
    fn what_a_sandbox_mounts_is_fine_and_all_else_is_named() {
        check(CLEAN, &[]);
        let with = |line: &str| format!("{CLEAN}{line}\n");
        check(
            &with("9 1 8:1 /etc /srv rw,nosuid - ext4 /dev/sda rw"),
            &[("/srv", "ext4 at `/etc` (rw,nosuid)")],
        );
        check(&with("9 1 0:40 / /tmp rw - tmpfs x rw"), &[("/tmp", "a second one: tmpfs (rw)")]);
        check(
            &with("9 1 0:30 /bin / rw - overlay x rw"),
            &[("/", "a second one: overlay at `/bin` (rw)")],
        );
        check(&CLEAN.replace("/ / ro,", "/ / rw,"), &[("/", "overlay (rw,nosuid,nodev)")]);
        check(
            &CLEAN.replace("/tmp rw,nosuid,nodev,noexec", "/tmp rw,nosuid,nodev"),
            &[("/tmp", "tmpfs (rw,nosuid,nodev)")],
        );
        check(
            &CLEAN.replace("/null /proc/kcore", "/zero /proc/kcore"),
            &[("/proc/kcore", "tmpfs at `/zero` (ro,nosuid,noexec)")],
        );
        check(
            &CLEAN.replace("/var/lib/db rw,nosuid,nodev", "/var/lib/db rw,nosuid"),
            &[("/var/lib/db", "ext4 at `/data` (rw,nosuid)")],
        );
        check(
            &CLEAN.replace("/var/lib/db", "/var/lib/other"),
            &[("/var/lib/other", "ext4 at `/data` (rw,nosuid,nodev)"), ("/var/lib/db", "")],
        );
        check(
            &CLEAN.replace("/etc/hosts", "/etc/host"),
            &[("/etc/host", "tmpfs at `/0` (ro,nosuid,nodev,noexec)"), ("/etc/hosts", "")],
        );
    }

    #[test]
    fn the_images_links_are_followed_as_far_as_they_lead() {
        let check = |path: &str, target: &str| {
            assert_eq!(String::from_utf8(resolved(&tree(), path.as_bytes())).unwrap(), target);
        };
        check("/var/run/nginx", "/run/nginx");
        check("/var/run", "/run");
        check("/srv/x", "/srv/x");
        check("/etc/hosts/", "/etc/hosts");
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read_without_panic(table: Vec<u8>) {
            parse(&table);
        }
    }
}
