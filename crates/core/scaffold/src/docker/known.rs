//! What is known of the images that people build on.

use crate::draft::{Base, name};

/// What is known of the images that people build on.
pub(super) struct Known {
    pub(super) base: Base,
    pub(super) packages: Vec<String>,
    /// What is looked up by programs there, over Debian's own.
    pub(super) path: Option<&'static str>,
    pub(super) command: Vec<String>,
    pub(super) user: Option<&'static str>,
    pub(super) note: Option<String>,
    /// A step that makes the image's own layout.
    pub(super) first: Option<&'static str>,
    pub(super) nginx: bool,
}

const VENV_PATH: &str =
    "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image of a registry is here.
pub(super) fn known(reference: &str, host_suite: &str) -> Known {
    let without_digest = reference.split('@').next().unwrap_or(reference);
    let (repository, tag) = match without_digest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (without_digest, "latest"),
    };
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let official = repository == name || repository.ends_with(&format!("library/{name}"));
    let suite = suite(tag).unwrap_or(host_suite).to_owned();
    let debian = |packages: &[&str]| Known {
        base: Base::Debian(suite.clone()),
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        path: None,
        command: Vec::new(),
        user: None,
        note: None,
        first: None,
        nginx: false,
    };
    let version =
        format!("`{reference}` becomes Debian's own `{name}`: its version may be another");
    match name {
        _ if !official || tag.contains("alpine") => stored(reference, name),
        "debian" | "buildpack-deps" => debian(&["ca-certificates"]),
        "python" => Known {
            path: Some(VENV_PATH),
            first: Some("python3 -m venv /opt/venv"),
            command: vec!["python3".to_owned()],
            note: Some(version),
            ..debian(&["ca-certificates", "python3", "python3-venv"])
        },
        "node" => Known { note: Some(version), ..debian(&["ca-certificates", "nodejs", "npm"]) },
        "nginx" => Known { nginx: true, note: Some(version), ..debian(&["nginx-light"]) },
        "golang" => Known { note: Some(version), ..debian(&["ca-certificates", "golang-go"]) },
        "rust" => Known { note: Some(version), ..debian(&["ca-certificates", "cargo", "rustc"]) },
        "redis" => Known {
            command: ["redis-server", "--protected-mode", "no"].map(str::to_owned).to_vec(),
            user: Some("redis"),
            note: Some(version),
            ..debian(&["redis-server"])
        },
        "memcached" => Known {
            command: ["memcached"].map(str::to_owned).to_vec(),
            user: Some("nobody"),
            note: Some(version),
            ..debian(&["memcached"])
        },
        "scratch" => Known {
            note: Some("`scratch` becomes a small Debian base".to_owned()),
            ..debian(&["ca-certificates"])
        },
        _ => stored(reference, name),
    }
}

/// An image that has to be brought into the store first.
fn stored(reference: &str, image_name: &str) -> Known {
    let stored = name(image_name);
    let note = format!(
        "`{reference}` has to be in the store first: `hornero image pull {reference} --name {stored}`"
    );
    Known {
        base: Base::Stored(stored),
        packages: Vec::new(),
        path: None,
        command: Vec::new(),
        user: None,
        note: Some(note),
        first: None,
        nginx: false,
    }
}

/// The suite that a tag such as `3.12-slim-bookworm` names.
fn suite(tag: &str) -> Option<&str> {
    const NUMBERS: [(&str, &str); 4] =
        [("11", "bullseye"), ("12", "bookworm"), ("13", "trixie"), ("14", "forky")];
    let words = || tag.split(['-', '.']);
    let named = words().find(|word| NUMBERS.iter().any(|(_, name)| name == word));
    named.or_else(|| {
        let first = tag.split(['-', '.']).next()?;
        NUMBERS.iter().find(|(number, _)| *number == first).map(|(_, name)| *name)
    })
}
