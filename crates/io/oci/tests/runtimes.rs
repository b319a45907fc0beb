//! Docker and Podman run what Hornero pushed, and Hornero runs what Docker built.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    fs,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hornero_model::{Digest, ExitCause};
use hornero_oci::{
    Access, Compression, IMPORT_ATTACHMENT, ImportOptions, ImportRecord, PackOptions, Quiet,
    import, push,
};
use hornero_sandbox::{ComposedRoot, IdMap, Network, Profile, Root, SandboxSpec, User, start};
use support::{
    Home, SMALL_OUTPUT,
    peers::{Registry, Server, wait_until},
    run, small_image, try_run,
};

/// A daemon with data, socket and control group of its own, and no bridge; ended when dropped.
struct Docker {
    dir: PathBuf,
    server: Server,
    /// Goes when the server is gone.
    _group: Group,
}

impl Docker {
    fn start(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--log-level=warn",
        ]);
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("pid"));
        command.arg(format!("--host=unix://{}", dir.join("socket").display()));
        let group = Group::new(dir.parent().unwrap());
        command.arg(format!("--cgroup-parent={}", group.0));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Server::start(&mut command);
        let docker = Self { server, dir, _group: group };
        wait_until("dockerd", || try_run(docker.command().arg("version")).status.success());
        docker
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.dir.join("socket").display()));
        // Credentials and contexts of whoever runs this are none of the test's business.
        command.env("DOCKER_CONFIG", self.dir.join("config")).env("DOCKER_BUILDKIT", "0");
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.server.end();
        unmount_below(&self.dir);
    }
}

/// Control groups of this test alone, removed when dropped.
struct Group(String);

