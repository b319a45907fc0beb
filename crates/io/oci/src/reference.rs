//! References to images in registries: `host[:port]/repository[:tag][@digest]`.

use std::{fmt, net::IpAddr, str::FromStr};

use hornero_model::Digest;

/// The distribution specification's limit of a tag.
const TAG_LEN_MAX: usize = 128;
/// Registries take repository names up to this length.
const REPOSITORY_LEN_MAX: usize = 255;
/// DNS's limit of a name, and a port.
const HOST_LEN_MAX: usize = 259;
/// What is meant where neither tag nor digest is given.
const DEFAULT_TAG: &str = "latest";

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a reference to an image: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    secure: Option<bool>,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host, and port if there is one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name of the repository inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref().or(self.digest.is_none().then_some(DEFAULT_TAG))
    }

    /// The digest of the OCI manifest, when one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether the registry is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }

    /// Whether it is reached with encryption; a registry on this machine is not, unless the reference says so.
    pub(crate) fn is_secure(&self, plain_http: bool) -> bool {
        self.secure.unwrap_or(!plain_http && !self.is_loopback())
    }

    /// What follows `manifests/`: the digest if there is one.
    pub(crate) fn selector(&self) -> String {
        match &self.digest {
            Some(digest) => digest.to_string(),
            None => self.tag().unwrap_or(DEFAULT_TAG).to_owned(),
        }
    }
}

/// Whether a host with or without port means this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason| ReferenceError { text: text.chars().take(300).collect(), reason };
        let (secure, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("https", rest)) => (Some(true), rest),
            Some(("http", rest)) => (Some(false), rest),
            Some(("docker", rest)) => (None, rest),
            Some(_) => return Err(refuse("only `https://` and `http://` may come before it")),
        };
        let (registry, rest) = rest
            .split_once('/')
            .filter(|(host, _)| {
                let begins = |c: char| c.is_ascii_alphanumeric() || c == '[';
                host.starts_with(begins) && (host.contains(['.', ':']) || *host == "localhost")
            })
            .ok_or_else(|| {
                refuse("it has to begin with its registry, such as `docker.io/library/` or `localhost:5000/`")
            })?;
        if !is_authority(registry) {
            return Err(refuse("its registry is no host name, with or without port"));
        }
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => {
                let parsed = digest.parse().map_err(|_| {
                    refuse("what follows `@` is not `sha256:` and 64 lower-case hex digits")
                })?;
                (rest, Some(parsed))
            }
        };
        let (repository, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
        };
        if repository.len() > REPOSITORY_LEN_MAX || !repository.split('/').all(is_component) {
            return Err(refuse(
                "its repository has to be lower-case letters and digits, with `.`, `_` or `-` between them",
            ));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("its tag has to be letters, digits, `.`, `_` and `-`"));
        }
        Ok(Self { secure, registry: registry.into(), repository: repository.into(), tag, digest })
    }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (
                "v6",
                if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("x")) },
            ),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    text.len() <= HOST_LEN_MAX
        && !host.is_empty()
        && host.bytes().all(good)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The distribution specification: runs of letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = text.as_bytes();
    let ends = alphanumeric(bytes.first()) && alphanumeric(bytes.last());
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators.into_iter().all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    })
}

pub(crate) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LEN_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<(&str, &str, Option<&str>, bool)>) {
        let parsed = text.parse::<Reference>();
        let found = parsed.as_ref().ok().map(|reference| {
            let Reference { registry, repository, .. } = reference;
            (registry.as_str(), repository.as_str(), reference.tag(), reference.is_secure(false))
        });
        assert_eq!(found, expected, "{text}: {parsed:?}");
    }

    #[test]
    fn references_have_a_registry_a_repository_and_a_tag_or_digest() {
        let digest = Digest::of(b"x").to_string();
        check("localhost:5000/a", Some(("localhost:5000", "a", Some("latest"), false)));
        check("127.0.0.9/a/b-c:v1.0", Some(("127.0.0.9", "a/b-c", Some("v1.0"), false)));
        check("https://[::1]:5/a", Some(("[::1]:5", "a", Some("latest"), true)));
        check("reg.example/a__b:T", Some(("reg.example", "a__b", Some("T"), true)));
        check("http://reg.example/a", Some(("reg.example", "a", Some("latest"), false)));
        check(&format!("reg.example/a@{digest}"), Some(("reg.example", "a", None, true)));
        check(&format!("reg.example/a:t@{digest}"), Some(("reg.example", "a", Some("t"), true)));
        for bad in [
            "",
            "busybox",
            "library/busybox",
            "reg.example/",
            "reg.example/A",
            "reg.example/a..b",
            "reg.example/a:",
            "reg.example/a:-x",
            "reg.example/a@sha256:1",
            "reg.example:0/a",
            "reg.example:x/a",
            "ftp://reg.example/a",
            "reg.example/../a",
            "user@reg.example/a",
            "reg.example/a//b",
            "reg.example/-a",
            "[::1/a",
            "[::1]x/a",
            "./rootfs",
            "../images/web",
            "-reg.example/a",
            "https://.example/a",
            "reg.example/a:t:u",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_itself(text in "[a-z.]{1,9}(:[0-9]{1,5})?/[a-z/_.-]{1,12}(:[a-z0-9.]{1,9})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Reference>();
        }
    }
}
