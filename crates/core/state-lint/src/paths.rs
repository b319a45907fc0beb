//! Paths in a server that lie in one another.

/// Directories whose contents no program expects to find again (Filesystem Hierarchy Standard 3.0, sections 3.15, 3.18, 5.5,
/// 5.10 and 5.13): no volume should lie over them.
const FLEETING: &[&str] =
    &["/run", "/tmp", "/var/run", "/var/tmp", "/var/lock", "/var/log", "/var/cache", "/dev/shm"];

/// Whether a path is, or lies in, a directory for what is fleeting.
pub(crate) fn is_fleeting(path: &str) -> bool {
    FLEETING.iter().any(|directory| is_in(path, directory))
}

/// Whether `path` is `directory` or lies below it.
pub(crate) fn is_in(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether one is the other, or lies below it.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    is_in(one, other) || is_in(other, one)
}

/// The directory that a path lies in.
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// The last part of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
