//! The files that belong to the program, below the prefix it is installed under.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::{architecture, changelog, licences, program::Program, wanted::Source};
use crate::run;

/// Where documentation lies below the prefix.
pub const DOCUMENTS: &str = "share/doc/hornero";
/// The completion script of zsh; Debian has another directory for it.
pub const ZSH: &str = "share/zsh/site-functions/_hornero";
/// The unit.
pub const UNIT: &str = "lib/systemd/system/hornero.service";

/// One file.
#[derive(Debug, Clone)]
pub struct Item {
    /// What is in it, before it is compressed.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
    /// Whether it is compressed, and its name ends in `.gz`.
    pub compressed: bool,
}

/// Files by their path below the prefix, such as `bin/hornero`.
pub type Contents = BTreeMap<String, Item>;

/// Everything that both the Debian package and the tarball have.
pub fn gather(source: &Source, program: &Program) -> Result<Contents> {
    let mut contents = Contents::new();
    let item = |bytes: Vec<u8>| Item { bytes, executable: false, compressed: false };
    let compressed = |bytes: Vec<u8>| Item { bytes, executable: false, compressed: true };
    contents.insert(
        "bin/hornero".to_owned(),
        Item { executable: true, ..item(fs::read(&program.stripped)?) },
    );
    for (path, bytes) in manual(&program.stripped)? {
        contents.insert(path, compressed(bytes));
    }
    for (shell, path) in [
        ("bash", "share/bash-completion/completions/hornero"),
        ("zsh", ZSH),
        ("fish", "share/fish/vendor_completions.d/hornero.fish"),
    ] {
        let script = run::read(Command::new(&program.stripped).args(["completions", shell]))?;
        contents.insert(path.to_owned(), item(script.into_bytes()));
    }
    contents.insert(UNIT.to_owned(), item(read("packaging/hornero.service")?.into_bytes()));
    let document = |name: &str| format!("{DOCUMENTS}/{name}");
    contents.insert(
        document("changelog"),
        compressed(changelog::debian(&read("CHANGELOG.md")?, source).into_bytes()),
    );
    contents.insert(document("copyright"), item(copyright()?.into_bytes()));
    contents.insert(
        document("third-party-licences"),
        compressed(licences::third_party(architecture::host()?.target)?.into_bytes()),
    );
    contents.extend(documents()?);
    Ok(contents)
}

/// What people read and copy, each where the source has it, so that what names another one is right in both places. What git
/// knows: nothing that a build or an editor left behind.
pub(super) fn documents() -> Result<Contents> {
    let listed = [
        "README.md",
        "SECURITY.md",
        "examples",
        "docs/guides",
        "docs/operations",
        "docs/errors",
        "docs/reference",
    ];
    let listed = run::read(Command::new("git").args(["ls-files", "-z"]).args(listed))?;
    let mut documents = Contents::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let metadata = fs::symlink_metadata(path).with_context(|| format!("`{path}`"))?;
        if !metadata.is_file() {
            continue;
        }
        let executable = metadata.permissions().mode() & 0o100 != 0;
        let bytes = fs::read(path)?;
        let path = format!("{DOCUMENTS}/{path}");
        documents.insert(path, Item { bytes, executable, compressed: false });
    }
    Ok(documents)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("`{path}`"))
}

/// The manual pages that the program makes of its command line.
fn manual(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let directory = tempfile::tempdir()?;
    run::check(Command::new(program).arg("manual").arg(directory.path()))?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        pages.push((format!("share/man/man1/{name}"), fs::read(entry.path())?));
    }
    Ok(pages)
}

/// The copyright file, with the text of the MIT licence in it.
fn copyright() -> Result<String> {
    let licence = read("LICENSE-MIT")?;
    // Title and copyright have places of their own in the file.
    let (_, text) =
        licence.split_once("\n\nPermission").context("`LICENSE-MIT` has another text")?;
    let lines = format!("Permission{text}");
    let lines: Vec<String> = lines
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") })
        .collect();
    Ok(read("packaging/debian/copyright")?.replace("@MIT@", &lines.join("\n")))
}

/// Writes `contents` below `directory`, each where `place` puts it; every file and directory changed at `epoch`.
pub fn write(
    contents: &Contents,
    directory: &Path,
    place: impl Fn(&str) -> String,
    epoch: u64,
) -> Result<()> {
    let mut compressed = Vec::new();
    for (path, item) in contents {
        let path = directory.join(place(path));
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, &item.bytes)?;
        let mode = if item.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        if item.compressed {
            compressed.push(path);
        }
    }
    // Without names and times in the compressed files.
    run::check(Command::new("gzip").args(["-9", "-n", "-f"]).args(&compressed))?;
    settle(directory, epoch)
}

/// An empty directory at `path`, whatever was there before.
pub fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

/// Gives everything below `directory` one time, and directories the mode that packages have, whatever the umask.
fn settle(directory: &Path, epoch: u64) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle(&entry.path(), epoch)?;
        } else if entry.file_type()?.is_file() {
            set_time(&entry.path(), epoch)?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    set_time(directory, epoch)
}

fn set_time(path: &Path, epoch: u64) -> Result<()> {
    File::open(path)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(epoch))?;
    Ok(())
}
