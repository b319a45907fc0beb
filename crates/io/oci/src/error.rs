//! What can go wrong when an image comes in or goes out, and what a person can do about it.

use std::{
    fmt::{self, Display, Write},
    io,
    path::PathBuf,
};

use hornero_model::Digest;
use hornero_store::StoreError;

use crate::ReferenceError;

/// The result of a transport operation.
pub type Result<T, E = OciError> = std::result::Result<T, E>;

/// Why an image could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refused a file operation.
    #[error("cannot {action} `{}`", Line(path.display()))]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// What was read breaks a rule of its format or a limit.
    #[error("`{}` is refused: {}", Line(what), Line(reason))]
    Refused {
        /// The file, blob or archive.
        what: String,
        /// Which rule it breaks, and where.
        reason: String,
    },
    /// It unpacks to far more than what it is.
    #[error("`{}` unpacks to more than {ratio} times its size", Line(what))]
    Bomb {
        /// The file or blob.
        what: String,
        /// How many times.
        ratio: u64,
    },
    /// Its contents are larger than what was allowed.
    #[error("the contents of `{}` are larger than {}", Line(what), bytes(*limit_bytes))]
    TooLarge {
        /// The archive or image.
        what: String,
        /// What was allowed.
        limit_bytes: u64,
    },
    /// One of several images has to be chosen.
    #[error("`{}` has several images: {}", Line(what), Line(names))]
    Several {
        /// The layout or archive.
        what: String,
        /// What they are called.
        names: String,
    },
    /// Bytes are not what their digest says.
    #[error("{} has other bytes than its digest `{expected}` says", Line(what))]
    Digest {
        /// What was read and from where.
        what: String,
        /// The digest it was named by.
        expected: Digest,
    },
    /// The image has something that the format cannot carry.
    #[error("image `{image}` cannot become an OCI image: {}", Line(reason))]
    NotCarried {
        /// The image.
        image: Digest,
        /// What is in the way.
        reason: String,
    },
    /// The image's layers are file systems, which nothing here reads back.
    #[error("{} has layers of type `{}`, and only tars can come in", Line(what), Line(media_type))]
    Layers {
        /// The image.
        what: String,
        /// The first such layer's.
        media_type: String,
    },
    /// The registry, or the layout, has no such image or blob.
    #[error("`{}` does not exist there", Line(_0))]
    Missing(String),
    /// The registry wants other credentials, or refuses these.
    #[error(
        "the registry `{}` refuses access to `{}`: {}",
        Line(registry),
        Line(repository),
        Line(reason)
    )]
    Denied {
        /// Host and port.
        registry: String,
        /// The repository.
        repository: String,
        /// What it said.
        reason: String,
    },
    /// The environment has credentials and does not say whose.
    #[error("`HORNERO_REGISTRY_USER` is set, and not which registry it is for")]
    Unbound,
    /// Unencrypted access to another host was not asked for.
    #[error("`{}` would be reached without encryption", Line(_0))]
    PlainHttp(String),
    /// Every attempt failed.
    #[error("`{}` failed: {}", Line(address), Line(reason))]
    Http {
        /// The address, without credentials.
        address: String,
        /// The last attempt's reason.
        reason: String,
    },
    /// The host has no certificates to trust, or they cannot be read.
    #[error("no encrypted connection is possible: {}", Line(_0))]
    Certificates(String),
}

/// A text that may be from outside, as a part of a line: what would end the line, move the cursor or turn the direction
/// around is escaped, so that nobody's name can look like words of ours.
struct Line<T>(T);

impl<T: Display> Display for Line<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(formatter), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| match letter {
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(self.0, "{}", letter.escape_unicode())
            }
            _ if letter.is_control() => write!(self.0, "{}", letter.escape_default()),
            _ => self.0.write_char(letter),
        })
    }
}

/// For people: in the largest unit that gives a whole number.
fn bytes(count: u64) -> String {
    let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit =
        unit.into_iter().find(|(shift, _)| count >= 1 << shift && count.is_multiple_of(1 << shift));
    unit.map_or_else(
        || format!("{count} bytes"),
        |(shift, word)| format!("{} {word}", count >> shift),
    )
}

impl OciError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Denied { .. } => Some(
                "log in with `docker login` or `podman login`, or set HORNERO_REGISTRY to the \
                 registry's `host:port`, and HORNERO_REGISTRY_USER and HORNERO_REGISTRY_PASSWORD",
            ),
            Self::Unbound => Some("set HORNERO_REGISTRY to that registry's `host` or `host:port`"),
            Self::Bomb { .. } | Self::TooLarge { .. } => {
                Some("give `--max-size SIZE`, such as `100GiB`, if it is meant to be that large")
            }
            Self::Several { .. } => Some("choose one with `--image NAME`"),
            Self::Layers { .. } => Some(
                "take the same image with tar layers; `hornero image export --format oci` makes \
                 those with `--layers tar`, and `hornero image push` always",
            ),
            Self::PlainHttp(_) => {
                Some("give `--plain-http` if that registry is meant to be used without encryption")
            }
            Self::Certificates(_) => Some("install the package `ca-certificates`"),
            Self::Digest { .. } => Some(
                "nothing of it was kept; try again, and if it comes back, the other side is damaged",
            ),
            Self::Http { .. } => {
                Some("run the same command again: what has arrived is kept and not fetched again")
            }
            _ => None,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Names at most twenty, in quotes.
    pub(crate) fn several<N: AsRef<str>>(
        what: impl Into<String>,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let shown = |name: N| format!("`{}`", name.as_ref().chars().take(200).collect::<String>());
        let names: Vec<String> = names.into_iter().take(20).map(shown).collect();
        Self::Several { what: what.into(), names: names.join(", ") }
    }

    pub(crate) fn refused(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Refused { what: what.into(), reason: reason.to_string() }
    }
}
