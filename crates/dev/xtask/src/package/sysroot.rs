//! The C library of Debian 11, fetched from the host's own Debian mirror: what is linked with it runs on newer ones too.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::architecture;
use crate::run;

const SUITE: &str = "bullseye";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Library, headers, the kernel's headers for them, and the unwinder.
const PACKAGES: &[&str] = &["libc6", "libc6-dev", "linux-libc-dev", "libgcc-s1"];

/// The root in `directory`, which is made where it is missing. apt checks signatures and hashes.
pub fn fetch(directory: &Path) -> Result<PathBuf> {
    let root = directory.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    eprintln!("package: fetching the C library of Debian 11 to link with");
    let mirror = mirror()?;
    let private = directory.join("apt");
    for made in ["etc", "lists/partial", "archives/partial"] {
        fs::create_dir_all(private.join(made))?;
    }
    fs::write(private.join("status"), "")?;
    let sources = private.join("etc/sources.list");
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n"))?;
    let architecture = format!("APT::Architecture={}", architecture::host()?.debian);
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        for (name, path) in [
            ("Dir::Etc::SourceList", sources.as_path()),
            ("Dir::Etc::SourceParts", Path::new("/dev/null")),
            ("Dir::State", &private),
            ("Dir::State::Status", &private.join("status")),
            ("Dir::Cache", &private),
        ] {
            apt.arg("-o").arg(format!("{name}={}", path.display()));
        }
        apt.args(["-q", "-o", &architecture, "-o", "APT::Sandbox::User=root"]);
        // The release is complete: its list does not become younger.
        apt.args(["-o", "Acquire::Check-Valid-Until=false", "-o", "Acquire::Languages=none"]);
        run::check(apt.args(arguments).current_dir(&private).stdout(std::io::stderr()))
    };
    apt(&["update"])?;
    apt(&[&["download"], PACKAGES].concat())?;
    let unfinished = directory.join("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    for entry in fs::read_dir(&private)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run::check(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(&unfinished))?;
        }
    }
    keep_links_inside(&unfinished)?;
    fs::rename(&unfinished, &root)?;
    Ok(root)
}

/// What a C compiler needs to link with the root at `root` and nothing of this host.
pub fn linker_flags(root: &Path) -> Result<Vec<String>> {
    let (root, multiarch) = (root.display(), architecture::host()?.multiarch);
    Ok(vec![
        format!("--sysroot={root}"),
        // Without these, gcc looks for start files and libraries beside itself first, which is this host's /usr/lib.
        format!("-B{root}/usr/lib/{multiarch}"),
        format!("-L{root}/lib/{multiarch}"),
    ])
}

/// The mirror of Debian that this host installs packages from.
pub fn mirror() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args([
        "indextargets",
        "Created-By: Packages",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
    ]);
    let listed = run::read(&mut apt)?;
    let found = listed.lines().find_map(|line| line.strip_prefix("Debian|Debian|"));
    match found {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!(
            "no apt source of this host is Debian's archive, which has the C library of Debian 11\n\
             hint: run `apt-get update` on Debian, or name a root that has it with --sysroot"
        ),
    }
}

/// Linkers follow absolute links to the host's own libraries: makes them lead into the root.
fn keep_links_inside(root: &Path) -> Result<()> {
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                let Ok(inside) = target.strip_prefix("/") else { continue };
                let below = directory.strip_prefix(root).context("it was listed below it")?;
                let up: PathBuf = below.components().map(|_| "..").collect();
                fs::remove_file(&path)?;
                symlink(up.join(inside), &path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_lead_into_the_root() {
        let root = tempfile::tempdir().unwrap();
        let library = root.path().join("usr/lib/x");
        fs::create_dir_all(&library).unwrap();
        symlink("/lib/x/libdl.so.2", library.join("libdl.so")).unwrap();
        symlink("libc.so.6", library.join("libc.so")).unwrap();
        keep_links_inside(root.path()).unwrap();
        let target = |name: &str| fs::read_link(library.join(name)).unwrap();
        assert_eq!(target("libdl.so"), Path::new("../../../lib/x/libdl.so.2"));
        assert_eq!(target("libc.so"), Path::new("libc.so.6"));
    }
}
