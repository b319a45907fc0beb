//! The host's `ansible-playbook`: where it is, and its version.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{limits, workdir};

/// The program.
pub(crate) const PROGRAM: &str = "ansible-playbook";
/// What it says of itself is half a kilobyte.
const VERSION_BYTES: u64 = 64 << 10;

/// Where the program is on this host; none where it is not.
pub(crate) fn find() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).filter(|dir| dir.is_absolute()).map(|dir| dir.join(PROGRAM)).find(
        |path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0),
    )
}

/// The versions of Ansible, its Python and its templates, which what it makes may depend on; empty where there is no
/// Ansible. Asking takes half a second, so the answer is kept as long as the program's file stays the same.
pub(crate) fn version(cache: &Path) -> String {
    let Some(path) = find() else { return String::new() };
    let Ok(found) = fs::canonicalize(&path).and_then(fs::metadata) else { return String::new() };
    let identity = format!(
        "{} {} {} {} {}.{}",
        path.display(),
        found.dev(),
        found.ino(),
        found.size(),
        found.ctime(),
        found.ctime_nsec()
    );
    let kept = cache.join("ansible-version");
    if let Ok(text) = limits::read_text(&kept, VERSION_BYTES)
        && let Some((known, version)) = text.split_once('\n')
        && known == identity
    {
        return version.to_owned();
    }
    let version = ask(&path);
    if !version.is_empty() && fs::create_dir_all(cache).is_ok() {
        // Losing it costs half a second.
        let _ = workdir::write_whole(&kept, format!("{identity}\n{version}").as_bytes());
    }
    version
}

fn ask(path: &Path) -> String {
    let child = Command::new(path)
        .arg("--version")
        .env_clear()
        .envs([("LC_ALL", "C.UTF-8"), ("HOME", "/nonexistent"), ("ANSIBLE_HOME", "/nonexistent")])
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return String::new() };
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(VERSION_BYTES).read_to_string(&mut text);
    }
    let _ = child.wait();
    let wanted = |line: &&str| {
        line.starts_with(PROGRAM)
            || line.starts_with("python version = ")
            || line.starts_with("jinja version = ")
    };
    // Without the date that the Python was built at, and its path.
    let short = |line: &str| line.split(" (").next().unwrap_or_default().to_owned();
    text.lines().map(str::trim).filter(wanted).map(short).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_asked_for_once() {
        let cache = tempfile::tempdir().unwrap();
        let version = version(cache.path());
        assert!(version.starts_with("ansible-playbook [core 2."), "{version}");
        assert!(version.contains("python version = 3."), "{version}");
        let kept = cache.path().join("ansible-version");
        let text = fs::read_to_string(&kept).unwrap().replace("core 2", "core 3");
        fs::write(&kept, text).unwrap();
        assert!(super::version(cache.path()).starts_with("ansible-playbook [core 3."));
        fs::write(&kept, "another program\nansible-playbook [core 3").unwrap();
        assert_eq!(super::version(cache.path()), version);
    }
}