impl Group {
    fn new(dir: &Path) -> Self {
        let name = dir.file_name().unwrap().to_string_lossy().replace('.', "");
        Self(format!("hornero-oci-{name}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Some hierarchies have none of it; that is fine.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&hierarchy.path().join(&self.0));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(&self.0));
    }
}

fn remove_groups(dir: &Path) {
    for below in fs::read_dir(dir).into_iter().flatten().flatten() {
        if below.path().is_dir() {
            remove_groups(&below.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", dir.display());
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // The latest first: mounts may lie on each other.
    for point in points.filter(|point| point.starts_with(&prefix)).collect::<Vec<_>>().iter().rev()
    {
        let _ = Command::new("umount").args(["--lazy", point]).status();
    }
}

/// What a root shows of itself, by programs in it: modes, owners, sizes and kinds of every file of ours.
const LOOK: &str = "cd / && find bin etc old data sticky ! -name 'host*' ! -name resolv.conf ! -name mtab \
     | /bin/busybox sort | while read f; do stat -c '%n %a %u:%g %F' \"$f\"; done; cat etc/version sticky/left";

/// The same of the tree that instances see.
fn expected(home: &Home, image: &Digest) -> String {
    let root = run_here(home, image, &["/bin/sh", "-c", LOOK], User::default());
    assert!(
        root.contains("/etc/noted") || root.contains("etc/noted 600 33:4000000 regular file"),
        "{root}"
    );
    root
}

/// Runs a command in an image as an instance would, with ids as they are.
fn run_here(home: &Home, image: &Digest, command: &[&str], user: User) -> String {
    let files = home.store.root(image).unwrap();
    let config = home.store.image(image).unwrap().config;
    let spec = SandboxSpec {
        root: Root::Composed(ComposedRoot { metadata: files.metadata, objects: files.objects }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: config.env,
        workdir: config.workdir,
        user,
        id_map: Some(IdMap { first: 300_000_000, count: 5_000_000 }),
        scratch: vec![],
        tmp_bytes: 1 << 20,
        files: vec![],
        hostname: "test".to_owned(),
        cgroup: None,
        profile: Profile::Service,
    };
    let (read, write) = std::io::pipe().unwrap();
    let stdio = hornero_sandbox::Stdio {
        stdin: None,
        stdout: write.try_clone().unwrap().into(),
        stderr: write.into(),
    };
    let mut running = start(&spec, stdio, Network::Isolated)
        .unwrap_or_else(|error| panic!("{}", error.one_line()));
    let mut output = String::new();
    fs::File::from(OwnedFd::from(read)).read_to_string(&mut output).unwrap();
    let cause = running.wait(Some(support::peers::DEADLINE)).unwrap().unwrap();
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    output
}

fn access() -> Access {
    Access::anonymous()
}

#[test]
fn podman_runs_what_was_pushed_and_exported() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let image = small_image(&home.store);
    let reference = registry.reference("app:1");
    push(
        &home.store,
        &image,
        &reference.parse().unwrap(),
        &access(),
        &PackOptions::default(),
        None,
        &Quiet,
    )
    .unwrap();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(home.path("podman"))
            .arg("--runroot")
            .arg(home.path("podman-run"));
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]);
        command.arg("--tmpdir").arg(home.path("podman-tmp")).args(arguments);
        run(&mut command)
    };
    let group = Group::new(home.dir.path());
    let parent = format!("--cgroup-parent=/{}", group.0);
    // Debian's defaults ask for more than a confined host may give.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let run =
        [&["run", "--rm", "--network=none", "--runtime=runc", &parent][..], &limits[..]].concat();
    podman(&["pull", "-q", "--tls-verify=false", &reference]);
    assert_eq!(podman(&[&run[..], &[&reference]].concat()), SMALL_OUTPUT);
    for compression in [Compression::Zstd, Compression::None] {
        let reference = registry.reference(&format!("app:{compression:?}"));
        let options = PackOptions { compression, cache: None };
        let to = reference.parse().unwrap();
        push(&home.store, &image, &to, &access(), &options, None, &Quiet).unwrap();
        podman(&["rmi", "--all", "--force"]);
        podman(&["pull", "-q", "--tls-verify=false", &reference]);
        assert_eq!(podman(&[&run[..], &[&reference]].concat()), SMALL_OUTPUT, "{compression:?}");
    }
    unmount_below(home.dir.path());
}

#[test]
fn docker_runs_what_was_pushed_and_what_it_built_runs_here() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let docker = Docker::start(home.path("docker"));
    let image = small_image(&home.store);
    let reference = registry.reference("app:1");
    let options = PackOptions::default();
    push(&home.store, &image, &reference.parse().unwrap(), &access(), &options, None, &Quiet)
        .unwrap();
    docker.run(&["pull", "-q", &reference]);
    let ran = docker.run(&["run", "--rm", "--network=none", &reference]);
    assert_eq!(ran, SMALL_OUTPUT);
    let look = ["run", "--rm", "--network=none", "--user=0", &reference, "/bin/sh", "-c", LOOK];
    assert_eq!(docker.run(&look), expected(&home, &image));
    // Docker sends it on, compressed anew or from what it keeps: either way it runs, and may keep its digest.
    let passed_on = registry.reference("passed/on:1");
    docker.run(&["tag", &reference, &passed_on]);
    docker.run(&["push", "-q", &passed_on]);
    let other = Home::new();
    let pulled =
        hornero_oci::pull(&other.store, &passed_on.parse().unwrap(), &access(), &Quiet).unwrap();
    assert_eq!(pulled.foreign, pulled.image != image);
    let command = ["/bin/sh", "-c", "cat /etc/version"];
    assert_eq!(run_here(&other, &pulled.image, &command, User::default()), "2\n");

    // The other way round.
    let context = home.path("context");
    fs::create_dir_all(context.join("www")).unwrap();
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    fs::write(context.join("www/index.html"), "built by docker\n").unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n\
         RUN [\"/bin/busybox\", \"ln\", \"/bin/busybox\", \"/bin/cat\"]\nCOPY www /www\n\
         RUN [\"/bin/busybox\", \"rm\", \"/bin/sh\"]\nENV GREETING=hi PATH=/bin\nUSER 1000:1000\nWORKDIR /www\n\
         EXPOSE 80\nENTRYPOINT [\"/bin/busybox\", \"cat\"]\nCMD [\"index.html\"]\n",
    )
    .unwrap();
    docker.run(&["build", "-q", "--network=none", "-t", "built:1", &context.display().to_string()]);
    let saved = home.path("saved.tar").display().to_string();
    docker.run(&["save", "-o", &saved, "built:1"]);
    run(Command::new("gzip").args(["-k", "-1", &saved]));
    let mut images = Vec::new();
    for from in [saved.clone(), format!("{saved}.gz")] {
        let into = Home::new();
        let imported =
            import(&into.store, &from, &access(), &ImportOptions::default(), &Quiet).unwrap();
        assert_eq!((imported.foreign, imported.layers), (true, 5));
        let config = into.store.image(&imported.image).unwrap().config;
        assert_eq!(config.command, ["/bin/busybox", "cat", "index.html"]);
        assert_eq!(
            (config.env["GREETING"].as_str(), config.user.as_str(), config.workdir.as_str()),
            ("hi", "1000:1000", "/www")
        );
        let user = into.store.resolve_user(&imported.image, &config.user).unwrap();
        let user = User { uid: user.uid, gid: user.gid, groups: user.groups };
        let command: Vec<&str> = config.command.iter().map(String::as_str).collect();
        assert_eq!(run_here(&into, &imported.image, &command, user), "built by docker\n");
        assert!(
            into.store.lookup(&imported.image, "/bin/sh").is_err(),
            "the last layer removed it"
        );
        let record = into.store.attachment(&imported.image, IMPORT_ATTACHMENT).unwrap().unwrap();
        let record: ImportRecord = serde_json::from_slice(&record).unwrap();
        assert_eq!(record.exposed_ports, ["80/tcp"]);
        images.push(imported.image);
    }
    // Through a registry it is the same image.
    let pushed = registry.reference("built:1");
    docker.run(&["tag", "built:1", &pushed]);
    docker.run(&["push", "-q", &pushed]);
    let into = Home::new();
    let pulled =
        hornero_oci::pull(&into.store, &pushed.parse().unwrap(), &access(), &Quiet).unwrap();
    assert!(pulled.foreign && images.iter().all(|image| *image == pulled.image));
    let again =
        hornero_oci::pull(&into.store, &pushed.parse().unwrap(), &access(), &Quiet).unwrap();
    assert_eq!((again.image, again.layers_moved), (pulled.image, 0));
    assert!(again.bytes_moved < 10_000, "layers that came in before do not move: {again:?}");
}
