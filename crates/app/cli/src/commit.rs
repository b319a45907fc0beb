//! The commit that a directory is at, asked of git.
//!
//! The configuration of a repository names programs that git runs (`core.fsmonitor`, filters), and whoever made the
//! directory wrote it. So git runs in a sandbox that has the repository and the host's programs, and nothing else.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hornero_model::{ExitCause, Resources};
use hornero_sandbox::{
    Cgroup, CgroupSpec, IdMap, Network, Profile, Root, Running, SandboxSpec, Stdio, User, View,
};

/// A repository that git can't look through in this time has no commit in the record.
const PATIENCE: Duration = Duration::from_secs(30);
/// The control group of all that is asked of git.
const CGROUP: &str = "hornero-git";
const RESOURCES: Resources = Resources { memory_bytes: 2 << 30, cpu_millis: 2_000, pids: 64 };
/// Host ids of git: above those of playbooks.
const ID_MAP: IdMap = IdMap { first: 0x6002_0000, count: 0x1_0000 };
/// A commit is 40 or 64 digits, followed by `+dirty` at most.
const ANSWER_BYTES: u64 = 128;
/// What `.git` says where it is a file: one path.
const LINK_BYTES: u64 = 8 << 10;

const DESCRIBE: [&str; 6] =
    ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+dirty"];

/// Where git has what it knows of a directory.
struct Repository {
    work_tree: PathBuf,
    git: PathBuf,
    /// That of the repository which a further work tree belongs to.
    common: Option<PathBuf>,
}

/// The commit of the directory, with `+dirty` where it differs from it; none outside of git, and where git can't tell.
pub fn commit(dir: &Path) -> Option<String> {
    let repository = Repository::around(dir)?;
    let answer = ask(&repository);
    clean();
    let text = answer.ok()??;
    let digits = text.trim().strip_suffix("+dirty").unwrap_or(text.trim());
    let is_commit = digits.len() >= 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| text.trim().to_owned())
}

impl Repository {
    fn around(dir: &Path) -> Option<Self> {
        let dir = fs::canonicalize(dir).ok()?;
        let work_tree = dir.ancestors().find(|ancestor| ancestor.join(".git").exists())?.to_owned();
        let named = work_tree.join(".git");
        if named.is_dir() {
            return Some(Self { git: fs::canonicalize(named).ok()?, work_tree, common: None });
        }
        let target = read_line(&named)?;
        let git = fs::canonicalize(work_tree.join(target.strip_prefix("gitdir:")?.trim())).ok()?;
        let common = match read_line(&git.join("commondir")) {
            Some(common) => Some(fs::canonicalize(git.join(common.trim())).ok()?),
            None => None,
        };
        Some(Self { work_tree, git, common })
    }
}

fn read_line(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LINK_BYTES).read_to_string(&mut text).ok()?;
    text.lines().next().map(str::to_owned)
}

/// What git says; none where it fails or takes too long.
fn ask(repository: &Repository) -> io::Result<Option<String>> {
    let (mut reader, stdout) = io::pipe()?;
    let stderr = fs::File::options().write(true).open("/dev/null")?;
    let stdio = Stdio { stdin: None, stdout: stdout.into(), stderr: stderr.into() };
    let started = hornero_sandbox::start(&sandbox(repository)?, stdio, Network::Isolated);
    let mut running: Running = started.map_err(io::Error::other)?;
    let ended = running.wait(Some(PATIENCE))?;
    drop(running);
    let mut text = String::new();
    reader.by_ref().take(ANSWER_BYTES).read_to_string(&mut text)?;
    Ok((ended == Some(ExitCause::Code(0))).then_some(text))
}

