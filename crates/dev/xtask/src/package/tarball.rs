//! The tarball for every other distribution: the same files, and a script that installs and removes them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{
    architecture,
    contents::{self, Contents, Item},
    wanted::Source,
};
use crate::run;

/// Writes `hornero-VERSION-ARCHITECTURE.tar.gz` into `directory`.
pub fn write(source: &Source, contents: &Contents, directory: &Path) -> Result<PathBuf> {
    let name = format!("hornero-{}-{}", source.version, architecture::host()?.name);
    let stage = contents::fresh(&directory.join("stage/tarball"))?;
    let mut packed: Contents = contents
        .iter()
        .map(|(path, item)| (format!("{name}/files/{path}"), item.clone()))
        .collect();
    let mut add = |path: &str, to: &str, executable: bool| {
        let item = Item { bytes: fs::read(path)?, executable, compressed: false };
        packed.insert(format!("{name}/{to}"), item);
        anyhow::Ok(())
    };
    add("packaging/install.sh", "install.sh", true)?;
    add("LICENSE-MIT", "LICENSE-MIT", false)?;
    add("LICENSE-APACHE", "LICENSE-APACHE", false)?;
    add("README.md", "README.md", false)?;
    contents::write(&packed, &stage, str::to_owned, source.epoch)?;
    let file = directory.join(format!("{name}.tar"));
    run::check(
        Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"])
            .args(["--directory", &stage.to_string_lossy(), "--create", "--file"])
            .arg(&file)
            .arg(&name),
    )?;
    run::check(Command::new("gzip").args(["-9", "-n", "-f"]).arg(&file))?;
    Ok(file.with_extension("tar.gz"))
}
