//! `cargo xtask package`: the Debian package and the tarball, each with everything that belongs to the program.

mod architecture;
mod changelog;
mod check;
mod contents;
mod debian;
mod licences;
mod linkage;
mod program;
mod sysroot;
mod tarball;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    run,
    setup::{self, Package},
};

const USAGE: &str = "\
usage: cargo xtask package [OPTIONS]

Makes a Debian package, one with its debug symbols, and a tarball with an installer, all in target/package.

  --profile NAME   `dist`, the default: small, and for every distribution since 2020; takes many minutes. Another
                   profile such as `dev` is built quickly and runs on distributions as new as this one
  --version X      say that it is version X, as tests of upgrades do
  --sysroot DIR    link `dist` with the C library of this root instead of fetching that of Debian 11
  --check          afterwards check the packages with lintian, and install, remove and purge in roots of Debian 11, 12
                   and 13
";

/// What making and checking packages needs beside what tests need.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "binutils",
        why: "`package` splits the debug symbols off with it and looks at what is linked",
    },
    Package { name: "lintian", why: "`package` and tests check Debian packages with it" },
    Package {
        name: "mmdebstrap",
        why: "`package`, tests and `hosts` make roots that packages are installed in",
    },
];

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

/// Makes what `arguments` ask for.
pub fn package(arguments: &[String]) -> Result<()> {
    let Some(wanted) = parse(arguments)? else {
        print!("{USAGE}");
        return Ok(());
    };
    setup::install(PACKAGES)?;
    let made = make(&wanted, &run::target_directory().join("package"))?;
    for path in [&made.package, &made.symbols, &made.tarball] {
        let size = fs::metadata(path)?.len();
        println!("{}  {:.1} MB", path.display(), size as f64 / 1e6);
    }
    if wanted.check { check::check(&made) } else { Ok(()) }
}

fn parse(arguments: &[String]) -> Result<Option<Wanted>> {
    let mut wanted =
        Wanted { profile: "dist".to_owned(), version: None, sysroot: None, check: false };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().with_context(|| format!("`{word}` needs a value\n\n{USAGE}"));
        match word.as_str() {
            "--profile" => wanted.profile = value()?.clone(),
            "--version" => wanted.version = Some(version(value()?)?),
            "--sysroot" => wanted.sysroot = Some(PathBuf::from(value()?)),
            "--check" => wanted.check = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("`package` knows no `{other}`\n\n{USAGE}"),
        }
    }
    Ok(Some(wanted))
}

/// A version that Debian's tools, file names and Cargo all take; without a revision, since the package is native.
fn version(text: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+~".contains(&byte);
    // Longer ones are no versions, and end up in file names.
    let fits = (1..=64).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_digit());
    if !fits || !text.bytes().all(allowed) {
        bail!("`{text}` is no version: digits first, then letters, digits, `.`, `+` and `~`");
    }
    Ok(text.to_owned())
}

/// Builds the program, and packs it into `directory`.
pub fn make(wanted: &Wanted, directory: &Path) -> Result<Made> {
    let source = Source::of_checkout(wanted)?;
    fs::create_dir_all(directory)?;
    let program = program::build(wanted, &source, directory)?;
    let contents = contents::gather(&source, &program)?;
    let package = debian::write(&source, &contents, &program, directory)?;
    let symbols = debian::write_symbols(&source, &program, directory)?;
    let tarball = tarball::write(&source, &contents, directory)?;
    Ok(Made { package, symbols, tarball })
}

/// Builds the program, and makes the Debian package alone.
pub fn make_installable(wanted: &Wanted, directory: &Path) -> Result<PathBuf> {
    let source = Source::of_checkout(wanted)?;
    fs::create_dir_all(directory)?;
    let program = program::build(wanted, &source, directory)?;
    debian::write(&source, &contents::gather(&source, &program)?, &program, directory)
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
    fn of_checkout(wanted: &Wanted) -> Result<Self> {
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
