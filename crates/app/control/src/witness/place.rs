//! Where a witness is: a file, a command or a URL outside of the home, and how heads get there and back.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
};

use crate::child::ends_within;

use super::{
    limits::{PATIENCE, within_limits},
    web,
};

/// Where a home's heads are kept beside the home, so that a ledger that was cut short, put back or signed anew shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessPlace {
    /// A file that each head is appended to.
    File(PathBuf),
    /// A program: `put` gives it a head on its stdin, `get` prints those that it has.
    Command(PathBuf),
    /// A URL: heads are sent by PUT and read by GET.
    Url(String),
}

impl FromStr for WitnessPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let absolute = |path: &str| {
            let path = PathBuf::from(path);
            path.is_absolute().then_some(path).ok_or(format!("`{text}`: the path is not absolute"))
        };
        if text.starts_with("http://") || text.starts_with("https://") {
            let authority = text.split('/').nth(2).unwrap_or_default();
            return match (authority, authority.contains('@')) {
                ("", _) => Err(format!("`{text}` has no host")),
                // `status` shows it.
                (_, true) => {
                    Err("a URL with a password would be shown by `hornero status`".to_owned())
                }
                (_, false) => Ok(Self::Url(text.to_owned())),
            };
        }
        match text.split_once(':') {
            Some(("file", path)) => absolute(path).map(Self::File),
            Some(("command", path)) => absolute(path).map(Self::Command),
            Some(_) | None => absolute(text).map(Self::File).map_err(|_| {
                format!("`{text}` is neither `file:/PATH`, `command:/PROGRAM` nor a URL")
            }),
        }
    }
}

impl fmt::Display for WitnessPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(path) => write!(f, "command:{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl WitnessPlace {
    /// Why it is no witness of this home; none where it is one.
    pub fn refused_by(&self, home: &Path) -> Option<String> {
        let Self::File(path) = self else { return None };
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
        parent.is_some_and(|parent| parent.starts_with(&home)).then(|| {
            format!(
                "`{}` is in the home: whoever changes the ledger can change it, too",
                path.display()
            )
        })
    }

    /// Gives it a head, which it then has.
    pub fn put(&self, head: &str) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o600).custom_flags(libc_flags());
                let mut file = options.open(path)?;
                file.write_all(head.as_bytes())?;
                file.sync_data()
            }
            Self::Command(program) => run(program, "put", head).map(|_| ()),
            Self::Url(url) => web::put(url, head),
        }
    }

    /// What it has, a head a line.
    pub fn get(&self) -> io::Result<String> {
        match self {
            Self::File(path) => within_limits(File::open(path)?),
            Self::Command(program) => run(program, "get", ""),
            Self::Url(url) => web::get(url),
        }
    }
}

/// No link is followed, and no pipe waited for.
fn libc_flags() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

/// Runs a program with one word and an input; gives what it prints.
fn run(program: &Path, word: &str, input: &str) -> io::Result<String> {
    let mut command = Command::new(program);
    command.arg(word).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.current_dir("/").spawn()?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    // A head fits into a pipe; one that does not read it says by its exit code what that means.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let reader = std::thread::spawn(move || within_limits(stdout));
    let ended = end_of(&mut child);
    if ended.is_err() {
        // It hangs: with it its output ends, unless it handed that on.
        let _ = child.kill();
        let _ = child.wait();
        ended?;
    }
    reader.join().map_err(|_| io::Error::other("its output could not be read"))?
}

fn end_of(child: &mut Child) -> io::Result<()> {
    if !ends_within(child, PATIENCE)? {
        return Err(io::Error::other(format!("it did not end within {PATIENCE:?}")));
    }
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("it ended with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_a_command_or_a_url() {
        let parsed = |text: &str| text.parse::<WitnessPlace>().map(|place| place.to_string());
        assert_eq!(parsed("/var/log/heads").as_deref(), Ok("file:/var/log/heads"));
        assert_eq!(parsed("file:/a:b").as_deref(), Ok("file:/a:b"));
        assert_eq!(parsed("command:/usr/bin/w").as_deref(), Ok("command:/usr/bin/w"));
        assert_eq!(parsed("http://[::1]:80/x?y").as_deref(), Ok("http://[::1]:80/x?y"));
        for bad in ["", "heads", "file:heads", "command:w", "ftp://x/", "http://", "https://u:p@h/"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_in_the_home_is_no_witness() {
        let home = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(home.path(), beside.path().join("link")).unwrap();
        let refused = |path: PathBuf| WitnessPlace::File(path).refused_by(home.path()).is_some();
        assert!(refused(home.path().join("heads")));
        assert!(refused(beside.path().join("link/heads")));
        assert!(!refused(beside.path().join("heads")));
    }

    #[test]
    fn files_keep_every_head_and_commands_say_how_they_ended() {
        let directory = tempfile::tempdir().unwrap();
        let file = WitnessPlace::File(directory.path().join("heads"));
        assert!(file.get().is_err(), "nothing is there yet");
        file.put("one\n").unwrap();
        file.put("two\n").unwrap();
        assert_eq!(file.get().unwrap(), "one\ntwo\n");
        let kept = directory.path().join("kept");
        let program = directory.path().join("witness");
        let script = format!(
            "#!/bin/sh\ncase $1 in put) cat >> {0} ;; get) cat {0} ;; esac\n",
            kept.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let command = WitnessPlace::Command(program);
        let error = command.get().unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        command.put("one\n").unwrap();
        assert_eq!(command.get().unwrap(), "one\n");
    }
}
