//! What configuring leaves behind that has no place in an image: logs, caches, backups, seeds, and the clock's traces.

use hornero_store::{Entry, EntryKind, TreePath};

/// What becomes of an entry that a step wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryFate {
    /// It stays.
    Keep,
    /// It is left out, so that what lies below shows.
    Drop,
    /// It stays as an empty file.
    Empty,
}

/// Directories whose contents live only while a system runs, or can be made anew.
const TRANSIENT: [&str; 9] = [
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/lib/dpkg/updates",
    "var/tmp",
];

/// Files that differ from run to run, or are backups of what stands beside them.
const DROPPED: [&str; 16] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "root/.rnd",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/random-seed",
];

/// Judges an entry of a captured layer.
pub(crate) fn judge(entry: &Entry) -> EntryFate {
    let path = entry.path.as_bytes();
    let below =
        |dir: &str| path.strip_prefix(dir.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    let named = |name: &str| path == name.as_bytes();
    if TRANSIENT.iter().any(|dir| below(dir)) || DROPPED.iter().any(|name| named(name)) {
        return EntryFate::Drop;
    }
    if !matches!(entry.kind, EntryKind::File { .. }) {
        return EntryFate::Keep;
    }
    if named("etc/machine-id") {
        return EntryFate::Empty;
    }
    if below("var/log") {
        // Some servers need their log file to be there, with its owner.
        return EntryFate::Empty;
    }
    let backups = below("var/lib/dpkg") || below("var/cache/debconf");
    if backups && path.ends_with(b"-old") {
        return EntryFate::Drop;
    }
    EntryFate::Keep
}

/// `/etc/shadow` with every recorded day of a password change set to one day.
pub(crate) fn with_shadow_day(text: &str, day: u64) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        let number = day.to_string();
        if fields.len() == 9 && !fields[2].is_empty() && fields[2] != "0" {
            fields[2] = &number;
        }
        out.push_str(&fields.join(":"));
        out.push('\n');
    }
    out
}

/// Logs that dpkg itself writes are no server's: they go altogether.
pub(crate) fn is_package_log(path: &TreePath) -> bool {
    matches!(
        path.as_bytes(),
        b"var/log/dpkg.log"
            | b"var/log/alternatives.log"
            | b"var/log/bootstrap.log"
            | b"var/log/fontconfig.log"
    ) || path.as_bytes().starts_with(b"var/log/apt/")
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;
    use hornero_store::Metadata;

    use super::*;

    #[test]
    fn judges_what_a_step_wrote() {
        for (path, verdict) in [
            ("etc/nginx/nginx.conf", EntryFate::Keep),
            ("tmp/x", EntryFate::Drop),
            ("tmpfiles/x", EntryFate::Keep),
            ("etc/passwd-", EntryFate::Drop),
            ("etc/machine-id", EntryFate::Empty),
            ("var/log/nginx/error.log", EntryFate::Empty),
            ("var/lib/dpkg/status-old", EntryFate::Drop),
            ("var/lib/dpkg/status", EntryFate::Keep),
        ] {
            let entry = Entry {
                path: TreePath::new(path).unwrap(),
                kind: EntryKind::File { digest: Digest::of(b""), size: 0 },
                metadata: Metadata::default(),
            };
            assert_eq!(judge(&entry), verdict, "{path}");
        }
    }

    #[test]
    fn shadow_keeps_everything_but_the_day() {
        let text = "root:*:20778:0:99999:7:::\nold:!:0:0:99999:7:::\nodd\n";
        assert_eq!(with_shadow_day(text, 7), "root:*:7:0:99999:7:::\nold:!:0:0:99999:7:::\nodd\n");
    }
}
