//! What of a directory belongs to its application.

use crate::{Entry, Found, draft::Copy};

/// Names that compose looks for, the preferred first (compose specification, "Compose file").
pub(crate) const COMPOSE_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// What is never part of an application: caches, other tools' files, and what may hold secrets.
const LEFT_OUT: [&str; 14] = [
    ".git",
    ".env",
    "node_modules",
    "__pycache__",
    "venv",
    ".venv",
    "target",
    "hornero.hcl",
    "hornero.lock",
    "Dockerfile",
    "Containerfile",
    ".dockerignore",
    ".gitignore",
    ".github",
];

/// Top-level entries that belong to an application.
pub(crate) fn sources(found: &Found) -> Vec<String> {
    let belongs = |path: &str| {
        let compose = COMPOSE_FILES.contains(&path);
        !compose && !path.contains('/') && !LEFT_OUT.contains(&path) && !path.starts_with(".env")
    };
    let entries = found.entries.iter().filter(|(path, _)| belongs(path));
    entries
        .map(|(path, entry)| match entry {
            Entry::Directory => format!("{path}/"),
            Entry::File | Entry::Program => path.clone(),
        })
        .collect()
}

/// Copies of top-level entries to a directory of the image.
pub(crate) fn copies(found: &Found, to: &str) -> Vec<Copy> {
    let to = to.trim_end_matches('/');
    let copy = |source: String| Copy {
        to: format!("{to}/{}", if source.ends_with('/') { source.as_str() } else { "" }),
        source,
        owner: None,
        mode: None,
    };
    sources(found).into_iter().map(copy).collect()
}
