//! Who asks: credentials from the environment and from the files that Docker and Podman keep.

use std::{
    collections::BTreeMap,
    env, fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

/// A file of a few registries has a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Docker Hub's key in the files, and the name that references use.
const DOCKER_HUB: (&str, &str) = ("https://index.docker.io/v1/", "docker.io");

/// A user and a password or token, for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Host, and port if there is one, of the registry that they are for, as references name it. Nobody gets those
    /// that are for none: to use them is an error that says so.
    pub registry: Option<String>,
    /// The user's name.
    pub user: String,
    /// The password, or a token that stands for it.
    pub password: String,
}

/// Never shows the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("registry", &self.registry)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of an `Authorization` header (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// `HORNERO_REGISTRY_USER` and `HORNERO_REGISTRY_PASSWORD`, for the registry `HORNERO_REGISTRY`.
pub(super) fn from_environment() -> Option<Credentials> {
    let read = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Some(Credentials {
        registry: read("HORNERO_REGISTRY"),
        user: read("HORNERO_REGISTRY_USER")?,
        password: read("HORNERO_REGISTRY_PASSWORD")?,
    })
}

/// Where Podman and Docker keep credentials, in the order in which they are asked.
pub(super) fn files() -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let home = variable("HOME");
    let docker = variable("DOCKER_CONFIG").or(home.as_ref().map(|home| home.join(".docker")));
    let config = variable("XDG_CONFIG_HOME").or(home.map(|home| home.join(".config")));
    [
        variable("REGISTRY_AUTH_FILE"),
        variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        config.map(|dir| dir.join("containers/auth.json")),
        docker.map(|dir| dir.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
}

/// What the first file that knows the registry says; the longest part of the repository's name wins.
pub(super) fn from_files(
    files: &[PathBuf],
    registry: &str,
    repository: &str,
) -> Option<Credentials> {
    files.iter().find_map(|file| from_file(file, registry, repository))
}

fn from_file(path: &Path, registry: &str, repository: &str) -> Option<Credentials> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let file: AuthFile = serde_json::from_str(&text).ok()?;
    let whole = format!("{registry}/{repository}");
    let matching = file.auths.iter().filter_map(|(key, auth)| {
        let key = if key == DOCKER_HUB.0 { DOCKER_HUB.1 } else { key };
        let key = key.split_once("://").map_or(key, |(_, rest)| rest);
        let key = key.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        let rest = whole.strip_prefix(key)?;
        let fits = !key.is_empty() && (rest.is_empty() || rest.starts_with('/'));
        fits.then_some((key.len(), auth))
    });
    let (_, auth) = matching.max_by_key(|(length, _)| *length)?;
    let decoded = String::from_utf8(BASE64.decode(&auth.auth).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let password = password.trim_end_matches('\0').into();
    Some(Credentials { registry: Some(registry.into()), user: user.into(), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_of_the_first_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let auth = |text: &str| format!("{{\"auth\":\"{}\"}}", BASE64.encode(text));
        let text = format!(
            "{{\"auths\":{{\"reg.example:5\":{},\"reg.example:5/team\":{},\"https://index.docker.io/v1/\":{}}},\
             \"credsStore\":\"x\"}}",
            auth("one:pw"),
            auth("two:p:w"),
            auth("hub:pw")
        );
        std::fs::write(&path, text).unwrap();
        let files = [dir.path().join("missing.json"), path];
        let user = |registry: &str, repository: &str| {
            from_files(&files, registry, repository).map(|found| found.user)
        };
        assert_eq!(user("reg.example:5", "app").as_deref(), Some("one"));
        assert_eq!(user("reg.example:5", "team/app").as_deref(), Some("two"));
        assert_eq!(user("reg.example:5", "teams/app").as_deref(), Some("one"));
        assert_eq!(user("docker.io", "library/x").as_deref(), Some("hub"));
        assert_eq!(user("reg.example:50", "app"), None);
        let found = from_files(&files, "reg.example:5", "team/app").unwrap();
        assert_eq!(found.password, "p:w");
        assert!(!format!("{found:?}").contains("p:w"));
        assert_eq!(found.basic(), format!("Basic {}", BASE64.encode("two:p:w")));
    }
}
