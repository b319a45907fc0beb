//! Images of real programs, instances of them, and ways to tamper with both.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use hornero_model::{Digest, FileIdentity, ImageConfig, Scratch};
use hornero_sandbox::{
    ComposedRoot, IdMap, Network, Profile, ProvidedFile, Root, Running, SandboxSpec, Stdio, User,
    start,
};
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};
use hornero_verify::{Depth, FindingKind, InstanceUnderTest, Report, Verifier};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A store and a directory to make images from; removed when dropped.
pub struct House {
    directory: tempfile::TempDir,
    pub store: Store,
}

impl House {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Instances are nobody outside, and have to get at the objects below.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An image of all that is in a directory.
    pub fn image(&self, directory: &Path) -> Digest {
        let ingest = self.store.ingest().unwrap();
        let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Keep };
        let layer = ingest.capture_directory(directory, &options).unwrap();
        let layer = ingest.put_layer(&layer).unwrap();
        let manifest = ImageManifest::new(vec![layer], ImageConfig::default());
        ingest.finish().unwrap();
        self.store.put_image(&manifest).unwrap()
    }

    /// An image with busybox as shell, and this machine's `sleep` with the libraries it is linked with.
    pub fn programs(&self) -> Digest {
        let root = self.path("programs");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox"))
            .expect("busybox is needed: apt-get install busybox-static");
        fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
        for library in libraries("/bin/sleep") {
            copy_to(&library, &root);
        }
        copy_to("/bin/sleep", &root);
        fs::create_dir_all(root.join("srv")).unwrap();
        fs::write(root.join("srv/page"), "hello").unwrap();
        fs::create_dir_all(root.join("var")).unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        std::os::unix::fs::symlink("/run", root.join("var/run")).unwrap();
        self.image(&root)
    }

    /// The file of an object of this image.
    pub fn object(&self, image: &Digest, path: &str) -> PathBuf {
        let entry = self.store.lookup(image, path).unwrap();
        let hornero_store::EntryKind::File { digest, .. } = entry.kind else { panic!("{path}") };
        let hex = digest.hex();
        self.store.objects_dir().join(&hex[..2]).join(&hex[2..])
    }

    /// The file that the metadata of an image is in.
    pub fn metadata(&self, image: &Digest) -> FileIdentity {
        let file = fs::metadata(self.store.root(image).unwrap().metadata).unwrap();
        FileIdentity { device: file.dev(), inode: file.ino() }
    }

    pub fn instance(&self, image: &Digest, script: &str) -> Instance {
        self.instance_with(image, script, |_| ())
    }

    /// An instance that runs a script in busybox's shell, and has said `ready`.
    pub fn instance_with(
        &self,
        image: &Digest,
        script: &str,
        change: impl FnOnce(&mut SandboxSpec),
    ) -> Instance {
        let files = self.store.root(image).unwrap();
        let script = format!("echo ready; {script}");
        let mut spec = SandboxSpec {
            root: Root::Composed(ComposedRoot { metadata: files.metadata, objects: files.objects }),
            command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
            env: [("PATH".to_owned(), "/bin".to_owned())].into(),
            workdir: String::new(),
            user: User::default(),
            id_map: Some(IdMap { first: 310_000_000, count: 65_536 }),
            scratch: vec![Scratch { path: "/var/run".to_owned(), size_bytes: 1 << 20 }],
            tmp_bytes: 8 << 20,
            files: vec![ProvidedFile::new("/etc/hosts", "x")],
            hostname: "test".to_owned(),
            cgroup: None,
            profile: Profile::Service,
        };
        change(&mut spec);
        let (read, write) = std::io::pipe().unwrap();
        let (stdout, stderr) = (write.try_clone().unwrap().into(), write.into());
        let running = start(&spec, Stdio { stdin: None, stdout, stderr }, Network::Isolated)
            .unwrap_or_else(|error| panic!("{}", error.one_line()));
        let mut output = BufReader::new(File::from(OwnedFd::from(read)));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let test = InstanceUnderTest {
            pid: running.pid(),
            scratch: spec.scratch.iter().map(|scratch| scratch.path.clone()).collect(),
            volumes: Vec::new(),
            files: spec.files.iter().map(|file| file.path.clone()).collect(),
            metadata: Some(self.metadata(image)),
        };
        Instance { running, output, test }
    }

    pub fn verify(&self, image: &Digest, instance: &Instance, depth: Depth) -> Report {
        let mut verifier = Verifier::new(&self.store).unwrap();
        verifier.instance(image, &instance.test, depth).unwrap()
    }

    /// Waits until the report has, or has no longer, such a finding; programs take a moment to start.
    pub fn verify_until(
        &self,
        image: &Digest,
        instance: &Instance,
        wanted: impl Fn(&Report) -> bool,
    ) -> Report {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let report = self.verify(image, instance, Depth::Fast);
            if wanted(&report) {
                return report;
            }
            assert!(std::time::Instant::now() < deadline, "{:#?}", report.findings);
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// A running instance; ended when dropped.
pub struct Instance {
    pub running: Running,
    pub output: BufReader<File>,
    pub test: InstanceUnderTest,
}

impl Instance {
    /// Does something in the instance's mount namespace, as the host's root can.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/proc/{}/ns/mnt", self.running.pid())).unwrap();
        thread::scope(|scope| {
            let enter = || {
                // SAFETY: only this thread's root and working directory become its own.
                unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
                work()
            };
            scope.spawn(enter).join().unwrap()
        })
    }
}

/// Whether a report names this kind at this path.
pub fn names(report: &Report, kind: FindingKind, path: &str) -> bool {
    report.findings.iter().any(|finding| finding.kind == kind && finding.path == path)
}

/// Kind and path of all findings.
pub fn shown(report: &Report) -> Vec<String> {
    let one =
        |finding: &hornero_verify::Finding| format!("{} {}", finding.kind.word(), finding.path);
    report.findings.iter().map(one).collect()
}

/// The paths `ldd` tells.
pub fn libraries(program: &str) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let libraries: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect();
    assert!(!libraries.is_empty(), "{text}");
    libraries
}

fn copy_to(path: &str, root: &Path) {
    let target = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(path, target).unwrap();
}
