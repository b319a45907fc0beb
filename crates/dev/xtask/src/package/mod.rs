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
mod wanted;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    run,
    setup::{self, Package},
};
pub use wanted::Wanted;
use wanted::{Made, Source};

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
