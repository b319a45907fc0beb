//! What is asked for, what it is made from, and what is made.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The cargo profile.
    pub profile: String,
    /// Another version than the workspace's.
    pub version: Option<String>,
    /// The root whose C library is linked with.
    pub sysroot: Option<PathBuf>,
    /// Whether the packages are checked too.
    pub check: bool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The Debian package.
    pub package: PathBuf,
    /// The Debian package with debug symbols.
    pub symbols: PathBuf,
    /// The tarball.
    pub tarball: PathBuf,
}

/// What is packed: a version of the source, and when that was made.
#[derive(Debug)]
pub struct Source {
    /// The version that the package says.
    pub version: String,
    /// The commit; none outside a git checkout.
    pub commit: Option<String>,
    /// Seconds since 1970: what every file in the packages says it was changed.
    pub epoch: u64,
}

impl Source {
    /// The source that this checkout has.
    pub fn of_checkout(wanted: &Wanted) -> Result<Self> {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
            (output.status.success() && !text.is_empty()).then_some(text)
        };
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
        let commit = git(&["rev-parse", "--short=12", "HEAD"])
            .map(|commit| if changed { commit + ", changed" } else { commit });
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Some(text),
            Err(_) => git(&["log", "-1", "--format=%ct"]),
        };
        let epoch = epoch.context(
            "when this source was made is not known: it is no git checkout\n\
             hint: set SOURCE_DATE_EPOCH to seconds since 1970",
        )?;
        let epoch = epoch.parse().with_context(|| format!("`{epoch}` is no number of seconds"))?;
        // xtask has the workspace's version.
        let version =
            wanted.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Ok(Self { version, commit, epoch })
    }
}
