//! Building the program, and splitting its debug symbols off.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    architecture, linkage, sysroot,
    wanted::{Source, Wanted},
};
use crate::run;

/// The profile that is linked with an old C library.
const PORTABLE: &str = "dist";

/// A built program.
#[derive(Debug)]
pub struct Program {
    /// Without symbols.
    pub stripped: PathBuf,
    /// Its symbols; debuggers find them by the build id.
    pub debug: PathBuf,
    /// What ties the two together, in hex.
    pub build_id: String,
    /// Whether every distribution of the last five years can run it.
    pub portable: bool,
    /// The newest version of the C library's symbols that it needs, such as (2, 31).
    pub glibc: (u32, u32),
}

/// Builds `hornero` as `wanted`, and leaves it below `directory`.
pub fn build(wanted: &Wanted, source: &Source, directory: &Path) -> Result<Program> {
    let mut cargo = run::cargo();
    cargo.args(["build", "--locked", "--profile", &wanted.profile]);
    match wanted.profile.as_str() {
        // With the features that the tests' own build has: nothing is compiled twice.
        "dev" => cargo.args(["--workspace", "--bin", "hornero"]),
        _ => cargo.args(["--package", "hornero-cli"]),
    };
    let portable = wanted.profile == PORTABLE;
    if let Some(version) = &wanted.version {
        cargo.env("HORNERO_BUILD_VERSION", version);
    }
    // Quick builds say no commit: they are the same program as the tests', which is not built again for it.
    if let Some(commit) = source.commit.as_ref().filter(|_| portable) {
        cargo.env("HORNERO_BUILD_COMMIT", commit);
    }
    let mut built = run::target_directory();
    if portable {
        let root = match &wanted.sysroot {
            Some(root) => {
                fs::canonicalize(root).with_context(|| format!("`{}`", root.display()))?
            }
            None => sysroot::fetch(&directory.join("sysroot"))?,
        };
        // Naming the target, although it is the host's, keeps these flags away from build scripts.
        let target = architecture::host()?.target;
        cargo.args(["--target", target]);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&root)?);
        cargo.env(format!("CFLAGS_{}", target.replace('-', "_")), c_flags(&root));
        built.push(target);
    }
    run::check(&mut cargo)?;
    // `dev` is the one profile whose directory has another name.
    built.push(if wanted.profile == "dev" { "debug" } else { &wanted.profile });
    built.push("hornero");
    let program = split(&built, &directory.join("program"), portable)?;
    if portable {
        linkage::check(&program.stripped)?;
    }
    Ok(program)
}

/// Paths of the machine that builds don't get into the program, so that it is the same wherever it is built.
fn renamed() -> Vec<(PathBuf, &'static str)> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let mut renamed = Vec::new();
    // The last one that fits counts.
    renamed.extend(cargo_home.or(home).map(|home| (home.join("registry/src"), "/usr/src/crates")));
    renamed.push((run::target_directory(), "/usr/src/hornero/target"));
    renamed.push((run::root(), "/usr/src/hornero"));
    renamed
}

/// Flags for rustc, as `CARGO_ENCODED_RUSTFLAGS` has them: paths may have spaces.
fn rust_flags(root: &Path) -> Result<OsString> {
    let mut flags = OsString::new();
    for flag in sysroot::linker_flags(root)? {
        flags.push("-Clink-arg=");
        flags.push(flag);
        flags.push("\x1f");
    }
    for (path, name) in renamed() {
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
        flags.push("\x1f");
    }
    // The last flag has no end of its own.
    flags.push("-Clink-arg=-Wl,--build-id=sha1");
    Ok(flags)
}

fn c_flags(root: &Path) -> OsString {
    let mut flags = OsString::from("--sysroot=");
    flags.push(root);
    for (path, name) in renamed() {
        flags.push(" -ffile-prefix-map=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// Puts the program and its symbols below `directory`, apart from each other.
fn split(built: &Path, directory: &Path, portable: bool) -> Result<Program> {
    fs::create_dir_all(directory)?;
    let (stripped, debug) = (directory.join("hornero"), directory.join("hornero.debug"));
    let objcopy = |flags: &[&str], to: &Path| {
        run::check(Command::new("objcopy").args(flags).arg(built).arg(to))
    };
    objcopy(&["--only-keep-debug", "--compress-debug-sections=zlib"], &debug)?;
    objcopy(&["--strip-all", "--remove-section=.comment"], &stripped)?;
    let build_id = linkage::build_id(&stripped)?;
    let glibc = linkage::newest_glibc(&linkage::versions(&stripped)?);
    Ok(Program { stripped, debug, build_id, portable, glibc })
}
