//! The sandbox that Ansible itself runs in: its own program, the playbook's files, and the way to the step.
//!
//! Lookups, filters, plugins and templates of a playbook are programs of whoever wrote it. They run as nobody of the host,
//! in namespaces of their own, with no capability and the system calls of a server, and see nothing else of the host.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

use hornero_sandbox::{IdMap, Profile, ProvidedFile, Root, SandboxSpec, User, View};

use super::{agent, tool::Tool};
use crate::image::{
    place::Place,
    step::{HOST_NAME, HOSTS, TMP_BYTES},
};

/// The playbook and what belongs to it.
pub(super) const PLAYBOOK: &str = "/playbook";
/// What Ansible is given beside it: inventory, variables, the connection plugin.
pub(super) const GIVEN: &str = "/ansible";
/// Where the step's agent listens.
const SOCKET: &str = "/run/hornero/agent";
/// The only place that it can write to, in memory.
pub(super) const TMP: &str = "/tmp";

/// Host ids of playbooks: above those of build steps.
const ID_MAP: IdMap = IdMap { first: 0x6001_0000, count: 0x1_0000 };
/// As whom it runs inside.
const USER: u32 = 1_000;
/// As whom it runs on the host.
pub(super) const HOST_USER: u32 = ID_MAP.first + USER;

/// What programs need of `/etc`: which of two does the work, libraries, and whom TLS trusts.
const CONFIGURATION: [&str; 5] = [
    "/etc/alternatives",
    "/etc/ca-certificates/extracted",
    "/etc/ld.so.cache",
    "/etc/pki/ca-trust/extracted",
    "/etc/ssl/certs",
];

const NAMES: &str = "passwd: files\ngroup: files\nhosts: files dns\n";
const USERS: &str =
    "root:x:0:0::/nonexistent:/usr/sbin/nologin\nansible:x:1000:1000::/tmp:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nansible:x:1000:\n";

/// What a run of Ansible is made of.
pub(super) struct Run<'r> {
    pub tool: &'r Tool,
    /// The step's directory, with `ansible/playbook`, `ansible/given` and the agent's socket.
    pub dir: &'r Path,
    pub arguments: Vec<String>,
    pub env: std::collections::BTreeMap<String, String>,
    /// The home, of which nothing may be seen.
    pub home: &'r Path,
}

/// The sandbox of a run.
pub(super) fn sandbox(run: Run<'_>, place: &Place) -> io::Result<SandboxSpec> {
    let ours = run.dir.join("ansible");
    for name in ["playbook", "given"] {
        give(&ours.join(name))?;
    }
    let mut views = View::programs();
    views.extend(View::in_place(&CONFIGURATION));
    let installed = installed(run.tool, run.home, &views)?;
    views.extend(installed);
    for (path, at) in [
        (ours.join("playbook"), PLAYBOOK),
        (ours.join("given"), GIVEN),
        (run.dir.join(agent::SOCKET), SOCKET),
    ] {
        views.push(View::new(path, at));
    }
    let mut files = vec![
        ProvidedFile::new("/etc/passwd", USERS),
        ProvidedFile::new("/etc/group", GROUPS),
        ProvidedFile::new("/etc/nsswitch.conf", NAMES),
        ProvidedFile::new("/etc/hosts", HOSTS),
    ];
    files.extend(place.resolvers().map(|text| ProvidedFile::new("/etc/resolv.conf", text)));
    let program = [&run.tool.python, &run.tool.program].map(|path| path.display().to_string());
    Ok(SandboxSpec {
        root: Root::Views(views),
        command: program.into_iter().chain(run.arguments).collect(),
        env: run.env,
        workdir: PLAYBOOK.to_owned(),
        user: User { uid: USER, gid: USER, groups: Vec::new() },
        id_map: Some(ID_MAP),
        scratch: Vec::new(),
        tmp_bytes: TMP_BYTES,
        files,
        hostname: HOST_NAME.to_owned(),
        cgroup: Some(place.cgroup.clone()),
        profile: Profile::Service,
    })
}

/// Gives a tree to the user that Ansible runs as, who has it read-only.
fn give(path: &Path) -> io::Result<()> {
    lchown(path, Some(HOST_USER), Some(HOST_USER))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}

/// What Ansible has elsewhere: an environment of its own, or a Python of its own.
fn installed(tool: &Tool, home: &Path, shown: &[View]) -> io::Result<Vec<View>> {
    let shown = |path: &Path| {
        path == Path::new("/usr") || shown.iter().any(|view| path.starts_with(view.at()))
    };
    let mut places: BTreeSet<PathBuf> = BTreeSet::new();
    for path in tool.places()? {
        if shown(&path) {
            continue;
        }
        if path == Path::new("/usr/local") {
            places.extend(
                ["bin", "lib"].map(|name| path.join(name)).into_iter().filter(|path| path.is_dir()),
            );
        } else {
            places.insert(path);
        }
    }
    let home = fs::canonicalize(home)?;
    let mut views: Vec<View> = Vec::new();
    for path in places {
        // Sorted, so that what a directory holds follows it.
        if views.iter().any(|view| path.starts_with(view.at())) {
            continue;
        }
        let real = fs::canonicalize(&path)?;
        if home.starts_with(&real) || real.starts_with(&home) {
            let text = format!(
                "Ansible's Python keeps its modules in `{}`, and a playbook must not see the home in it",
                path.display()
            );
            return Err(io::Error::other(text));
        }
        views.push(View::new(real, path.to_string_lossy()));
    }
    Ok(views)
}