fn sandbox(repository: &Repository) -> io::Result<SandboxSpec> {
    let owner = fs::metadata(&repository.git)?;
    // As who made the repository, and may read it: git takes another's for changed.
    let mapped = owner.uid() < ID_MAP.count && owner.gid() < ID_MAP.count;
    let (uid, gid) = if mapped { (owner.uid(), owner.gid()) } else { (1_000, 1_000) };
    let mut views = View::programs();
    let mut env: BTreeMap<String, String> = [
        ("PATH", "/usr/bin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut show = |path: &Path, at: &str| {
        views.push(View::Host { path: path.to_owned(), at: at.to_owned(), mapped });
    };
    show(&repository.work_tree, "/repository");
    // The part of a further work tree lies in what it has in common, and names it from there.
    let (shown, below) = match &repository.common {
        Some(common) => (common, repository.git.strip_prefix(common).map_err(io::Error::other)?),
        None => (&repository.git, Path::new("")),
    };
    show(shown, "/git");
    env.insert("GIT_WORK_TREE".to_owned(), "/repository".to_owned());
    env.insert("GIT_DIR".to_owned(), Path::new("/git").join(below).to_string_lossy().into_owned());
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Ok(SandboxSpec {
        root: Root::Views(views),
        command: DESCRIBE.map(str::to_owned).to_vec(),
        env,
        workdir: "/repository".to_owned(),
        user: User { uid, gid, groups: Vec::new() },
        id_map: Some(ID_MAP),
        scratch: Vec::new(),
        tmp_bytes: 16 << 20,
        files: Vec::new(),
        hostname: "hornero-git".to_owned(),
        cgroup: Some(CgroupSpec { parent: CGROUP.to_owned(), name, resources: RESOURCES }),
        profile: Profile::Service,
    })
}

/// Removes the groups of commands that were killed.
fn clean() {
    for name in hornero_sandbox::groups_below(CGROUP) {
        let process = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // What can't be removed now is tried again next time.
            let _ = Cgroup::at(CGROUP, &name).remove();
        }
    }
    hornero_sandbox::remove_parent(CGROUP);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let output =
            Command::new("git").arg("-C").arg(dir).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository() -> (tempfile::TempDir, PathBuf, String) {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("repository");
        fs::create_dir_all(dir.join("site")).unwrap();
        fs::write(dir.join("site/hornero.hcl"), "").unwrap();
        git(&dir, &["init", "-q"]);
        git(&dir, &["add", "."]);
        git(&dir, &["commit", "-q", "-m", "first"]);
        let head = git(&dir, &["rev-parse", "HEAD"]);
        (place, dir, head)
    }

    #[test]
    fn a_commit_is_told_with_whether_anything_differs() {
        let (place, dir, head) = repository();
        assert_eq!(commit(&dir.join("site")), Some(head.clone()));
        // Readable for its owner alone.
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(commit(&dir), Some(head.clone()));
        let further = place.path().join("further");
        git(&dir, &["worktree", "add", "-q", further.to_str().unwrap()]);
        assert_eq!(commit(&further), Some(head.clone()));
        fs::write(dir.join("site/hornero.hcl"), "# changed").unwrap();
        assert_eq!(commit(&dir), Some(format!("{head}+dirty")));
        assert_eq!(commit(place.path()), None);
        fs::write(further.join(".git"), "gitdir: /etc\n").unwrap();
        assert_eq!(commit(&further), None);
    }

    #[test]
    fn what_a_repository_has_git_run_reaches_nothing() {
        let (place, dir, head) = repository();
        let marker = place.path().join("ran");
        let program = dir.join("program");
        let text =
            format!("#!/bin/sh\ntouch {0} /tmp/{1}; cat\n", marker.display(), "hornero-git-ran");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        for key in ["core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.sshCommand"]
        {
            git(&dir, &["config", key, program]);
        }
        fs::write(dir.join(".git/info/attributes"), "* filter=evil\n").unwrap();
        fs::write(dir.join("site/hornero.hcl"), "# changed").unwrap();
        let found = commit(&dir).expect("git tells it all the same");
        assert!(found.starts_with(&head), "{found}");
        assert!(!marker.exists(), "a program of the repository ran on the host");
        assert!(!Path::new("/tmp/hornero-git-ran").exists());
    }
}
