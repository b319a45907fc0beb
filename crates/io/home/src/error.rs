//! Why a home, or a file of one, is refused.

use std::{io, path::PathBuf};

/// Why a home, or a file of one, is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Something belongs to another user, who could change it at any time.
    #[error("`{path}` belongs to {owner}, who could put anything in its place")]
    OtherOwner {
        /// What was looked at.
        path: PathBuf,
        /// Name or number of the user.
        owner: String,
    },
    /// Others than the owner may write.
    #[error("others may write to `{path}`: it belongs to {owner} and has mode {mode:o}")]
    Writable {
        /// What was looked at.
        path: PathBuf,
        /// Name or number of the user.
        owner: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link where a home has none.
    #[error(
        "`{path}` is a symbolic link (of {owner}) to `{target}`, and nothing of a home is opened through one"
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Name or number of the user it belongs to.
        owner: String,
        /// What it leads to.
        target: PathBuf,
    },
    /// A file that has another name elsewhere.
    #[error(
        "`{path}` (of {owner}) has {names} names, so writing to it would write to another file's contents"
    )]
    SecondName {
        /// The file.
        path: PathBuf,
        /// Name or number of the user it belongs to.
        owner: String,
        /// Its hard links.
        names: u64,
    },
    /// Something else than what belongs there.
    #[error("`{path}` is no {wanted}")]
    OtherKind {
        /// What was looked at.
        path: PathBuf,
        /// What should be there: `file` or `directory`.
        wanted: &'static str,
    },
    /// Links that lead to each other.
    #[error("the links on the way to `{path}` have no end")]
    Endless {
        /// What was asked for.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} `{path}`")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What to do about a refusal.
pub type Remedy = String;

impl HomeError {
    /// What to do about it, for people.
    pub fn remedy(&self) -> Option<Remedy> {
        let elsewhere = "or take another home with `--home` or HORNERO_HOME";
        Some(match self {
            Self::OtherOwner { path, .. } => format!(
                "look at what is in it first; then `chown -h root:root '{}'`, {elsewhere}",
                path.display()
            ),
            Self::Writable { path, .. } => format!(
                "look at what is in it first; then `chmod go-w '{}'`, {elsewhere}",
                path.display()
            ),
            Self::Link { path, .. } | Self::SecondName { path, .. } => format!(
                "find out who made it; `rm '{}'` takes this name away and leaves the other file as it is",
                path.display()
            ),
            Self::OtherKind { path, .. } => {
                format!("move `{}` out of the way, {elsewhere}", path.display())
            }
            Self::Endless { .. } => elsewhere.trim_start_matches("or ").to_owned(),
            Self::Failed { .. } => return None,
        })
    }

    /// The word that scripts and `docs/errors/home.md` know it by; none where the system refused.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::OtherOwner { .. } => Some("home_other_owner"),
            Self::Writable { .. } => Some("home_writable"),
            Self::Link { .. } | Self::Endless { .. } => Some("home_link"),
            Self::SecondName { .. } => Some("home_second_name"),
            Self::OtherKind { .. } => Some("home_other_kind"),
            Self::Failed { .. } => None,
        }
    }
}

impl From<HomeError> for io::Error {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Failed { source, .. } => source,
            refused => Self::new(io::ErrorKind::PermissionDenied, refused),
        }
    }
}
