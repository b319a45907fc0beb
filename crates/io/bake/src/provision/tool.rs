//! The host's `ansible-playbook`: where it is, what it needs, and its version.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hornero_apt::files;

/// The program.
pub(crate) const PROGRAM: &str = "ansible-playbook";
/// What it says of itself is half a kilobyte.
const VERSION_BYTES: u64 = 64 << 10;

/// The longest first line that the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: u64 = 256;
/// Where a Python has its modules: installed for it, or for an environment on top of it.
const PLACES: &str = "import sys; print(sys.prefix, sys.base_prefix, *sys.path, sep='\\n')";

/// Ansible as this host has it.
pub(crate) struct Tool {
    /// The program, by a path without symbolic links.
    pub program: PathBuf,
    /// The Python that runs it.
    pub python: PathBuf,
}

impl Tool {
    /// The directories that its Python and its modules lie in.
    pub(crate) fn places(&self) -> io::Result<Vec<PathBuf>> {
        let asked = isolated(&self.python).args(["-I", "-B", "-c", PLACES]).output()?;
        if !asked.status.success() {
            let said = String::from_utf8_lossy(&asked.stderr).trim().to_owned();
            let text = format!("`{}` doesn't say where it is: {said}", self.python.display());
            return Err(io::Error::other(text));
        }
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        let named = text.lines().map(PathBuf::from);
        let files = [&self.python, &self.program];
        let beside = files.into_iter().flat_map(|path| {
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            [path.clone(), real].map(|path| path.parent().map(Path::to_owned).unwrap_or_default())
        });
        Ok(named.chain(beside).filter(|path| path.is_absolute() && path.is_dir()).collect())
    }
}

/// Where the program is on this host; none where it is not. A shell script that calls another is passed over.
pub(crate) fn find() -> Option<Tool> {
    in_path(PROGRAM).find_map(|path| {
        let program = fs::canonicalize(path).ok()?;
        let python = interpreter(&program)?;
        Some(Tool { program, python })
    })
}

/// The programs of a name, as `PATH` has them.
fn in_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = std::env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .filter(|path| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
        })
        .collect();
    paths.into_iter()
}

/// The Python that a script's first line names.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut line = Vec::new();
    File::open(script).ok()?.take(FIRST_LINE_BYTES).read_to_end(&mut line).ok()?;
    let line = String::from_utf8_lossy(&line);
    let mut words = line.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let program = Path::new(words.next()?);
    let name =
        |path: &Path| path.file_name().is_some_and(|name| is_python(&name.to_string_lossy()));
    if name(program) {
        return Some(program.to_owned());
    }
    let named = words.next().filter(|word| program.ends_with("env") && is_python(word))?;
    in_path(named).next()
}

fn is_python(name: &str) -> bool {
    name.starts_with("python")
}

/// A program that is asked something, where no file of a project can answer for it.
fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Ansible's configuration and Python's modules are looked for in the working directory.
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

/// The versions of Ansible, its Python and its templates, which what it makes may depend on; empty where there is no
/// Ansible. Asking takes half a second, so the answer is kept as long as the program's file stays the same.
pub(crate) fn version(cache: &Path) -> String {
    let Some(tool) = find() else { return String::new() };
    let Ok(found) = fs::metadata(&tool.program) else { return String::new() };
    let identity = format!(
        "{} {} {} {} {}.{}",
        tool.program.display(),
        found.dev(),
        found.ino(),
        found.size(),
        found.ctime(),
        found.ctime_nsec()
    );
    let kept = cache.join("ansible-version");
    if let Ok(text) = files::read_text(&kept, VERSION_BYTES)
        && let Some((known, version)) = text.split_once('\n')
        && known == identity
    {
        return version.to_owned();
    }
    let version = ask(&tool.program);
    if !version.is_empty() && fs::create_dir_all(cache).is_ok() {
        // Losing it costs half a second.
        let _ = files::write_whole(&kept, format!("{identity}\n{version}").as_bytes());
    }
    version
}

fn ask(path: &Path) -> String {
    let child = isolated(path)
        .arg("--version")
        .envs([("HOME", "/nonexistent"), ("ANSIBLE_HOME", "/nonexistent"), ("ANSIBLE_NOCOWS", "1")])
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
