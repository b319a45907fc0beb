//! Incus images, imported and started by a real Incus of the test's own.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hornero_export::{ExportOptions, Format, Silent, export};
use hornero_model::{ImageConfig, Scratch as ScratchDirectory};
use hornero_store::{Entry, Store};
use support::{Running, Scratch, directory, entry, file, put, scratch, succeed, symlink, wait};

const DAEMON: &str = "/usr/libexec/incus/incusd";
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with a directory of its own, no network and no listener but a socket in there.
struct Incus<'a> {
    own: &'a Scratch,
    daemon: Option<Running>,
}

impl<'a> Incus<'a> {
    fn start(own: &'a Scratch) -> Self {
        let mut incus = Self { own, daemon: None };
        fs::create_dir(incus.dir()).unwrap();
        let daemon = incus
            .environment(&mut Command::new(DAEMON))
            .env("LD_LIBRARY_PATH", "/usr/lib/incus")
            .args(["--logfile"])
            .arg(own.path("incus.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        incus.daemon = Some(Running(daemon));
        wait("incusd answers", PATIENCE, || {
            let asked = incus.command(&["query", "/1.0"]).output().unwrap();
            asked.status.success().then_some(())
        });
        incus.run(&["storage", "create", "pool", "dir"]);
        incus.run(&["profile", "device", "add", "default", "root", "disk", "path=/", "pool=pool"]);
        incus
    }

    fn dir(&self) -> PathBuf {
        self.own.path("incus")
    }

    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("INCUS_DIR", self.dir())
            .env("HOME", self.own.dir.path())
            .env_remove("INCUS_SOCKET")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("incus");
        self.environment(&mut command).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }
}

impl Drop for Incus<'_> {
    fn drop(&mut self) {
        // Best effort, in an order that leaves no process, no mount and no control group of a container.
        for arguments in [
            &["delete", "--force", "site", "bare"][..],
            &["delete", "--force", "site"],
            &["delete", "--force", "bare"],
            &["image", "delete", "site"],
            &["image", "delete", "bare"],
            &["profile", "device", "remove", "default", "root"],
            &["storage", "delete", "pool"],
            &["admin", "shutdown", "--timeout", "20"],
        ] {
            let _ = self.command(arguments).stderr(Stdio::null()).stdout(Stdio::null()).status();
        }
        self.daemon = None;
        // Incus keeps this one for ever; the kernel refuses to remove it while somebody is in it.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join("lxc.pivot"));
        }
        let _ = fs::remove_dir("/sys/fs/cgroup/lxc.pivot");
        for mounted in ["guestapi", "shmounts", "devices"] {
            let _ = rustix::mount::unmount(
                self.dir().join(mounted),
                rustix::mount::UnmountFlags::DETACH,
            );
        }
    }
}

/// The machine's static busybox and links to it.
fn busybox(store: &Store) -> Vec<Entry> {
    let ingest = store.ingest().unwrap();
    let mut program = file(&ingest, "usr/bin/busybox", fs::read("/bin/busybox").unwrap());
    program.metadata.mode = 0o755;
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n";
    let entries = vec![
        directory("usr"),
        directory("usr/bin"),
        directory("usr/sbin"),
        symlink("bin", "usr/bin"),
        symlink("sbin", "usr/sbin"),
        symlink("usr/bin/sh", "busybox"),
        program,
        directory("etc"),
        file(&ingest, "etc/passwd", passwd),
        file(&ingest, "etc/os-release", "ID=testix\nVERSION_CODENAME=\"one\"\n"),
        directory("proc"),
        directory("sys"),
        directory("dev"),
        directory("srv"),
        file(&ingest, "srv/index.html", "hello from the container\n"),
        entry("var-of-nobody", hornero_store::EntryKind::Directory { opaque: false }, 0o700),
    ];
    ingest.finish().unwrap();
    entries
}

fn write(store: &Store, config: ImageConfig, name: &str, out: &Path) -> Vec<String> {
    let image = put(store, vec![busybox(store)], config);
    let options = ExportOptions { host_name: name.into(), ..ExportOptions::default() };
    export(store, &image, Format::Incus, out, &options, &Silent).unwrap().added
}

#[test]
fn incus_runs_the_command_of_an_image() {
    let own = scratch();
    let config = ImageConfig {
        user: "web".into(),
        command: ["busybox", "httpd", "-f", "-p", "80"].map(str::to_owned).into(),
        env: [("GREETING".to_owned(), "how are you".to_owned())].into(),
        workdir: "/srv".into(),
        scratch: vec![ScratchDirectory { path: "/var-of-nobody".into(), size_bytes: 1 << 20 }],
        ..ImageConfig::default()
    };
    let (site, bare) = (own.path("site.tar.gz"), own.path("bare.tar.gz"));
    assert_eq!(write(&own.store, config, "site", &site), ["/usr/sbin/init"]);
    assert_eq!(write(&own.store, ImageConfig::default(), "bare", &bare), ["/usr/sbin/init"]);

    let incus = Incus::start(&own);
    for (name, file) in [("site", &site), ("bare", &bare)] {
        incus.run(&["image", "import", file.to_str().unwrap(), "--alias", name]);
        incus.run(&["launch", "--quiet", name, name]);
    }
    let shown = incus.run(&["image", "show", "site"]);
    for line in ["os: testix", "release: one", "name: site", "hornero.image: sha256:"] {
        assert!(shown.contains(line), "`{line}` is not in {shown}");
    }
    let inside = |name: &str, script: &str| {
        incus.command(&["exec", name, "--", "busybox", "sh", "-c", script]).output().unwrap()
    };
    let page = wait("the server answers", PATIENCE, || {
        let asked = inside("site", "busybox wget -qO- http://127.0.0.1/index.html");
        asked.status.success().then_some(asked.stdout)
    });
    assert_eq!(page, b"hello from the container\n");
    let script = "for at in /proc/[0-9]*; do
          case $(busybox tr '\\0' ' ' < $at/cmdline) in 'busybox httpd'*) pid=${at#/proc/};; esac
        done
        busybox grep -E '^(Uid|Gid|NoNewPrivs)' /proc/$pid/status
        busybox tr '\\0' '\\n' < /proc/$pid/environ; busybox readlink /proc/$pid/cwd
        busybox stat -c '%u:%g %a' /var-of-nobody; busybox grep -c var-of-nobody /proc/mounts";
    let facts = String::from_utf8(inside("site", script).stdout).unwrap();
    for fact in [
        "Uid:\t33\t33",
        "Gid:\t34\t34",
        "NoNewPrivs:\t1",
        "GREETING=how are you",
        "/srv\n",
        "33:34 700\n1\n",
    ] {
        assert!(facts.contains(fact), "`{fact}` is not in {facts}");
    }

    // Told to stop, the server is told; an image without a command idles until then.
    for name in ["site", "bare"] {
        incus.run(&["stop", name, "--timeout", "30"]);
        assert!(incus.run(&["list", name, "--format", "csv"]).contains("STOPPED"));
    }
    let console = incus.run(&["console", "site", "--show-log"]);
    assert!(console.contains("`busybox` was ended by signal 15"), "{console}");
}
